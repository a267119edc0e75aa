"""Ctrl-C, SIGTERM and SIGHUP while the main thread is inside a run of ONNX Runtime, where Python cannot handle them."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_RUNS = "edgeexit.backends.stopping"
"""The module that knows the runs; where it was never imported, there are none."""


@contextmanager
def allow_interrupts() -> Iterator[None]:
    """Let these signals end a run of the main thread in the body, which then raises what their handlers raise."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
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
