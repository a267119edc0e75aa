"""The coarsest numbers that a network computes with: they say how closely two ways of running it can agree.

A kernel that is fused otherwise rounds otherwise. What lies between two steps of int8 then falls to the other one, whatever the type of
the logits is.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto

from edgeexit.graph.flow import inner_graphs
from edgeexit.graph.network import Network, all_tensors

_QUANTISED = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"})
_HALVES = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})


def coarsest(net: Network) -> str:
    """`int8` where a node of the network quantises, `float16` where a tensor has 16 bits, else `float32`."""
    nodes = list(_nodes(net.proto.graph))
    if any(node.op_type in _QUANTISED or node.op_type.startswith("QLinear") for node in nodes):
        return "int8"
    kinds = {tensor.data_type for tensor in all_tensors(net.proto.graph)}
    kinds |= {a.i for node in nodes if node.op_type == "Cast" for a in node.attribute if a.name == "to"}
    halved = not kinds.isdisjoint(_HALVES) or any(spec.dtype == "float16" for spec in net.inputs)
    return "float16" if halved else "float32"


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for inner in inner_graphs(node):
            yield from _nodes(inner)
