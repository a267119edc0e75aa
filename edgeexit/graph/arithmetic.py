"""The coarsest arithmetic that a network uses, which limits how closely two runtimes can agree.

Differently fused kernels round differently. A value between two steps of int8 may then be rounded to the other one, whatever the type of
the logits is.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto

from edgeexit.graph.dataflow import list_inner_graphs
from edgeexit.graph.model import Network, list_all_tensors

_QUANTISED = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"})
_HALVES = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})


def find_coarsest_precision(net: Network) -> str:
    """`int8` where a node of the network quantises, `float16` where a tensor has 16 bits, else `float32`."""
    nodes = list(_list_nodes(net.proto.graph))
    if any(node.op_type in _QUANTISED or node.op_type.startswith("QLinear") for node in nodes):
        return "int8"
    return "float16" if uses_float16(net.proto.graph) else "float32"


def uses_float16(graph: onnx.GraphProto) -> bool:
    """Whether a weight, an input or a cast of a graph has 16 bits."""
    casts = (node for node in _list_nodes(graph) if node.op_type == "Cast")
    kinds = {attribute.i for cast in casts for attribute in cast.attribute if attribute.name == "to"}
    kinds |= {tensor.data_type for tensor in list_all_tensors(graph)}
    kinds |= {value.type.tensor_type.elem_type for value in graph.input}
    return not kinds.isdisjoint(_HALVES)


def _list_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for inner in list_inner_graphs(node):
            yield from _list_nodes(inner)
