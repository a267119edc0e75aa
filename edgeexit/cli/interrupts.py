"""Ctrl-C, SIGTERM and SIGHUP where Python alone would not end a command.

* The main thread is inside a run of ONNX Runtime: signals are handled in between only, so a thread ends the run.
* What the handler raises is swallowed, since it came inside a finaliser or a callback (the import system has such): it is raised once more.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_RUNS = "edgeexit.backends.stopping"
"""The module that knows the runs; where it was never imported, there are none."""


_AGAIN_S = 0.02
"""Time in which the callback that swallowed an interrupt has ended."""


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: whatever handles Ctrl-C handles it too."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.is_swallowed = False


@contextmanager
def raise_on_termination() -> Iterator[list[Terminated]]:
    """SIGTERM and SIGHUP raise `Terminated` inside; yields those that came. Where one is ignored (nohup) or handled, it stays so.

    Later ones are ignored, so that they do not cut short the cleaning up after the first.
    """
    came: list[Terminated] = []

    def end(number: int, _frame: FrameType | None) -> None:
        if not came or came[-1].is_swallowed:
            came.append(Terminated(number))
            raise came[-1]

    taken = [s for s in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    try:
        yield came
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def allow_interrupts() -> Iterator[None]:
    """Let these signals end the body wherever the main thread is in it: it raises what their handlers raise."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _end_runs_on_signal(), _raise_swallowed_again():
        yield


@contextmanager
def _raise_swallowed_again() -> Iterator[None]:
    report, main = sys.unraisablehook, threading.get_ident()

    def raise_again(swallowed: sys.UnraisableHookArgs) -> None:
        error = swallowed.exc_value
        if not isinstance(error, KeyboardInterrupt):
            report(swallowed)
            return
        number = signal.SIGINT
        if isinstance(error, Terminated):
            error.is_swallowed, number = True, signal.Signals(error.number)
        timer = threading.Timer(_AGAIN_S, signal.pthread_kill, (main, number))
        timer.daemon = True
        timer.start()

    sys.unraisablehook = raise_again
    try:
        yield
    finally:
        sys.unraisablehook = report


@contextmanager
def _end_runs_on_signal() -> Iterator[None]:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reader, threading.get_ident()), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)  # ends the watcher, which closes the other end


def _watch(reader: int, main: int) -> None:
    with os.fdopen(reader, "rb", buffering=0) as signals:
        while number := signals.read(1):
            runs = sys.modules.get(_RUNS)
            if number[0] in _SIGNALS and runs is not None:
                runs.end_runs(main)
