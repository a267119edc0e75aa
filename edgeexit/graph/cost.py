"""What a stage costs on paper: multiply-accumulates, parameters and bytes. The device's own answer is measured, never derived."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from edgeexit.graph.network import Network, outside_location
from edgeexit.graph.split import Stage

_Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class StageCost:
    """Cost of one stage at batch 1.

    Attributes:
        macs: multiply-accumulates of convolutions and matrix products; None where a shape is not known.
        parameters: number of weights that the stage reads.
        weight_bytes: their size, in bytes.
    """

    macs: int | None
    parameters: int
    weight_bytes: int


def count_costs(net: Network, stages: tuple[Stage, ...]) -> tuple[StageCost, ...]:
    """Cost of each stage of a network."""
    shapes = _shapes_at_1(net)
    weights = {t.name: t for t in net.proto.graph.initializer}
    return tuple(_cost(net, stage, shapes, weights) for stage in stages)


def _cost(net: Network, stage: Stage, shapes: _Shapes, weights: Mapping[str, TensorProto]) -> StageCost:
    nodes = [net.proto.graph.node[i] for i in stage.nodes]
    read = [weights[n] for n in {n for node in nodes for n in node.input} if n in weights]
    counts = [_macs(node, shapes) for node in nodes if node.op_type in _COUNTERS]
    macs = None if None in counts else sum(c for c in counts if c is not None)
    return StageCost(macs, sum(math.prod(t.dims) for t in read), sum(tensor_bytes(t) for t in read))


def tensor_bytes(tensor: TensorProto) -> int:
    """Size of a weight, in bytes, wherever it lies."""
    if tensor.data_location == TensorProto.EXTERNAL and "length" in outside_location(tensor):
        return int(outside_location(tensor)["length"])
    if tensor.data_type == TensorProto.STRING:
        return sum(len(s) for s in tensor.string_data)
    return int(math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _shapes_at_1(net: Network) -> dict[str, tuple[int, ...]]:
    proto = onnx.ModelProto()
    proto.CopyFrom(net.proto)
    del proto.graph.input[:]
    proto.graph.input.extend(s.proto(batch=1) for s in net.inputs)
    del proto.graph.output[:]
    del proto.graph.value_info[:]
    with contextlib.suppress(RuntimeError, ValueError):  # operators that inference does not know: their costs are null
        proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    known = {t.name: tuple(t.dims) for t in proto.graph.initializer}
    for value in [*proto.graph.value_info, *proto.graph.input]:
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dims):
            known[value.name] = tuple(d.dim_value for d in dims)
    return known


def _macs(node: onnx.NodeProto, shapes: _Shapes) -> int | None:
    weight_at, counter = _COUNTERS[node.op_type]
    try:
        return counter(shapes[node.input[0]], shapes[node.input[weight_at]], shapes[node.output[0]])
    except KeyError:
        return None


_Shape = tuple[int, ...]
_Counter = Callable[[_Shape, _Shape, _Shape], int]


def _conv(_: _Shape, weight: _Shape, out: _Shape) -> int:
    return math.prod(out) * math.prod(weight[1:])


def _conv_transpose(x: _Shape, weight: _Shape, _: _Shape) -> int:
    return math.prod(x) * math.prod(weight[1:])


def _gemm(x: _Shape, weight: _Shape, out: _Shape) -> int:
    inner = (
        math.prod(x) * math.prod(weight) // max(1, math.prod(out))
    )  # (m·k)(k·n)/(m·n) = k², whichever side is transposed
    return math.prod(out) * math.isqrt(inner)


def _matmul(x: _Shape, _: _Shape, out: _Shape) -> int:
    return math.prod(out) * x[-1]


_COUNTERS: dict[str, tuple[int, _Counter]] = {
    "Conv": (1, _conv),
    "ConvInteger": (1, _conv),
    "QLinearConv": (3, _conv),
    "ConvTranspose": (1, _conv_transpose),
    "Gemm": (1, _gemm),
    "MatMul": (1, _matmul),
    "MatMulInteger": (1, _matmul),
    "QLinearMatMul": (3, _matmul),
}
