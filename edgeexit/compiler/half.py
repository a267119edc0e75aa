"""float16 by casts in the graph, so that strongly typed runtimes compute what is written.

Inputs stay float32 and are cast once. Weights and arithmetic become float16, except operators that overflow or lose too much there: sums
of many terms, exponentials, normalisations. Exits' logits become float16; the criterion is appended afterwards, on logits cast back to
float32.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeexit.compiler.precision_places import Inside, is_any_node, make_float32_name
from edgeexit.errors import ModelError
from edgeexit.graph.dataflow import list_inner_graphs, list_node_reads
from edgeexit.graph.model import Network

KEPT = frozenset({
    "Softmax", "LogSoftmax", "LayerNormalization", "InstanceNormalization", "GroupNormalization", "MeanVarianceNormalization",
    "LpNormalization", "ReduceSum", "ReduceMean", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum",
    "ReduceLogSumExp", "CumSum", "Exp", "Log", "Pow", "Reciprocal", "QuantizeLinear", "DequantizeLinear", "RandomNormal",
    "RandomUniform", "RandomNormalLike", "RandomUniformLike",
})  # fmt: skip
"""Operators that stay in float32. Sums and squares leave float16's range (65504) first; the quantisers have their own arithmetic."""

_STAYS_FLOAT32 = {"Resize": (1, 2), "Upsample": (1,)}
"""Inputs that ONNX wants in float32 whatever the operator computes in: regions and scales."""

_LARGEST = float(np.finfo(np.float16).max)
_FULL, _HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def convert_to_float16(net: Network, inside: Inside = is_any_node) -> Network:
    """A copy of the network that computes in float16, or the nodes of it that are `inside`.

    Raises:
        ModelError: a weight beyond float16's range, an operator that holds graphs (If, Loop), a tensor of unknown type.
    """
    return replace(net, proto=_Halver(net, inside).run())


class _Halver:
    """Goes through the nodes in order, and knows of every float32 tensor in which type it now is."""

    def __init__(self, net: Network, inside: Inside) -> None:
        self._net = net
        self._inside = inside
        self._source = net.proto.graph
        self._kinds = _infer_element_types(net.proto)
        self._weights = {t.name: t for t in self._source.initializer}
        self._half: set[str] = set()
        self._casts: dict[tuple[str, int], str] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._made: list[TensorProto] = []

    def run(self) -> onnx.ModelProto:
        for node in self._source.node:
            self._convert(node)
        proto = onnx.ModelProto()
        proto.CopyFrom(self._net.proto)
        graph = proto.graph
        del graph.node[:], graph.value_info[:], graph.initializer[:]
        graph.node.extend(self._nodes)
        read = {name for node in graph.node for name in list_node_reads(node)} | {o.name for o in graph.output}
        graph.initializer.extend(t for t in (*self._source.initializer, *self._made) if t.name in read)
        for value in graph.output:
            if value.name in self._half:
                value.type.tensor_type.elem_type = _HALF
        return proto

    def _convert(self, node: onnx.NodeProto) -> None:
        inside = self._inside(node)
        if list_inner_graphs(node) and (inside or not self._half.isdisjoint(list_node_reads(node))):
            msg = (
                f"{node.op_type} {node.name!r} holds a graph, which cannot be brought to float16: compile with float32."
            )
            raise ModelError(msg)
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        half = inside and node.op_type not in KEPT
        stays = _STAYS_FLOAT32.get(node.op_type, ())
        for i, name in enumerate(node.input):
            if name and self._kind(name, node) == _FULL:
                copy.input[i] = self._as(name, _HALF if half and i not in stays else _FULL)
        if half:
            _convert_attributes(copy)
            self._half.update(name for name in node.output if name and self._kind(name, node) == _FULL)
        self._nodes.append(copy)

    def _kind(self, name: str, node: onnx.NodeProto) -> int:
        if name not in self._kinds:
            msg = f"the type of tensor {name!r} at {node.op_type} {node.name!r} is unknown, so it cannot be brought to float16."
            raise ModelError(msg)
        return self._kinds[name]

    def _as(self, name: str, kind: int) -> str:
        """The tensor's name in a type: itself, a weight converted once, or the output of a cast made once."""
        now = _HALF if name in self._half else _FULL
        if now == kind:
            return name
        if (name, kind) not in self._casts:
            self._casts[name, kind] = f"{name}/float16" if kind == _HALF else make_float32_name(name)
            self._make(name, kind, self._casts[name, kind])
        return self._casts[name, kind]

    def _make(self, name: str, kind: int, new: str) -> None:
        if name in self._weights:
            values = numpy_helper.to_array(self._weights[name], base_dir=str(self._net.folder))
            self._made.append(numpy_helper.from_array(_convert_values(values, name), new))
        else:
            self._nodes.append(helper.make_node("Cast", [name], [new], name=new, to=kind))


def _convert_values(values: np.ndarray, name: str) -> np.ndarray:
    largest = float(
        np.abs(values[~np.isinf(values)]).max(initial=0.0)
    )  # infinity, as of a masked class, is the same in both
    if largest > _LARGEST:
        msg = f"weight {name!r} holds {largest:.3g}, beyond float16's {_LARGEST:g}: compile with float32."
        raise ModelError(msg)
    return values.astype(np.float16)


def _convert_attributes(node: onnx.NodeProto) -> None:
    """Constants, and attributes that say an output's type."""
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.t.data_type == _FULL:
            attribute.t.CopyFrom(
                numpy_helper.from_array(_convert_values(numpy_helper.to_array(attribute.t), node.name))
            )
        elif attribute.name in ("value_float", "value_floats"):
            values = attribute.f if attribute.name == "value_float" else attribute.floats
            half = _convert_values(np.asarray(values, np.float32), node.name)
            attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(half)))
        elif attribute.name in ("to", "dtype") and attribute.i == _FULL:
            attribute.i = _HALF


def _infer_element_types(proto: onnx.ModelProto) -> dict[str, int]:
    """Element type of every tensor, as shape inference finds it."""
    try:
        graph = onnx.shape_inference.infer_shapes(proto).graph
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"the types of the model's tensors cannot be found ({error}): compile with float32."
        ) from error
    kinds = {t.name: t.data_type for t in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.elem_type:
            kinds[value.name] = value.type.tensor_type.elem_type
    return kinds
