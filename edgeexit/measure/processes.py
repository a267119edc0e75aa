"""Fresh processes for measuring: started, watched, ended, and what they measured read back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeexit.errors import HardwareMissing, InputError, InternalError
from edgeexit.hardware import DeviceState, read_device_state
from edgeexit.measure.result.aggregation import TimingSeries
from edgeexit.measure.timing import TimedSamples
from edgeexit.measure.worker import name_error_file
from edgeexit.util.child_processes import make_child_command
from edgeexit.util.progress import Progress

_CHILD = (
    "import time; start_s = time.perf_counter(); import edgeexit.runtime; import_s = time.perf_counter() - start_s; "
    "from edgeexit.util.child_processes import end_with_parent; end_with_parent(parent); "
    "from {module} import main; main(import_s, sys.argv[1], sys.argv[2])"
)
_WORKER = "edgeexit.measure.worker"
_POLL_S = 0.1
_COOL_WITHIN_C = 2.0


@dataclass(frozen=True)
class ProcessResult:
    """What one process measured.

    Attributes:
        arrays: arrays by name, as the worker wrote them.
        places: int64 [trace], which sample of the data set each input of its trace is.
    """

    arrays: dict[str, NDArray[Any]]
    places: NDArray[np.int64]

    def samples(self, name: str) -> TimedSamples:
        """The samples of a variant: `mixture`, `backbone`, `forced_1`, ..., or one of `cold.`."""
        return TimedSamples(self.arrays[f"{name}.values_s"], self.arrays[f"{name}.blocks"])

    @property
    def span(self) -> tuple[float, float]:
        """When the timing began and the last pass ended (paced, cold, whatever was asked for), on the monotonic clock, seconds."""
        return float(self.arrays["start_s"][0]), float(self.arrays["end_s"][0])

    @property
    def parts(self) -> dict[str, NDArray[np.float64]] | str:
        """Stages, criteria and overhead; see `breakdown`. A text says why there are none."""
        if "parts.reason" in self.arrays:
            return str(self.arrays["parts.reason"])
        return {name: self.arrays[f"parts.{name}"] for name in ("stage_s", "gate_s", "overhead_s")}

    def series_by_exit(self, name: str, exits: NDArray[np.int64]) -> TimingSeries:
        """A variant that ran the trace, each sample with the exit that the accuracy pass saw; `exits` are those of the data set."""
        samples, expected = self.samples(name), exits[self.places]
        return TimingSeries(samples, expected[np.arange(len(samples)) % len(expected)])

    def series(self, name: str) -> TimingSeries:
        """The samples of a variant all of whose inferences take the same path, such as the backbone or a forced exit."""
        return TimingSeries(self.samples(name))

    def count_differing_exits(self, name: str, exits: NDArray[np.int64] | int) -> int:
        """How many of the inputs that a variant ran left elsewhere than expected, in any pass."""
        passes = [self.arrays.get(f"{scenario}{name}.seen") for scenario in ("", "paced.", "cold.")]
        return sum(int(((seen != exits) & (seen != 0)).sum()) for seen in passes if seen is not None)


class JobFile(Protocol):
    """A job that can be written to a file for a worker process."""

    def write(self, path: Path) -> None:
        """Write the job to a file that the module of the process reads."""


def run_process(
    job: JobFile, folder: Path, *, process: int, processes: int, progress: Progress, module: str = _WORKER
) -> dict[str, NDArray[Any]]:
    """Run one job in a fresh process.

    Args:
        job: what to measure.
        folder: for the job and its results.
        process: number of this process, from 0: as many ended before it.
        processes: number of processes.
        progress: callback with `process` of `processes`, called while it runs.
        module: module whose `main` does the job, given the seconds that the import took, the job's file and the file for the results.

    Raises:
        InputError: the process refused what it was given, such as a bundle that gives NaN.
        HardwareMissing: it found a device or a package missing.
        InternalError: it failed otherwise; the message has its last lines.
    """
    job_path, out_path = folder / f"job{process}.json", folder / f"out{process}.npz"
    job.write(job_path)
    command = make_child_command(_CHILD.format(module=module), str(job_path), str(out_path))
    errors = folder / f"errors{process}.txt"
    with errors.open("wb") as sink:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=_make_environment(folder)
        )
        try:
            _watch(child, progress, process, processes)
        finally:
            _end_process(child)
    if child.returncode != 0:
        _raise_refusal(name_error_file(out_path))
        _raise_failure(child.returncode, errors.read_text(encoding="utf-8", errors="replace"), folder)
    with np.load(out_path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _raise_refusal(file: Path) -> None:
    """Raise what the process raised, if it was an edgeexit error: the user's message is that of the process."""
    if file.is_file():
        refusal = json.loads(file.read_text(encoding="utf-8"))
        kinds = {InputError.exit_code: InputError, HardwareMissing.exit_code: HardwareMissing}
        raise kinds.get(refusal["code"], InternalError)(refusal["message"])


def _raise_failure(code: int, output: str, folder: Path) -> NoReturn:
    tail = " | ".join(output.strip().splitlines()[-3:])
    if code == -signal.SIGKILL and not tail:
        msg = "a measuring process was killed (SIGKILL), as the system does where memory runs out: give fewer samples, or free some memory."
        raise HardwareMissing(msg)
    msg = f"a measuring process ended with {code}: {tail or f'no output; is the disk of {folder} full?'}"
    raise InternalError(msg)


def _make_environment(folder: Path) -> dict[str, str]:
    """The caller's, so that library paths hold; warnings of a test run must not become errors of the measurement.

    What the process writes as temporary files goes into the job's folder, which its parent removes: it may be killed while it writes.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    return kept | {"TMPDIR": str(folder)}


def _watch(child: subprocess.Popen[bytes], progress: Progress, done: int, total: int) -> None:
    progress("timing in fresh processes", done, total)
    while child.poll() is None:
        time.sleep(_POLL_S)
        progress("timing in fresh processes", done, total)
    progress("timing in fresh processes", done + 1, total)


def _end_process(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.kill()
        child.wait()


def wait_until_cool(start: DeviceState, at_most_s: float) -> None:
    """Wait until the machine is within 2 °C of its hottest point at the start, or `at_most_s` seconds."""
    goal = max(start.temperatures_c.values(), default=None)
    end = time.monotonic() + at_most_s
    while goal is not None and time.monotonic() < end:
        if max(read_device_state().temperatures_c.values(), default=goal) <= goal + _COOL_WITHIN_C:
            return
        time.sleep(1.0)
