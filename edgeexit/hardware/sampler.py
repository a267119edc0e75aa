"""The process that reads sensors while another one works: `main` of this module, started by `Sampler`.

What to read comes as one JSON line on stdin; readings go to <file> as native float64 records; a closed stdin ends it. It runs
apart from the measured process, so that neither the interpreter lock nor its allocations touch the measured work, and it also runs
while the machine idles, so that what it draws itself is in both and cancels.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from edgeexit.errors import HardwareMissing
from edgeexit.util.child_processes import make_child_command
from edgeexit.util.scratch import make_scratch_folder

_READY = b"ready\n"
_FILE = "records"
_START_TIMEOUT_S = 10.0


class Sampler:
    """A sampling process. Started by `start`, ended by `stop`, which returns its records.

    Args:
        plan: what `channels_of` understands: {"kind": "power", "root": ..., "adapter": ...} or {"kind": "state", "root": ...}.
        rate_hz: how often to read.
        cpu: the CPU to keep to, away from the measured work; None leaves it to the kernel.
    """

    def __init__(self, plan: dict[str, str], rate_hz: float, cpu: int | None = None) -> None:
        self.plan = {**plan, "rate_hz": rate_hz, "cpu": cpu}
        self._scratch = ExitStack()
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; returns when it has read its first record.

        Raises:
            HardwareMissing: it ends, or is not ready in time.
        """
        self._folder = self._scratch.enter_context(make_scratch_folder())
        code = "from edgeexit.hardware.sampler import main; main(sys.argv[1])"
        command = make_child_command(code, str(self._folder / _FILE))
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe)
        stdin, stdout = _get_pipes(self._process)
        stdin.write(json.dumps(self.plan).encode() + b"\n")
        stdin.flush()
        ready, _, _ = select.select([stdout], [], [], _START_TIMEOUT_S)
        if not ready or stdout.readline() != _READY:
            self.stop()
            msg = f"the sampling process did not start for {self.plan}."
            raise HardwareMissing(msg)

    def stop(self) -> list[tuple[float, ...]]:
        """End the process; its records: monotonic time in s, cost of reading in s, then one value per channel."""
        process, self._process = self._process, None
        folder, self._folder = self._folder, None
        if process is not None:
            stdin, stdout = _get_pipes(process)
            stdin.close()
            stdout.read()
            process.wait()
            stdout.close()
        if folder is None:
            return []
        file = folder / _FILE
        data = file.read_bytes() if file.exists() else b""
        self._scratch.close()
        return _parse_records(data)


def _get_pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def _parse_records(data: bytes) -> list[tuple[float, ...]]:
    """The first float64 of the file is the number of columns; a record cut off at the end is left out."""
    if len(data) < 8:
        return []
    (columns,) = struct.unpack_from("d", data)
    record = struct.Struct(f"{int(columns)}d")
    usable = 8 + (len(data) - 8) // record.size * record.size
    return list(record.iter_unpack(data[8:usable]))


def find_spare_cpu() -> int | None:
    """The last CPU that this process may use, for a sampler to keep to; None when there is only one: the two would wait for each other."""
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return cpus[-1] if len(cpus) > 1 else None


def main(file: str) -> None:
    """Sample until stdin is closed. Ctrl-C is left to the parent, which wants the records all the same."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = sys.stdin.buffer.readline()
    if not line:  # the process that started this one has ended before it could say what to read
        return
    plan = json.loads(line)
    if plan["cpu"] is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {plan["cpu"]})
    with Path(file).open("wb") as out, _open_reader(plan) as read:
        first = read()
        out.write(struct.pack("d", len(first)))
        out.write(struct.pack(f"{len(first)}d", *first))
        sys.stdout.buffer.write(_READY)
        sys.stdout.buffer.flush()
        _run_loop(read, out, 1.0 / plan["rate_hz"])


def _run_loop(read: Callable[[], tuple[float, ...]], out: IO[bytes], period_s: float) -> None:
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


def _open_reader(plan: dict[str, Any]) -> Any:
    """A context manager that gives a callable: one record per call."""
    if plan["kind"] == "power":
        from edgeexit.hardware.power.recorder import open_power_reader

        return open_power_reader(Path(plan["root"]), plan["adapter"])
    from edgeexit.hardware.timeline import state_reader

    return state_reader(Path(plan["root"]))
