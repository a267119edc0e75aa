"""Who makes and who reads each tensor: the reachability on which splitting stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import onnx

from edgeexit.graph.network import subgraphs_of


@dataclass(frozen=True)
class Flow:
    """The data flow of a graph.

    Attributes:
        reads: per node, every tensor it reads: its inputs and what the graphs inside it capture.
        maker: for each tensor that a node makes, the index of that node.
        varies: per node, whether anything it reads depends on an input of the model.
    """

    reads: tuple[frozenset[str], ...]
    maker: dict[str, int]
    varies: tuple[bool, ...]

    @classmethod
    def of(cls, graph: onnx.GraphProto, inputs: Iterable[str]) -> Flow:
        """Read the flow off a graph whose nodes stand in topological order, as ONNX demands."""
        reads = tuple(frozenset(node_reads(node)) for node in graph.node)
        maker = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
        live = set(inputs)
        varies = []
        for node, names in zip(graph.node, reads, strict=True):
            varies.append(not live.isdisjoint(names) or _draws_random(node))
            if varies[-1]:
                live.update(node.output)
        return cls(reads, maker, tuple(varies))

    def ancestors(self, tensors: Iterable[str]) -> frozenset[int]:
        """Indices of every node that the tensors need."""
        found: set[int] = set()
        queue = [self.maker[t] for t in tensors if t in self.maker]
        while queue:
            index = queue.pop()
            if index not in found:
                found.add(index)
                queue += [self.maker[t] for t in self.reads[index] if t in self.maker]
        return frozenset(found)


def _draws_random(node: onnx.NodeProto) -> bool:
    # Never repeated in two stages: each copy would draw its own numbers.
    return node.op_type in {
        "RandomNormal",
        "RandomUniform",
        "Multinomial",
        "Bernoulli",
        "RandomNormalLike",
        "RandomUniformLike",
    }


def inner_graphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs inside a node."""
    return [graph for attribute in node.attribute for graph in subgraphs_of(attribute)]


def node_reads(node: onnx.NodeProto) -> Iterator[str]:
    """Every tensor a node reads: its inputs, then what the graphs inside it capture from outside."""
    yield from (name for name in node.input if name)
    for graph in inner_graphs(node):
        yield from captured(graph)


def captured(graph: onnx.GraphProto) -> Iterator[str]:
    """Names that a graph inside a node reads from the scopes around it."""
    known = {value.name for value in graph.input} | {t.name for t in graph.initializer}
    for node in graph.node:
        yield from (name for name in node_reads(node) if name not in known)
        known.update(node.output)
    yield from (value.name for value in graph.output if value.name not in known)


def renamed(node: onnx.NodeProto, new_name: Callable[[str], str]) -> onnx.NodeProto:
    """A copy of a node with every tensor name of its own scope, also inside its graphs, passed through `new_name`."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [new_name(n) if n else n for n in node.input]
    copy.output[:] = [new_name(n) if n else n for n in node.output]
    for graph in inner_graphs(copy):
        _rename_captures(graph, new_name)
    return copy


def _rename_captures(graph: onnx.GraphProto, new_name: Callable[[str], str]) -> None:
    outer = set(captured(graph))

    def new_if_outer(name: str) -> str:
        return new_name(name) if name in outer else name

    nodes = [renamed(node, new_if_outer) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    for value in graph.output:
        value.name = new_if_outer(value.name)
