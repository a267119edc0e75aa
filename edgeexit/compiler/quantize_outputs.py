"""int8 for runtimes whose integer kernels read and write integers: ONNX Runtime and OpenVINO on a CPU.

ONNX Runtime computes a convolution in integers only where its input *and* its output are quantised (a QLinearConv, from a convolution
between a DequantizeLinear and a QuantizeLinear). With a float output it stays a float convolution, of the slower kind, and the pairs
around it are pure cost. So every activation that a quantised layer reads or makes is quantised once, and every reader dequantises it:

    Conv ─► Relu ─► QuantizeLinear ─┬─► DequantizeLinear ─► Conv            becomes     QLinearConv ─► QLinearConv
                                    └─► DequantizeLinear ─► head

Each reader has a DequantizeLinear of its own, so that what crosses from stage to stage is the quantised tensor, a quarter of the bytes.
Activations are unsigned with a zero point: that of a tensor which is never negative is 0, and the Relu before it becomes part of the
rounding; with a signed range it would stand between the convolution and the QuantizeLinear. An addition is computed in integers where both
of its inputs and its output are quantised. Weights are signed, one scale per output channel, and stored as integers, as are biases.

Source: ONNX Runtime, "Quantize ONNX models", and its transformers of quantised groups (selectors of Conv, Gemm, MatMul, Add, MaxPool).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgeexit.compiler.precision_places import Inside, is_any_node, make_float32_name
from edgeexit.compiler.quantize import LEVELS, Layer, compute_scales, refuse_old_operators
from edgeexit.graph.dataflow import list_node_reads
from edgeexit.graph.model import Network

Range: TypeAlias = tuple[float, float]
"""Least and largest value of a tensor."""

_UNSIGNED_LEVELS = 255
_ACTIVATIONS = frozenset({"Relu", "Clip"})
"""Operators that become part of the rounding of what they give."""
_LARGEST_BIAS = 2**31 - 1


def find_quantized_activations(
    net: Network, layers: Iterable[Layer], kept: Iterable[str], inside: Inside = is_any_node
) -> tuple[str, ...]:
    """The activations to quantise: what quantised layers read and make, and both sides of the sums of such.

    Args:
        net: the network.
        layers: layers to quantise, from `find_quantizable_layers`.
        kept: tensors that stay as they are, such as the exits' logits.
        inside: whether a node computes in int8, where only a part of the network does.
    """
    graph = net.proto.graph
    flow = _Readers(graph, set(kept), inside)
    found: dict[str, None] = {}
    for layer in layers:
        found[layer.data] = None
        found |= dict.fromkeys(flow.find_end(output) for output in graph.node[layer.node].output)
    for node in graph.node:
        if node.op_type != "Add" or not inside(node):
            continue
        if any(name in found for name in node.input) and flow.adds_activations(node):
            found |= dict.fromkeys(node.input)
            found[flow.find_end(node.output[0])] = None
    return tuple(name for name in found if flow.can_be_rounded(name))


class _Readers:
    """Who reads each tensor of a graph, graphs inside nodes included."""

    def __init__(self, graph: onnx.GraphProto, kept: set[str], inside: Inside) -> None:
        self._inside = inside
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in dict.fromkeys(list_node_reads(node)):
                self._readers.setdefault(name, []).append(node)
        constant = {t.name for t in graph.initializer}
        self._made = {name for node in graph.node if node.input for name in node.output}
        self._made |= {i.name for i in graph.input} - constant
        self._kept = {o.name for o in graph.output} | kept

    def find_end(self, name: str) -> str:
        """The tensor behind the activation functions that alone read this one."""
        while name not in self._kept:
            readers = self._readers.get(name, [])
            if len(readers) != 1 or readers[0].op_type not in _ACTIVATIONS or not self._inside(readers[0]):
                break
            name = readers[0].output[0]
        return name

    def adds_activations(self, node: onnx.NodeProto) -> bool:
        """Whether a sum has two activations, not an activation and constants."""
        return all(name in self._made for name in node.input)

    def can_be_rounded(self, name: str) -> bool:
        """Whether a tensor is no output of the network and somebody reads it."""
        return name not in self._kept and bool(self._readers.get(name))


def quantize_outputs(
    net: Network, layers: Iterable[Layer], ranges: Mapping[str, Range], inside: Inside = is_any_node
) -> Network:
    """A copy of the network whose layers read and make quantised activations.

    Nodes outside read float32: what an inside node has made as `<tensor>/float32`, see `precision_places`.

    Args:
        net: the network.
        layers: layers to quantise.
        ranges: least and largest value of each activation to quantise, from `find_quantized_activations`.
        inside: whether a node computes in int8, where only a part of the network does.

    Raises:
        ModelError: the operator set is older than 13.
    """
    refuse_old_operators(net)
    proto = onnx.ModelProto()
    proto.CopyFrom(net.proto)
    writer = _Writer(net, proto.graph, ranges, inside)
    by_node = {layer.node: layer for layer in layers}
    for spec in net.inputs:
        writer.quantize(spec.name)
    for index, node in enumerate(net.proto.graph.node):
        writer.add(node, index, by_node.get(index))
    _remove_unused_weights(proto.graph)
    return replace(net, proto=proto)


@dataclass(frozen=True, eq=False)
class _Writer:
    """Writes the nodes of a quantised graph in place of those of `graph`."""

    net: Network
    graph: onnx.GraphProto
    ranges: Mapping[str, Range]
    inside: Inside

    @cached_property
    def _made_inside(self) -> frozenset[str]:
        return frozenset(name for node in self.net.proto.graph.node if self.inside(node) for name in node.output)

    @cached_property
    def weights(self) -> dict[str, onnx.TensorProto]:
        """The network's own weights by name."""
        return {t.name: t for t in self.net.proto.graph.initializer}

    def __post_init__(self) -> None:
        """Begin with no nodes."""
        del self.graph.node[:]

    def add(self, node: onnx.NodeProto, index: int, layer: Layer | None) -> None:
        """A node that reads quantised activations and, as a layer, quantised weights; what it makes is quantised."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        inside = self.inside(node)
        for slot, name in enumerate(copy.input):
            if name in self.ranges and (inside or name in self._made_inside):
                made = f"{name}/uint8 at {index}.{slot}" if inside else make_float32_name(name)
                copy.input[slot] = self._dequantize(name, made)
        if layer is not None:
            self._quantize_weights(copy, layer)
        self.graph.node.append(copy)
        for name in copy.output:
            self.quantize(name)

    def quantize(self, name: str) -> None:
        """Quantise an activation where it has a range."""
        if name in self.ranges:
            scale, zero = compute_parameters(*self.ranges[name])
            self._store(f"{name}/uint8", {"scale": scale, "zero": zero})
            self._append("QuantizeLinear", name, f"{name}/uint8", f"{name}/uint8/q")

    def _dequantize(self, name: str, made: str) -> str:
        if made not in self._dequantized:
            self._dequantized.add(made)
            self._append("DequantizeLinear", f"{name}/uint8/q", f"{name}/uint8", made)
        return made

    @cached_property
    def _dequantized(self) -> set[str]:
        return set()

    def _quantize_weights(self, node: onnx.NodeProto, layer: Layer) -> None:
        values = self._read(layer.weight)
        scales = compute_scales(values, layer.axis)
        name = f"{layer.weight}/int8 at {layer.node}"
        shape = [-1 if axis == layer.axis else 1 for axis in range(values.ndim)]
        rounded = np.clip(np.rint(values / scales.reshape(shape)), -LEVELS, LEVELS).astype(np.int8)
        self._store(name, {"q": rounded, "scale": scales, "zero": np.zeros(scales.shape, np.int8)})
        self._append("DequantizeLinear", f"{name}/q", name, name, axis=layer.axis)
        node.input[1] = name
        if len(node.input) > 2 and node.input[2] in self.weights and _adds_bias_as_it_is(node):
            node.input[2] = self._store_bias(self._read(node.input[2]), scales, layer)

    def _read(self, weight: str) -> NDArray[np.float32]:
        return numpy_helper.to_array(self.weights[weight], base_dir=str(self.net.folder))

    def _store_bias(self, bias: NDArray[np.float32], scales: NDArray[np.float32], layer: Layer) -> str:
        """A bias in units of the products that it is added to."""
        steps = np.asarray(scales * compute_parameters(*self.ranges[layer.data])[0], np.float32)
        rounded = np.clip(np.rint(bias.astype(np.float64) / steps), -_LARGEST_BIAS, _LARGEST_BIAS).astype(np.int32)
        name = f"{layer.weight}/bias at {layer.node}"
        self._store(name, {"q": rounded, "scale": steps, "zero": np.zeros(steps.shape, np.int32)})
        self._append("DequantizeLinear", f"{name}/q", name, name, axis=0)
        return name

    def _store(self, name: str, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        self.graph.initializer.extend(numpy_helper.from_array(array, f"{name}/{key}") for key, array in arrays.items())

    def _append(self, kind: str, read: str, parameters: str, made: str, axis: int | None = None) -> None:
        constants = [f"{parameters}/scale", f"{parameters}/zero"]
        self.graph.node.append(helper.make_node(kind, [read, *constants], [made], name=made, axis=axis))


def _adds_bias_as_it_is(node: onnx.NodeProto) -> bool:
    """Whether a Conv or Gemm adds its bias [channels] to the plain product."""
    return all(attribute.f == 1.0 for attribute in node.attribute if attribute.name in ("alpha", "beta"))


def _remove_unused_weights(graph: onnx.GraphProto) -> None:
    """Float weights that nothing reads any more."""
    read = {name for node in graph.node for name in list_node_reads(node)} | {o.name for o in graph.output}
    kept = [t for t in graph.initializer if t.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def compute_parameters(low: float, high: float) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Scale and zero point of an unsigned 8-bit range that holds 0.

    Example:
        >>> scale, zero = compute_parameters(0.0, 2.55)
        >>> round(float(scale), 4), int(zero)
        (0.01, 0)
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(high - low, float(np.finfo(np.float32).tiny) * _UNSIGNED_LEVELS) / _UNSIGNED_LEVELS
    zero = np.clip(np.rint(-low / scale), 0, _UNSIGNED_LEVELS)
    return np.asarray(scale, np.float32), np.asarray(zero, np.uint8)
