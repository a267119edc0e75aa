"""int8 by QuantizeLinear and DequantizeLinear in the graph ("Q/DQ"), from ranges measured on calibration data.

Weights of convolutions and dense layers: symmetric, one scale per output channel. Their inputs: symmetric, one scale per tensor. Biases,
sums and heads' last layers stay in float32, so that the criterion sees logits that were not rounded. The weights keep their float32
values with a pair of nodes behind them, the form that TensorRT takes on every version; it folds them when it builds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeexit.errors import ModelError
from edgeexit.graph.network import Network

_LEVELS = 127
_PER_CHANNEL_SINCE = 13  # the operator set in which the two operators learned an axis


@dataclass(frozen=True)
class Layer:
    """A layer that can be quantised: index of its node, its data input, its weight, and the weight's axis of output channels."""

    node: int
    data: str
    weight: str
    axis: int


def quantisable(net: Network, kept: Iterable[str]) -> tuple[Layer, ...]:
    """The convolutions and dense layers with constant weights, except those that make one of the `kept` tensors."""
    weights = {t.name: len(t.dims) for t in net.proto.graph.initializer}
    spared = set(kept)
    layers = []
    for index, node in enumerate(net.proto.graph.node):
        axis = _channel_axis(node, weights)
        if axis is not None and not spared & set(node.output):
            layers.append(Layer(index, node.input[0], node.input[1], axis))
    return tuple(layers)


def _channel_axis(node: onnx.NodeProto, weights: Mapping[str, int]) -> int | None:
    if len(node.input) < 2 or node.input[1] not in weights:
        return None
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        return 0 if transposed else 1
    return 1 if node.op_type == "MatMul" and weights[node.input[1]] == 2 else None


def quantised(net: Network, layers: Iterable[Layer], ranges: Mapping[str, float]) -> Network:
    """A copy of the network with Q/DQ at its layers.

    Args:
        net: the network.
        layers: which of `quantisable`.
        ranges: largest magnitude of each layer's data input.

    Raises:
        ModelError: the operator set is older than 13.
    """
    if net.opset < _PER_CHANNEL_SINCE:
        msg = f"int8 needs operator set 13 or newer, this model has {net.opset}: export it with a newer opset_version."
        raise ModelError(msg)
    proto = onnx.ModelProto()
    proto.CopyFrom(net.proto)
    by_node = {layer.node: layer for layer in layers}
    weights = {t.name: t for t in net.proto.graph.initializer}
    del proto.graph.node[:]
    for index, node in enumerate(net.proto.graph.node):
        copy = proto.graph.node.add()
        copy.CopyFrom(node)
        layer = by_node.get(index)
        if layer is None:
            continue
        proto.graph.node.pop()
        values = numpy_helper.to_array(weights[layer.weight], base_dir=str(net.folder))
        data = np.float32(max(ranges[layer.data], np.finfo(np.float32).tiny) / _LEVELS)
        copy.input[0] = _pair(proto.graph, layer.data, data, None, f"{layer.data}/int8 at {index}")
        copy.input[1] = _pair(
            proto.graph, layer.weight, _scales(values, layer.axis), layer.axis, f"{layer.weight}/int8 at {index}"
        )
        proto.graph.node.append(copy)
    return replace(net, proto=proto)


def _scales(weight: np.ndarray, axis: int) -> np.ndarray:
    """One scale per output channel; a channel of zeros gets 1."""
    largest = np.abs(weight).max(axis=tuple(i for i in range(weight.ndim) if i != axis))
    return np.where(largest > 0, largest / _LEVELS, 1.0).astype(np.float32)


def _pair(graph: onnx.GraphProto, tensor: str, scale: np.ndarray | np.float32, axis: int | None, name: str) -> str:
    """QuantizeLinear and DequantizeLinear behind a tensor; the name of what comes out."""
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
