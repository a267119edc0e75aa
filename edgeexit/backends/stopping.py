"""Runs of ONNX Runtime that are ended from outside: after a time limit where a network may loop without end, and by Ctrl-C.

A run holds the calling thread until it is done, and Python handles signals in between only; what ends it is the `terminate` flag of its
run options, set by another thread. Networks without a `Loop` always come to an end, and have no limit.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakSet

import onnx

from edgeexit.errors import ModelError
from edgeexit.graph.dataflow import list_inner_graphs

if TYPE_CHECKING:
    import onnxruntime as ort

LIMIT_S = 20.0
"""The longest run of one sample, or of a few, while a network with a `Loop` is compiled or loaded; `EDGEEXIT_RUN_LIMIT_S` replaces it."""

_GRACE_S = 0.3
_AGAIN_S = 0.05
_ALL: WeakSet[ort.RunOptions] = WeakSet()
"""The options of every run that may be in progress."""


def run_options() -> ort.RunOptions:
    """Options of runs that Ctrl-C ends and, inside `allow_run_limit`, a limit; one object for one runner of a session."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    _ALL.add(options)
    limit = _LIMIT.get()
    if limit is not None:
        limit.options.append(options)
    return options


def may_run_forever(graph: onnx.GraphProto) -> bool:
    """Whether a graph, or one inside its nodes, has a `Loop`."""
    return any(n.op_type == "Loop" or any(map(may_run_forever, list_inner_graphs(n))) for n in graph.node)


@dataclass
class _RunLimit:
    """Options of the runs that have a limit, whether there is a reason for one, and whether a run has gone beyond it."""

    options: list[ort.RunOptions] = field(default_factory=list)
    needed: bool = False
    exceeded: threading.Event = field(default_factory=threading.Event)


_LIMIT: ContextVar[_RunLimit | None] = ContextVar("the limit of runs", default=None)


@contextmanager
def allow_run_limit() -> Iterator[None]:
    """Give runs whose options are made in the body a limit, once `limit_graph_runs` has seen a graph that needs one."""
    token = _LIMIT.set(_RunLimit())
    try:
        yield
    finally:
        _LIMIT.reset(token)


def limit_graph_runs(graph: onnx.GraphProto) -> None:
    """Limit the runs of `allow_run_limit` where this graph may run for ever."""
    limit = _LIMIT.get()
    if limit is not None and may_run_forever(graph):
        limit.needed = True


@contextmanager
def enforce_run_limit() -> Iterator[None]:
    """End runs of the body that take longer than the limit; without one, nothing.

    Raises:
        ModelError: a run was ended.
    """
    limit = _LIMIT.get()
    if limit is None or not limit.needed:
        yield
        return
    seconds = _read_limit_s()
    if limit.exceeded.is_set():  # other inputs would take as long
        raise ModelError(_explain_limit(seconds))

    def end() -> None:
        limit.exceeded.set()
        _set(limit.options, terminate=True)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except ModelError as error:
        if limit.exceeded.is_set():
            raise ModelError(_explain_limit(seconds)) from error
        raise
    finally:
        timer.cancel()
        if limit.exceeded.is_set():
            _set(limit.options, terminate=False)


def _read_limit_s() -> float:
    with suppress(ValueError):
        return max(0.1, float(os.environ.get("EDGEEXIT_RUN_LIMIT_S", LIMIT_S)))
    return LIMIT_S


def _explain_limit(seconds: float) -> str:
    return (
        f"the network has a Loop that did not end within {seconds:g} s, and was stopped: give it a smaller trip count, or a condition that"
        " ends it. Where it takes that long and does end, set EDGEEXIT_RUN_LIMIT_S to more seconds."
    )


def _set(options: Iterable[ort.RunOptions], *, terminate: bool) -> None:
    for one in list(options):
        one.terminate = terminate


def end_runs(main: int) -> None:
    """Set the flag of all runs until the thread `main` goes on from where it is now; most runs end by themselves before."""
    place = _place(main)
    threading.Event().wait(_GRACE_S)
    while place is not None and _place(main) == place:
        _set(_ALL, terminate=True)
        threading.Event().wait(_AGAIN_S)
    _set(_ALL, terminate=False)


def _place(thread: int) -> tuple[int, int] | None:
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented by this name
    return None if frame is None else (id(frame), frame.f_lasti)
