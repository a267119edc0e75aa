"""Replace an `If` whose condition never changes by the branch it takes.

Exporters leave such nodes behind (a squeeze of a dimension that may be 1). ONNX Runtime takes them out itself, but inside the branch of
another `If`, where the fused mode puts them, it loses their outputs ("Missing Input", seen in 1.31.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx
from onnx import helper

from edgeexit.errors import ModelError
from edgeexit.graph.dataflow import collect_tensor_names, find_unused_prefix, rename_tensors
from edgeexit.graph.model import Network


def find_constant_conditions(net: Network) -> tuple[str, ...]:
    """Conditions of the outermost `If` nodes that come from constants or from shapes that every input gives alike."""
    flow = net.flow()
    varying = {name for node, v in zip(net.proto.graph.node, flow.varies, strict=True) if v for name in node.output}
    varying |= {s.name for s in net.inputs}
    conditions = (node.input[0] for node in net.proto.graph.node if node.op_type == "If" and node.input)
    return tuple(dict.fromkeys(c for c in conditions if c not in varying))


def take_branches(net: Network, conditions: Mapping[str, bool]) -> None:
    """Put the branch in the place of every outermost `If` whose condition is given, in the network's own graph."""
    graph = net.proto.graph
    # Another one where branches were taken before: what they held may be called as now.
    prefix = find_unused_prefix(graph, "edgeexit/branch")
    nodes: list[onnx.NodeProto] = []
    for number, node in enumerate(graph.node):
        if node.op_type == "If" and node.input[0] in conditions:
            nodes += _inline_branch(graph, node, conditions[node.input[0]], f"{prefix}/{number}")
        else:
            nodes.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def _inline_branch(outer: onnx.GraphProto, node: onnx.NodeProto, condition: bool, prefix: str) -> list[onnx.NodeProto]:
    wanted = "then_branch" if condition else "else_branch"
    branch = next((a.g for a in node.attribute if a.name == wanted), None)
    if branch is None:
        msg = f"node {node.name!r} (If) has no {wanted}: the model is damaged; export it again."
        raise ModelError(msg)
    if len(branch.output) > len(node.output):
        msg = (
            f"node {node.name!r} (If) has {len(node.output)} outputs and a {wanted} of {len(branch.output)}:"
            " the model is damaged; export it again."
        )
        raise ModelError(msg)
    ends = [(v.name, name) for v, name in zip(branch.output, node.output, strict=False) if name]
    given = _map_output_names(branch, ends)
    inside = {t.name for t in branch.initializer} | {name for n in branch.node for name in n.output if name}

    def new_name(name: str) -> str:
        # The two branches, and branches elsewhere, may use the same names.
        return given.get(name, f"{prefix}/{name}" if name in inside else name)

    for tensor in branch.initializer:
        copy = outer.initializer.add()
        copy.CopyFrom(tensor)
        copy.name = new_name(tensor.name)
    body = [rename_tensors(n, new_name) for n in branch.node]
    for inner in body:
        inner.name = f"{prefix}/node/{inner.name}" if inner.name else ""  # without a name, any number may be
    return body + [
        helper.make_node("Identity", [new_name(made)], [name], name=f"{prefix}/end/{name}")
        for made, name in ends
        if given.get(made) != name
    ]


def _map_output_names(branch: onnx.GraphProto, ends: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What the nodes of a branch make, to the name that the `If` gives it; an `Identity` would take no sequence before operator set 14.

    Left out is what has such a name already, and what is called as another tensor inside the branch.
    """
    makes = {name for n in branch.node for name in n.output}
    taken = collect_tensor_names(branch)
    given: dict[str, str] = {}
    for made, name in ends:
        if made in makes and name not in taken:
            given.setdefault(made, name)
    return given
