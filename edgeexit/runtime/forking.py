"""Opened bundles in a process that forks, or that ends.

A forked child has copies of the engines and locks, as they were at that moment, and of all threads only the one that forked. A call that
another thread was inside of would never end there, and its locks would never be released. So a fork waits until no call runs, which takes
as long as an inference. Where that takes too long (a calibration in another thread), or where an engine does not work in a child at all
(CUDA), the child's copy raises an error when it is called.

When the interpreter ends, daemon threads are ended as soon as they come back from an engine, inside code that aborts the process then. So
the end waits until no call runs, too, and calls that begin after it do not reach an engine.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

_WAIT_S = 1.0  # longer than an inference, and no long delay for a fork inside a call, as of a progress callback

BUSY = "another thread was running it when the process forked: load the bundle again in the child process."
UNUSABLE = (
    "its backend does not work in a forked process: load the bundle in the child process, or start that with spawn."
)


@dataclass(frozen=True)
class _ForkTreatment:
    """Handling of open runners in a fork.

    Attributes:
        lock: held during every call.
        abandon: in the child, or at the end of the process, makes it refuse every call for a reason.
        survives: whether its engines work in the child.
    """

    lock: threading.Lock
    abandon: Callable[[Any, str], None]
    survives: bool


ENDING = "the process is ending."


class _ForkRegistry:
    """Runners open in this process, and those paused during a fork."""

    def __init__(self) -> None:
        self._opened: WeakKeyDictionary[object, _ForkTreatment] = WeakKeyDictionary()
        self._forking = threading.Lock()  # one fork at a time
        self._paused: list[tuple[object, _ForkTreatment]] = []
        self._busy: list[tuple[object, _ForkTreatment]] = []

    def register(self, opened: object, how: _ForkTreatment) -> None:
        self._opened[opened] = how

    def before(self) -> None:
        self._forking.acquire()
        end_s, seen = time.monotonic() + _WAIT_S, set[int]()
        while new := [(o, how) for o, how in self._now_open() if id(o) not in seen]:  # opened while this one waited
            for opened, how in new:
                seen.add(id(opened))
                paused = how.lock.acquire(timeout=max(0.0, end_s - time.monotonic()))
                (self._paused if paused else self._busy).append((opened, how))

    def _now_open(self) -> list[tuple[object, _ForkTreatment]]:
        """Copied in one step, without a lock: a thread that opens a clone would wait for that while the fork waits for the thread."""
        opened = [reference() for reference in self._opened.keyrefs()]
        return [(o, self._opened[o]) for o in opened if o is not None]

    def after_in_parent(self) -> None:
        for _, how in self._paused:
            how.lock.release()
        self._end()

    def after_in_child(self) -> None:
        for opened, how in self._busy:
            how.lock._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001 - as the standard library does
            how.abandon(opened, BUSY)
        for opened, how in self._paused:
            how.lock.release()
            if not how.survives:
                how.abandon(opened, UNUSABLE)
        self._end()

    def at_exit(self) -> None:
        end_s = time.monotonic() + _WAIT_S
        for opened, how in self._now_open():
            if how.lock.acquire(timeout=max(0.0, end_s - time.monotonic())):
                how.abandon(opened, ENDING)
                how.lock.release()

    def _end(self) -> None:
        self._paused, self._busy = [], []
        self._forking.release()


_FORKS = _ForkRegistry()
os.register_at_fork(before=_FORKS.before, after_in_parent=_FORKS.after_in_parent, after_in_child=_FORKS.after_in_child)

atexit.register(_FORKS.at_exit)


def register_for_fork(
    opened: Any, lock: threading.Lock, abandon: Callable[[Any, str], None], *, survives: bool
) -> None:
    """Have forks look after what is open, while it exists.

    Args:
        opened: a Runner or a Backbone.
        lock: lock that it holds during every call.
        abandon: called with it and a reason in a child in which it cannot run, and at the end; a function, not a method bound to it.
        survives: whether its engines work in a forked child.
    """
    _FORKS.register(opened, _ForkTreatment(lock, abandon, survives))


def keep_until_exit(value: object) -> None:
    """Keep an object to the end of the process: freeing an engine whose locks are never released would wait for them."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))
