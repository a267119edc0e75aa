"""The coarsest arithmetic that a network uses, which limits how closely two runtimes can agree.

Differently fused kernels round differently. A value between two steps of int8 may then be rounded to the other one, whatever the type of
the logits is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import onnx
from onnx import TensorProto

from edgeexit.graph.dataflow import list_inner_graphs, list_node_reads
from edgeexit.graph.model import Network, list_all_tensors

_QUANTISED = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"})
_HALVES = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})


def find_coarsest_precision(net: Network) -> str:
    """`int8` where a node of the network quantises, `float16` where a tensor has 16 bits, else `float32`."""
    nodes = list(_list_nodes(net.proto.graph))
    if any(node.op_type in _QUANTISED or node.op_type.startswith("QLinear") for node in nodes):
        return "int8"
    return "float16" if uses_float16(net.proto.graph) else "float32"


def find_exit_precisions(net: Network, exits: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The coarsest arithmetic of what each exit is made from; a later exit of a mixed network may be coarser than an early one.

    Args:
        net: the network.
        exits: names of the tensors that are an exit's, such as its logits and score.
    """
    if find_coarsest_precision(net) == "float32":
        return ("float32",) * len(exits)
    flow, graph = net.flow(), net.proto.graph
    found = []
    for ends in exits:
        part = onnx.GraphProto(input=graph.input)
        part.node.extend(graph.node[i] for i in sorted(flow.ancestors(ends)))
        read = {name for node in part.node for name in list_node_reads(node)}
        part.initializer.extend(
            onnx.TensorProto(name=t.name, data_type=t.data_type) for t in graph.initializer if t.name in read
        )
        found.append(find_coarsest_precision(replace(net, proto=onnx.ModelProto(graph=part))))
    return tuple(found)


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
