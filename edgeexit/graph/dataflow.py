"""Data flow: which node makes and which nodes read each tensor, and which tensors depend on the values of the inputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple

import onnx

from edgeexit.graph.shapes import SHAPE_ONLY, is_shape_data_dependent

_RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "Multinomial", "Bernoulli", "RandomNormalLike", "RandomUniformLike"}
)


@dataclass(frozen=True)
class Flow:
    """The data flow of a graph.

    Attributes:
        reads: per node, every tensor it reads: its inputs and what the graphs inside it capture.
        producer: for each tensor that a node makes, the index of that node.
        varies: per node, whether its outputs depend on the values of an input of the model. Those that depend on nothing, or only on
            shapes that every input gives alike (the arithmetic that a free batch dimension brings), do not: they may be repeated
            anywhere.
        data_dependent: tensors whose shape may depend on the values of an input.
        decisions: the nodes inside which values of an input decide which branch of an `If` runs, or how often a `Loop`.
    """

    reads: tuple[frozenset[str], ...]
    producer: dict[str, int]
    varies: tuple[bool, ...]
    data_dependent: frozenset[str]
    decisions: frozenset[int]

    @classmethod
    def from_graph(
        cls, graph: onnx.GraphProto, inputs: Iterable[str], fixed: Collection[str] = (), *, cautious: bool = True
    ) -> Flow:
        """Analyse a graph whose nodes are in topological order, as ONNX requires and `read_model` ensures.

        Args:
            graph: graph of the model.
            inputs: inputs of the model, without those that are weights.
            fixed: tensors whose shape is known not to depend on values.
            cautious: assume that branches of an `If`, and iterations of a `Loop`, give tensors of different shapes.
        """
        reads = tuple(frozenset(list_node_reads(node)) for node in graph.node)
        producer = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
        walk = _Walk(inputs, fixed, cautious=cautious)
        varies = []
        decisions = set()
        for index, (node, names) in enumerate(zip(graph.node, reads, strict=True)):
            walk.decides = False
            varies.append(walk.visit(node, names))
            if walk.decides:
                decisions.add(index)
        return cls(reads, producer, tuple(varies), frozenset(walk.data_dependent), frozenset(decisions))

    def ancestors(self, tensors: Iterable[str]) -> frozenset[int]:
        """Indices of every node that the tensors need."""
        return self._walk(tensors, lambda _: True)

    def partition(self, ends: Iterable[Iterable[str]]) -> list[frozenset[int]]:
        """Per group of tensors, in order, indices of the nodes that it needs and no group before it needed."""
        done: frozenset[int] = frozenset()
        parts = []
        for tensors in ends:
            parts.append(self.ancestors(tensors) - done)
            done |= parts[-1]
        return parts

    def constant_ancestors(self, tensors: Iterable[str]) -> frozenset[int]:
        """Indices of the nodes that the tensors need and that do not vary, without what lies beyond nodes that do."""
        return self._walk(tensors, lambda index: not self.varies[index])

    def _walk(self, tensors: Iterable[str], follow: Callable[[int], bool]) -> frozenset[int]:
        found: set[int] = set()
        queue = [self.producer[t] for t in tensors if t in self.producer]
        while queue:
            index = queue.pop()
            if index not in found and follow(index):
                found.add(index)
                queue += [self.producer[t] for t in self.reads[index] if t in self.producer]
        return frozenset(found)


class _Walk:
    """Goes through a graph and the graphs inside it, and notes which tensors vary, and which in shape.

    One set holds the names of all scopes: where two use one name, it counts as varying in both.

    Attributes:
        varying: tensors that depend on the values of an input.
        data_dependent: those whose shape does.
        decides: whether such values decided over an `If` or a `Loop` on the way.
    """

    def __init__(self, inputs: Iterable[str], fixed: Collection[str], *, cautious: bool) -> None:
        self.varying = set(inputs)
        self.data_dependent: set[str] = set()
        self.decides = False
        self._fixed = fixed
        self._cautious = cautious

    def visit(self, node: onnx.NodeProto, reads: frozenset[str]) -> bool:
        """Record what a node makes; returns whether it depends on the inputs."""
        if node.op_type in SHAPE_ONLY:
            varies = not self.data_dependent.isdisjoint(reads)
        else:
            varies = not self.varying.isdisjoint(reads) or is_random(node)
        if varies:
            self.varying.update(name for name in node.output if name)
            self.data_dependent.update(n for n in self._list_data_dependent_outputs(node) if n and n not in self._fixed)
        return varies

    def _list_data_dependent_outputs(self, node: onnx.NodeProto) -> Sequence[str]:
        bodies = list_inner_graphs(node)
        if not bodies:
            dependent = is_shape_data_dependent(node, self.varying, self.data_dependent, cautious=self._cautious)
            return node.output if dependent else ()
        if node.op_type == "If":
            return self._visit_if(node, bodies)
        return self._visit_loop(node, bodies[0]) if node.op_type == "Loop" else self._visit_scan(node, bodies[0])

    def _visit_if(self, node: onnx.NodeProto, branches: Sequence[onnx.GraphProto]) -> list[str]:
        decides = self._any_varies(node.input[:1])
        self.decides |= decides
        for branch in branches:
            self._visit_body(branch)
        ends = zip(node.output, *(branch.output for branch in branches), strict=False)
        return [
            n for n, *made in ends if (decides and self._cautious) or any(m.name in self.data_dependent for m in made)
        ]

    def _visit_loop(self, node: onnx.NodeProto, body: onnx.GraphProto) -> list[str]:
        """Body: (turn, going, *states) to (going, *states, *what each turn gives, which is put together)."""
        taken, made = [v.name for v in body.input[1:]], [v.name for v in body.output]
        self._visit_until_fixpoint(body, zip(node.input[1:], taken, strict=False), list(zip(made, taken, strict=False)))
        decides = self._any_varies([*node.input[:2], *made[:1]])
        self.decides |= decides
        put_together = len(taken) - 1
        return [
            name
            for k, (name, inner) in enumerate(zip(node.output, made[1:], strict=False))
            if inner in self.data_dependent or (decides and (k >= put_together or self._cautious))
        ]

    def _visit_scan(self, node: onnx.NodeProto, body: onnx.GraphProto) -> list[str]:
        """Body: (*states, *slices) to (*states, *what each turn gives); of `SequenceMap`, slices alone."""
        taken, made = [v.name for v in body.input], [v.name for v in body.output]
        slices = next((a.i for a in node.attribute if a.name == "num_scan_inputs"), len(taken))
        states = len(taken) - slices
        self._visit_until_fixpoint(
            body, zip(node.input, taken, strict=False), list(zip(made[:states], taken, strict=False))
        )
        dependent = any(name in self.data_dependent for name in node.input[max(states, 0) :])
        return [
            name
            for k, (name, inner) in enumerate(zip(node.output, made, strict=False))
            if inner in self.data_dependent or (dependent and k >= states)
        ]

    def _visit_until_fixpoint(
        self, body: onnx.GraphProto, given: Iterable[tuple[str, str]], back: Sequence[tuple[str, str]]
    ) -> None:
        """Walk a loop body until its loop-carried tensors reach a fixed point."""
        self._propagate(given)
        before = -1
        while before != len(self.varying) + len(self.data_dependent):
            before = len(self.varying) + len(self.data_dependent)
            self._visit_body(body)
            self._propagate(back)

    def _propagate(self, pairs: Iterable[tuple[str, str]]) -> None:
        for source, target in pairs:
            for names in (self.varying, self.data_dependent):
                if source in names:
                    names.add(target)

    def _visit_body(self, graph: onnx.GraphProto) -> None:
        for node in graph.node:
            self.visit(node, frozenset(list_node_reads(node)))

    def _any_varies(self, names: Iterable[str]) -> bool:
        return any(name in self.varying for name in names)


class CrossingTensors(NamedTuple):
    """Tensors that cross the boundaries of one part of a graph: those `read` from earlier parts, and those `made` for later ones."""

    read: tuple[str, ...]
    made: tuple[str, ...]


def find_crossing_tensors(
    reads: Sequence[AbstractSet[str]], makes: Sequence[AbstractSet[str]]
) -> list[CrossingTensors]:
    """Per part, the tensors that cross into it and out of it, sorted by name.

    Args:
        reads: names that each part reads, in the order in which the parts run.
        makes: names that each part makes.

    Example:
        >>> find_crossing_tensors([{"x"}, {"h"}], [{"h", "z1"}, {"z2"}])[0]
        CrossingTensors(read=(), made=('h',))
    """
    return [
        CrossingTensors(
            tuple(sorted(reads[k] & frozenset().union(*makes[:k]))),
            tuple(sorted(makes[k] & frozenset().union(*reads[k + 1 :]))),
        )
        for k in range(len(reads))
    ]


def is_random(node: onnx.NodeProto) -> bool:
    """Whether a node, or one inside it, draws numbers of its own: never repeated in two stages, where each copy would draw others."""
    return node.op_type in _RANDOM or any(is_random(n) for g in list_inner_graphs(node) for n in g.node)


def list_subgraphs(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    """The graphs that an attribute holds (branches of If, bodies of Loop and Scan)."""
    return [attribute.g, *attribute.graphs] if attribute.HasField("g") else list(attribute.graphs)


def list_inner_graphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs inside a node."""
    return [graph for attribute in node.attribute for graph in list_subgraphs(attribute)]


def list_node_reads(node: onnx.NodeProto) -> Iterator[str]:
    """Every tensor a node reads: its inputs, then what the graphs inside it capture from outside."""
    yield from (name for name in node.input if name)
    for graph in list_inner_graphs(node):
        yield from find_captured_names(graph)


def find_captured_names(graph: onnx.GraphProto) -> Iterator[str]:
    """Names that a graph inside a node reads from the scopes around it."""
    known = {value.name for value in graph.input} | {t.name for t in graph.initializer}
    for node in graph.node:
        yield from (name for name in list_node_reads(node) if name not in known)
        known.update(node.output)
    yield from (value.name for value in graph.output if value.name not in known)


def collect_tensor_names(graph: onnx.GraphProto) -> set[str]:
    """Every name of a tensor in a graph and in the graphs inside it."""
    names = {value.name for value in (*graph.input, *graph.output)} | {t.name for t in graph.initializer}
    for node in graph.node:
        names.update(node.input)
        names.update(node.output)
        for inner in list_inner_graphs(node):
            names |= collect_tensor_names(inner)
    return names


def sort_topologically(graph: onnx.GraphProto) -> list[int] | None:
    """Indices of the nodes such that each comes after those it reads from, the given order kept where it can; None for a cycle."""
    producer = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    needs = [{producer[n] for n in list_node_reads(node) if n in producer} for node in graph.node]
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


def _keep_name(name: str) -> str:
    return name


def rename_tensors(
    node: onnx.NodeProto, new_name: Callable[[str], str], new_inner: Callable[[str], str] = _keep_name
) -> onnx.NodeProto:
    """A copy of a node with every tensor name of its own scope, also inside its graphs, passed through `new_name`.

    Names that belong to the graphs inside it pass through `new_inner`.
    """
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [new_name(n) if n else n for n in node.input]
    copy.output[:] = [new_name(n) if n else n for n in node.output]
    for graph in list_inner_graphs(copy):
        _rename_inside(graph, new_name, new_inner)
    return copy


def _rename_inside(graph: onnx.GraphProto, new_name: Callable[[str], str], new_inner: Callable[[str], str]) -> None:
    outer = set(find_captured_names(graph))

    def new(name: str) -> str:
        return new_name(name) if name in outer else new_inner(name)

    nodes = [rename_tensors(node, new, new_inner) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = new(value.name)
    for tensor in graph.initializer:
        tensor.name = new(tensor.name)


def collect_node_names(graph: onnx.GraphProto) -> set[str]:
    """Every name of a node in a graph and in the graphs inside it."""
    return {node.name for node in graph.node}.union(
        *(collect_node_names(g) for node in graph.node for g in list_inner_graphs(node))
    )


def find_unused_prefix(graph: onnx.GraphProto, prefix: str) -> str:
    """`prefix`, or with the first number behind it such that no name in the graph, of a tensor or a node, starts with it."""
    names = collect_tensor_names(graph) | collect_node_names(graph)
    candidates = (prefix if n == 1 else f"{prefix}{n}" for n in count(1))
    return next(c for c in candidates if not any(name.startswith(f"{c}/") for name in names))
