"""Who makes and who reads each tensor: the reachability on which splitting stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

import onnx

_RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "Multinomial", "Bernoulli", "RandomNormalLike", "RandomUniformLike"}
)
_SHAPE_ONLY = frozenset({"Shape", "Size"})


@dataclass(frozen=True)
class Flow:
    """The data flow of a graph.

    Attributes:
        reads: per node, every tensor it reads: its inputs and what the graphs inside it capture.
        maker: for each tensor that a node makes, the index of that node.
        varies: per node, whether its outputs depend on the values of an input of the model. Those that depend on nothing, or only on
            the shapes of tensors (the arithmetic that a free batch dimension brings), do not: they may be repeated anywhere.
    """

    reads: tuple[frozenset[str], ...]
    maker: dict[str, int]
    varies: tuple[bool, ...]

    @classmethod
    def of(cls, graph: onnx.GraphProto, inputs: Iterable[str]) -> Flow:
        """Read the flow off a graph whose nodes stand in topological order, as ONNX demands and `read_model` sees to."""
        reads = tuple(frozenset(node_reads(node)) for node in graph.node)
        maker = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
        live = set(inputs)
        varies = []
        for node, names in zip(graph.node, reads, strict=True):
            varies.append(node.op_type not in _SHAPE_ONLY and (not live.isdisjoint(names) or _draws_random(node)))
            if varies[-1]:
                live.update(node.output)
        return cls(reads, maker, tuple(varies))

    def ancestors(self, tensors: Iterable[str]) -> frozenset[int]:
        """Indices of every node that the tensors need."""
        return self._walk(tensors, lambda _: True)

    def constant_ancestors(self, tensors: Iterable[str]) -> frozenset[int]:
        """Indices of the nodes that the tensors need and that do not vary, without what lies beyond nodes that do."""
        return self._walk(tensors, lambda index: not self.varies[index])

    def _walk(self, tensors: Iterable[str], follow: Callable[[int], bool]) -> frozenset[int]:
        found: set[int] = set()
        queue = [self.maker[t] for t in tensors if t in self.maker]
        while queue:
            index = queue.pop()
            if index not in found and follow(index):
                found.add(index)
                queue += [self.maker[t] for t in self.reads[index] if t in self.maker]
        return frozenset(found)


def _draws_random(node: onnx.NodeProto) -> bool:
    # Never repeated in two stages: each copy would draw its own numbers.
    return node.op_type in _RANDOM or any(_draws_random(n) for g in inner_graphs(node) for n in g.node)


def subgraphs_of(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    """The graphs that an attribute holds (branches of If, bodies of Loop and Scan)."""
    return [attribute.g, *attribute.graphs] if attribute.HasField("g") else list(attribute.graphs)


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


def all_names(graph: onnx.GraphProto) -> set[str]:
    """Every name of a tensor in a graph and in the graphs inside it."""
    names = {value.name for value in (*graph.input, *graph.output)} | {t.name for t in graph.initializer}
    for node in graph.node:
        names.update(node.input)
        names.update(node.output)
        for inner in inner_graphs(node):
            names |= all_names(inner)
    return names


def in_order(graph: onnx.GraphProto) -> list[int] | None:
    """Indices of the nodes such that each comes after those it reads from, the given order kept where it can; None for a cycle."""
    maker = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    needs = [{maker[n] for n in node_reads(node) if n in maker} for node in graph.node]
    waiting = [len(n) for n in needs]
    readers: list[list[int]] = [[] for _ in needs]
    for index, makers in enumerate(needs):
        for made_by in makers:
            readers[made_by].append(index)
    ready = [i for i, count in enumerate(waiting) if not count]
    order = []
    while ready:
        index = heappop(ready)
        order.append(index)
        for reader in readers[index]:
            waiting[reader] -= 1
            if not waiting[reader]:
                heappush(ready, reader)
    return order if len(order) == len(needs) else None


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


def unused_prefix(graph: onnx.GraphProto, prefix: str) -> str:
    """`prefix`, or with the first number behind it such that no name in the graph starts with it."""
    names = all_names(graph)
    candidates = (prefix if n == 1 else f"{prefix}{n}" for n in count(1))
    return next(c for c in candidates if not any(name.startswith(f"{c}/") for name in names))
