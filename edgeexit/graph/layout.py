"""ONNX Runtime's blocked layout across a cut.

It computes convolutions on blocks of channels and reorders where the plain layout is needed. A sum of a convolution and a tensor that
comes in plain, as the shortcut of a residual block does when the cut lies before it, is done plain; so is what reads it, and every block
after it reorders twice: 12 % of B-ResNet-110's second stage. An average pool of one place is the identity that it will do on blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx
from onnx import helper

from edgeexit.graph.dataflow import list_inner_graphs, rename_tensors
from edgeexit.graph.model import TensorSpec

_BLOCK = 16  # channels; the widest of its blocks, so a multiple of the others
_SUMS = frozenset({"Add", "Sum"})


def insert_layout_pools(
    nodes: Sequence[onnx.NodeProto], specs: Iterable[TensorSpec], suffix: str
) -> list[onnx.NodeProto]:
    """The nodes of a stage, with such a pool before every boundary tensor that a residual block of it adds to its convolutions.

    Args:
        nodes: nodes of the stage, in order.
        specs: dtype and shape of the boundary tensors that it reads.
        suffix: behind the name of the tensor, for the name of its bridge.
    """
    summed = {name for node in nodes if node.op_type in _SUMS for name in node.input}
    convolutions = sum(node.op_type == "Conv" for node in nodes)
    wanted = {s.name for s in specs if s.name in summed and _is_blockable(s)} if convolutions > 1 else set()
    if not wanted:
        return list(nodes)

    def new_name(name: str) -> str:
        return name + suffix if name in wanted else name

    pools = [
        helper.make_node("AveragePool", [n], [new_name(n)], new_name(n), kernel_shape=[1, 1]) for n in sorted(wanted)
    ]
    return pools + [rename_tensors(node, new_name) for node in nodes]


def _is_blockable(spec: TensorSpec) -> bool:
    channels = spec.shape[1] if len(spec.shape) == 4 else None
    return spec.dtype == "float32" and isinstance(channels, int) and channels % _BLOCK == 0


def insert_layout_pools_in_model(model: onnx.ModelProto, specs: Iterable[TensorSpec]) -> bool:
    """Put such pools into the model of one stage; whether there were any to put."""
    nodes = insert_layout_pools(model.graph.node, specs, "/edgeexit bridge")
    if len(nodes) == len(model.graph.node):
        return False
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return True


def remove_layout_pools(graph: onnx.GraphProto) -> None:
    """Take such pools out of a graph and the graphs inside it, for runtimes that gain nothing by them."""
    given = {value.name for value in graph.output}
    sources: dict[str, str] = {
        n.output[0]: n.input[0] for n in graph.node if _is_layout_pool(n) and n.output[0] not in given
    }

    def old_name(name: str) -> str:
        return sources.get(name, name)

    nodes = [rename_tensors(node, old_name) for node in graph.node if node.output[0] not in sources]
    del graph.node[:]
    graph.node.extend(nodes)
    for node in graph.node:
        for inner in list_inner_graphs(node):
            remove_layout_pools(inner)


def _is_layout_pool(node: onnx.NodeProto) -> bool:
    attributes = {a.name: list(a.ints) for a in node.attribute}
    return node.op_type == "AveragePool" and attributes == {"kernel_shape": [1, 1]}
