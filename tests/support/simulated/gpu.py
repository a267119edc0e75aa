"""The machine: memory, streams, captures and graphs, with the rules of the CUDA documentation checked."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 256
LEGACY_STREAM = 0


class Violation(AssertionError):
    """A rule of the documented contract was broken."""


@dataclass(frozen=True)
class Op:
    """Work for the GPU: what it is, what it touches, and what it does."""

    kind: str  # kernel, memcpy, memset or conditional: the kinds of node that a conditional body may hold
    run: Callable[[], None]
    touches: tuple[tuple[int, int], ...]  # address, bytes
    owner: object = None


@dataclass(eq=False)
class Graph:
    """A graph: nodes in order. Bodies of conditional nodes are graphs with a parent."""

    parent: Graph | None = None
    nodes: list[Op] = field(default_factory=list)
    destroyed: bool = False
    handles: set[int] = field(default_factory=set)

    @property
    def root(self) -> Graph:
        """The outermost graph."""
        return self if self.parent is None else self.parent.root


@dataclass(eq=False)
class Exec:
    """An instantiated graph: a copy of the nodes as they were."""

    nodes: tuple[Op, ...]
    destroyed: bool = False


@dataclass(eq=False)
class Stream:
    """A stream: what is pending, and the graph into which it captures."""

    handle: int
    pending: list[Op] = field(default_factory=list)
    capture: Graph | None = None
    captured: list[Op] = field(default_factory=list)
    destroyed: bool = False


@dataclass(eq=False)
class Block:
    """One allocation."""

    address: int
    data: NDArray[np.uint8]
    pinned: bool
    freed: bool = False
    alias: int = 0


Kernel: TypeAlias = "Callable[[Gpu, tuple[Any, ...]], tuple[Callable[[], None], tuple[tuple[int, int], ...]]]"
"""Takes the GPU and a launch's arguments; gives what the launch does and what it touches."""


class Gpu:
    """One simulated GPU.

    Args:
        integrated: whether CPU and GPU share memory, as on Jetson.
        driver: its CUDA version.
        fail_at: number of the call that fails, from 1; None lets all succeed.
    """

    def __init__(self, *, integrated: bool = False, driver: int = 12060, fail_at: int | None = None) -> None:
        self.integrated = integrated
        self.driver = driver
        self.fail_at = fail_at
        self.calls: list[str] = []
        self.failed: str | None = None
        self.violations: list[str] = []
        self.blocks: list[Block] = []
        self.streams: dict[int, Stream] = {}
        self.graphs: list[Graph] = []
        self.execs: list[Exec] = []
        self.modules = 0
        self.programs = 0
        self.context_stack = 0
        self.primary_users = 0
        self.left_current = 0  # contexts that pycuda's detach leaves current
        self.conditions: dict[int, int] = {}
        self.trt_objects: dict[str, int] = {}
        self.kernels: dict[bytes, Kernel] = {}  # other kernels than the one that decides, by name
        self.dla_cores = 0
        self.memory_bytes = 8 * 2**30
        self.builds: list[Any] = []  # the builder configuration of every engine that was built
        self.says: dict[str, str] = {}  # what TensorRT logs when a call of that name fails
        self.body_limit: str | None = None  # a kind of node that bodies refuse, for tests of the fallback
        self._next = 0x7F00_0000_0000
        self._starts: list[int] = []  # device addresses of the blocks, which rise

    # -- rules ---------------------------------------------------------------------------------------------------------------

    def broken(self, rule: str) -> None:
        """Record and raise."""
        self.violations.append(rule)
        raise Violation(rule)

    def need(self, holds: bool, rule: str) -> None:
        """A rule that must hold."""
        if not holds:
            self.broken(rule)

    def fails(self, call: str) -> bool:
        """Record a call that may fail; whether this one does."""
        self.calls.append(call)
        if len(self.calls) == self.fail_at:
            self.failed = call
            return True
        return False

    def need_context(self, call: str) -> None:
        """Most calls need a current context on the thread."""
        self.need(self.context_stack > 0, f"{call} without a current context")

    def destroy(self, graph: Graph) -> None:
        """Destroy a graph with the bodies in it."""
        graph.destroyed = True
        for one in self.graphs:
            if one.root is graph:
                one.nodes.clear()

    def leaks(self) -> list[str]:
        """What was not given back."""
        found = [f"{b.address:#x} ({len(b.data)} bytes)" for b in self.blocks if not b.freed]
        found += [f"stream {s.handle}" for s in self.streams.values() if not s.destroyed]
        found += [f"graph with {len(g.nodes)} nodes" for g in self.graphs if not g.root.destroyed]
        found += [f"instantiated graph of {len(e.nodes)}" for e in self.execs if not e.destroyed]
        found += [f"{count} of TensorRT's {name}" for name, count in self.trt_objects.items() if count]
        counts = {
            "modules": self.modules,
            "NVRTC programs": self.programs,
            "pushed contexts": self.context_stack,
            "retained primary contexts": self.primary_users,
            "contexts left current": self.left_current,
        }
        return found + [f"{count} {name}" for name, count in counts.items() if count]

    # -- memory --------------------------------------------------------------------------------------------------------------

    def allocate(self, size: int, *, pinned: bool) -> Block:
        """Memory, filled with a pattern that is no zero."""
        for stream in self.streams.values():
            self.need(stream.capture is None, "memory allocated while a stream of this thread captures")
        block = Block(self._next, np.full(size, 0xA5, np.uint8), pinned)
        self._next += -(-size // 4096) * 4096 + 4096
        if pinned:
            block.alias = self._next
            self._next += -(-size // 4096) * 4096 + 4096
        self.blocks.append(block)
        self._starts.append(block.alias or block.address)
        return block

    def free(self, block: Block) -> None:
        """Give memory back: not twice, not in flight, not while a graph names it."""
        self.need(not block.freed, f"memory {block.address:#x} freed twice")
        self.need_context("freeing memory")
        for op in self._in_flight():
            self.need(
                not self._touches(op, block), f"memory {block.address:#x} freed while {op.kind} on it is in flight"
            )
        for graph in self.execs:
            live = () if graph.destroyed else graph.nodes
            self.need(not any(self._touches(op, block) for op in live), "memory freed before the graph that names it")
        block.freed = True
        block.data[...] = 0x5A

    def _in_flight(self) -> Iterable[Op]:
        return (op for stream in self.streams.values() for op in stream.pending)

    @staticmethod
    def _touches(op: Op, block: Block) -> bool:
        starts = (block.address, block.alias) if block.pinned else (block.address,)
        return any(s <= address < s + len(block.data) for address, _ in op.touches for s in starts if s)

    def at(self, address: int, size: int) -> NDArray[np.uint8]:
        """The bytes at a device address."""
        place = bisect_right(self._starts, address) - 1
        if place >= 0:
            block, start = self.blocks[place], self._starts[place]
            if address + size <= start + len(block.data):
                self.need(not block.freed, f"freed memory {address:#x} used by the GPU")
                return block.data[address - start : address - start + size]
        self.broken(f"{size} bytes at {address:#x} are no memory of the GPU")
        raise AssertionError

    def pinned_block(self, array: NDArray[Any]) -> Block:
        """The page-locked allocation that holds a host array."""
        where = array.__array_interface__["data"][0]
        for block in self.blocks:
            if block.pinned and not block.freed:
                start = block.data.__array_interface__["data"][0]
                if start <= where < start + len(block.data):
                    return block
        self.broken("an asynchronous copy with host memory that is not page-locked")
        raise AssertionError

    # -- streams -------------------------------------------------------------------------------------------------------------

    def stream(self, handle: int) -> Stream:
        """A stream by its handle."""
        self.need(
            handle != LEGACY_STREAM, "the legacy default stream is used; TensorRT would synchronise the device on it"
        )
        self.need(handle in self.streams, f"stream {handle} does not exist")
        stream = self.streams[handle]
        self.need(not stream.destroyed, f"stream {handle} used after it was destroyed")
        return stream

    def new_stream(self) -> Stream:
        """A new one."""
        stream = Stream(0x1000 + len(self.streams))
        self.streams[stream.handle] = stream
        return stream

    def enqueue(self, handle: int, op: Op) -> None:
        """Put work onto a stream, or into the graph that it captures."""
        self.need_context(f"enqueueing a {op.kind}")
        stream = self.stream(handle)
        others = [o for s in self.streams.values() if s is not stream for o in s.pending]
        self.need(not any(_overlap(op, o) for o in others), "work on two streams without an event between them")
        if stream.capture is not None:
            stream.capture.nodes.append(op)
            stream.captured.append(op)
        else:
            stream.pending.append(op)

    def synchronize(self, handle: int) -> None:
        """Run what is pending."""
        self.need_context("synchronising")
        stream = self.stream(handle)
        self.need(stream.capture is None, "a capturing stream is synchronised")
        while stream.pending:
            stream.pending.pop(0).run()

    def begin_capture(self, handle: int, into: Graph | None) -> None:
        """Begin a capture."""
        self.need_context("beginning a capture")
        stream = self.stream(handle)
        self.need(stream.capture is None, "a capture is begun while one is open")
        if into is None:
            into = Graph()
            self.graphs.append(into)
        self.need(not into.root.destroyed, "a capture into a destroyed graph")
        stream.capture, stream.captured = into, []

    def end_capture(self, handle: int) -> Graph:
        """End it; the graph."""
        stream = self.stream(handle)
        self.need(stream.capture is not None, "a capture is ended that was not begun")
        assert stream.capture is not None
        graph, stream.capture, stream.captured = stream.capture, None, []
        return graph

    def conditional(self, graph: Graph, handle: int) -> Graph:
        """Add an IF node of a condition to a graph; its body."""
        self.need(handle in graph.handles, "a condition is used in a graph that it was not made for")
        graph.handles.discard(handle)
        body = Graph(parent=graph)
        self.graphs.append(body)

        def run() -> None:
            if self.conditions.get(handle, 0):
                for op in body.nodes:
                    op.run()

        graph.nodes.append(Op("conditional", run, _BodyTouches(body)))
        return body

    def instantiate(self, graph: Graph) -> Exec:
        """A launchable copy."""
        self.need(not graph.destroyed, "a destroyed graph is instantiated")
        made = Exec(tuple(graph.nodes))
        self.execs.append(made)
        return made

    def launch(self, made: Exec, handle: int) -> None:
        """Put a graph onto a stream."""
        self.need(not made.destroyed, "a destroyed graph is launched")
        self.conditions.clear()  # every condition here was made with its default assigned at launch
        for op in made.nodes:
            self.enqueue(handle, op)


def _overlap(first: Op, second: Op) -> bool:
    """Whether they touch the same memory."""
    return any(a < d + m and d < a + n for a, n in first.touches for d, m in second.touches)


class _BodyTouches(tuple):  # type: ignore[type-arg]
    """What a body touches, looked at when asked: bodies are filled after their node is made."""

    body: Graph

    def __new__(cls, body: Graph) -> _BodyTouches:  # noqa: PYI034 - typing.Self needs Python 3.11
        made = super().__new__(cls)
        made.body = body
        return made

    def __iter__(self):  # type: ignore[no-untyped-def]
        return (touched for op in self.body.nodes for touched in op.touches)


def bind(kind: type, **attributes: Any) -> Any:
    """A copy of a class with class attributes of its own, such as the machine that its objects belong to."""
    body = {name: value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__")}
    return type(kind.__name__, kind.__bases__, {**body, **attributes})
