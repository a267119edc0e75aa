"""A process that reads sensors while another one works: started, ended, and its records read. `sampling_process` is what runs in it.

It runs apart from the measured process, so that neither the interpreter lock nor its allocations touch the measured work. It also runs
while the machine idles, so that the power that it draws itself is in both and cancels.
"""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from edgeexit.errors import HardwareMissing
from edgeexit.util.child_processes import make_child_command
from edgeexit.util.scratch import make_scratch_folder

READY = b"ready\n"
"""What the process writes to its stdout once it has read its first record."""
_FILE = "records"
_START_TIMEOUT_S = 10.0


class Sampler:
    """A sampling process. Started by `start`, ended by `stop`, which returns its records.

    Args:
        plan: what to read: {"kind": "power", "root": ..., "adapter": ...} or {"kind": "state", "root": ...}.
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
        code = "from edgeexit.hardware.sampling_process import main; main(sys.argv[1])"
        command = make_child_command(code, str(self._folder / _FILE))
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe)
        stdin, stdout = _get_pipes(self._process)
        stdin.write(json.dumps(self.plan).encode() + b"\n")
        stdin.flush()
        ready, _, _ = select.select([stdout], [], [], _START_TIMEOUT_S)
        if not ready or stdout.readline() != READY:
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
