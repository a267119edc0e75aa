"""Defaults of local functions: given to the nodes that call them, since ONNX's inliner forgets them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx

from edgeexit.graph.flow import inner_graphs


def give_defaults(proto: onnx.ModelProto) -> None:
    """Write into every node that calls a local function what it leaves to the function's defaults."""
    defaults = {(f.domain, f.name, getattr(f, "overload", "")): f.attribute_proto for f in proto.functions}
    callers = [*_nodes(proto.graph.node), *_nodes(node for f in proto.functions for node in f.node)]
    for node in callers:
        given = {attribute.name for attribute in node.attribute}
        written = defaults.get((node.domain, node.op_type, getattr(node, "overload", "")), ())
        node.attribute.extend(attribute for attribute in written if attribute.name not in given)


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """These and all inside their graphs."""
    for node in nodes:
        yield node
        for graph in inner_graphs(node):
            yield from _nodes(graph.node)
