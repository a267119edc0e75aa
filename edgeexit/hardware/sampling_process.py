"""What the process of a `Sampler` does: read sensors at uneven times until its stdin is closed.

What to read comes as one JSON line on stdin; readings go to a file as native float64 records, of which the first value is the number of
columns.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import struct
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from io import FileIO
from pathlib import Path
from typing import Any

from edgeexit.hardware.power.recorder import open_power_reader
from edgeexit.hardware.sampler import READY
from edgeexit.hardware.timeline import open_state_reader


def main(file: str) -> None:
    """Sample until stdin is closed. Ctrl-C is left to the parent, which wants the records all the same."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = sys.stdin.buffer.readline()
    if not line:  # the process that started this one has ended before it could say what to read
        return
    plan = json.loads(line)
    if plan["cpu"] is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {plan["cpu"]})
    with Path(file).open("wb", buffering=0) as out, _open_reader(plan) as read:  # a killed process leaves its records
        first = read()
        out.write(struct.pack("d", len(first)))
        out.write(struct.pack(f"{len(first)}d", *first))
        sys.stdout.buffer.write(READY)
        sys.stdout.buffer.flush()
        _run_loop(read, out, 1.0 / plan["rate_hz"])


def _run_loop(read: Callable[[], tuple[float, ...]], out: FileIO, period_s: float) -> None:
    """Read at uneven times, half to one and a half periods apart: even ones would beat with a load that has a period of its own.

    A time that was missed is skipped. Waiting for the end of stdin is the sleep.
    """
    due_s = time.monotonic() + period_s
    while True:
        ended, _, _ = select.select([sys.stdin], [], [], max(0.0, due_s - time.monotonic()))
        if ended:
            return
        record = read()
        out.write(struct.pack(f"{len(record)}d", *record))
        due_s = max(due_s + period_s * random.uniform(0.5, 1.5), time.monotonic())  # noqa: S311 - no secret


def _open_reader(plan: dict[str, Any]) -> AbstractContextManager[Callable[[], tuple[float, ...]]]:
    """A context manager that gives a callable: one record per call."""
    root = Path(plan["root"])
    return open_power_reader(root, plan["adapter"]) if plan["kind"] == "power" else open_state_reader(root)
