"""int8 by QuantizeLinear and DequantizeLinear in the graph ("Q/DQ"), from ranges measured on calibration data, as TensorRT takes it.

`quantize_outputs` is the form that ONNX Runtime and OpenVINO compute in integers; which one a bundle gets depends on its backend.

Weights of convolutions and dense layers: symmetric, one scale per output channel. Their inputs: symmetric, one scale per tensor. Biases
and heads' last layers stay in float32, so that the criterion sees logits that were not rounded. The weights keep their float32 values with
a pair of nodes behind them, the form that TensorRT takes on every version; it folds them when it builds.

Where a convolution's output is added to a shortcut, the shortcut is quantised and the convolution's output is not: TensorRT then runs
convolution, addition and activation as one int8 kernel. Without the pair the addition runs in float32; with pairs on both sides it is cut
off from the convolution (NVIDIA, TensorFlow quantization toolkit, "Add Custom QDQ Insertion Case"; NVIDIA/TensorRT issue 1992).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeexit.errors import ModelError
from edgeexit.graph.model import Network

LEVELS = 127
_FUSED = ("BatchNormalization", "Relu")
"""Operators that may lie between a convolution and a sum that are to become one kernel."""
_PER_CHANNEL_SINCE = 13  # the operator set in which the two operators learned an axis


@dataclass(frozen=True)
class Layer:
    """A layer that can be quantised: index of its node, its data input, its weight, and the weight's axis of output channels."""

    node: int
    data: str
    weight: str
    axis: int


def find_quantizable_layers(net: Network, kept: Iterable[str]) -> tuple[Layer, ...]:
    """The convolutions and dense layers with constant weights, except those that make one of the `kept` tensors."""
    weights = {t.name: len(t.dims) for t in net.proto.graph.initializer}
    spared = set(kept)
    layers = []
    for index, node in enumerate(net.proto.graph.node):
        axis = _find_channel_axis(node, weights)
        if axis is not None and not spared & set(node.output):
            layers.append(Layer(index, node.input[0], node.input[1], axis))
    return tuple(layers)


def _find_channel_axis(node: onnx.NodeProto, weights: Mapping[str, int]) -> int | None:
    if len(node.input) < 2 or node.input[1] not in weights:
        return None
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        return 0 if transposed else 1
    return 1 if node.op_type == "MatMul" and weights[node.input[1]] == 2 else None


@dataclass(frozen=True)
class Shortcut:
    """The input of an addition that passes by a convolution: index of the node, which of its inputs, and the tensor."""

    node: int
    slot: int
    data: str


def find_shortcuts(net: Network, layers: Iterable[Layer], kept: Iterable[str]) -> tuple[Shortcut, ...]:
    """Find the other operand of every sum with a quantised convolution's output; sums that make `kept` tensors are left alone.

    Of two convolutions, as in a block that changes its width, the one with fewer layers before it is the shortcut.
    """
    nodes = net.proto.graph.node
    convolutions = {layer.node for layer in layers if nodes[layer.node].op_type == "Conv"}
    sums = _Sums(net, convolutions)
    spared = set(kept)
    found = []
    for index, node in enumerate(nodes):
        slot = sums.shortcut(node) if node.op_type == "Add" else None
        if slot is not None and not spared & {*node.input, *node.output}:
            found.append(Shortcut(index, slot, node.input[slot]))
    return tuple(found)


class _Sums:
    """Additions of a network: where each tensor comes from, which other nodes read it, and its depth."""

    def __init__(self, net: Network, convolutions: set[int]) -> None:
        graph = net.proto.graph
        self._nodes = graph.node
        self._convolutions = convolutions
        self._maker = {name: index for index, node in enumerate(graph.node) for name in node.output}
        self._readers = Counter(name for node in graph.node for name in node.input)
        self._readers.update(o.name for o in graph.output)
        self._depth = {i.name: 0 for i in graph.input}
        for index, node in enumerate(graph.node):
            before = max((self._depth[name] for name in node.input if name in self._depth), default=-1)
            if before >= 0:  # what depends on weights alone has no depth
                self._depth |= dict.fromkeys(node.output, before + (index in convolutions))

    def shortcut(self, node: onnx.NodeProto) -> int | None:
        """Which input of an addition is its shortcut; None where it adds weights, or no convolution's output."""
        direct = [slot for slot, name in enumerate(node.input) if self._is_convolved(name)]
        if len(node.input) != 2 or not direct or any(name not in self._depth for name in node.input):
            return None
        return 1 - max(direct, key=lambda slot: self._depth[node.input[slot]])

    def _is_convolved(self, name: str) -> bool:
        """Whether it is a quantised convolution's output, normalised and activated or not, that only the addition reads."""
        index = self._maker.get(name)
        if index is None or self._readers[name] != 1:
            return False
        if self._nodes[index].op_type in _FUSED:
            return self._is_convolved(self._nodes[index].input[0])
        return index in self._convolutions


def quantize_network(
    net: Network, layers: Iterable[Layer], ranges: Mapping[str, float], passing: Iterable[Shortcut] = ()
) -> Network:
    """A copy of the network with Q/DQ at its layers and shortcuts.

    Args:
        net: the network.
        layers: layers to quantise, from `find_quantizable_layers`.
        ranges: largest magnitude of the data input of each layer, and of each shortcut.
        passing: shortcuts to quantise, from `find_shortcuts`.

    Raises:
        ModelError: the operator set is older than 13.
    """
    refuse_old_operators(net)
    proto = onnx.ModelProto()
    proto.CopyFrom(net.proto)
    by_node = {layer.node: layer for layer in layers}
    passing_by = {shortcut.node: shortcut for shortcut in passing}
    weights = {t.name: t for t in net.proto.graph.initializer}
    del proto.graph.node[:]
    for index, node in enumerate(net.proto.graph.node):
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if (layer := by_node.get(index)) is not None:
            values = numpy_helper.to_array(weights[layer.weight], base_dir=str(net.folder))
            copy.input[0] = _insert_qdq(proto.graph, layer.data, _scale(ranges[layer.data]), None, index)
            copy.input[1] = _insert_qdq(
                proto.graph, layer.weight, compute_scales(values, layer.axis), layer.axis, index
            )
        elif (shortcut := passing_by.get(index)) is not None:
            copy.input[shortcut.slot] = _insert_qdq(
                proto.graph, shortcut.data, _scale(ranges[shortcut.data]), None, index
            )
        proto.graph.node.append(copy)
    return replace(net, proto=proto)


def refuse_old_operators(net: Network) -> None:
    """Raise a ModelError where the operator set is older than 13, which has no scales per channel."""
    if net.opset < _PER_CHANNEL_SINCE:
        msg = f"int8 needs operator set 13 or newer, this model has {net.opset}: export it with a newer opset_version."
        raise ModelError(msg)


def _scale(largest: float) -> np.ndarray:
    return np.asarray(max(largest, float(np.finfo(np.float32).tiny)) / LEVELS, np.float32)


def compute_scales(weight: np.ndarray, axis: int) -> np.ndarray:
    """One scale per output channel; a channel of zeros gets 1."""
    largest = np.abs(weight).max(axis=tuple(i for i in range(weight.ndim) if i != axis))
    return np.where(largest > 0, largest / LEVELS, 1.0).astype(np.float32)


def _insert_qdq(graph: onnx.GraphProto, tensor: str, scale: np.ndarray, axis: int | None, reader: int) -> str:
    """QuantizeLinear and DequantizeLinear between a tensor and the node that reads it; the name of what comes out."""
    name = f"{tensor}/int8 at {reader}"
    scale = np.asarray(scale, np.float32)
    graph.initializer.append(numpy_helper.from_array(scale, f"{name}/scale"))
    graph.initializer.append(numpy_helper.from_array(np.zeros(scale.shape, np.int8), f"{name}/zero"))
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    constants = [f"{name}/scale", f"{name}/zero"]
    graph.node.append(
        helper.make_node("QuantizeLinear", [tensor, *constants], [f"{name}/q"], name=f"{name}/q", **attributes)
    )
    graph.node.append(helper.make_node("DequantizeLinear", [f"{name}/q", *constants], [name], name=name, **attributes))
    return name
