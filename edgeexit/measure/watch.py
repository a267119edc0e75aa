"""The machine while it is measured: snapshots before, between and after the processes, and a recorder that reads on meanwhile.

The recorder is a process of its own on another CPU; what it saw is judged over the timed stretches only, since a clock left to its
governor falls whenever a process starts or ends.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.errors import HardwareMissing
from edgeexit.hardware import DeviceState, find_device_key, judge, read_device_facts, read_device_state
from edgeexit.hardware.identity import ROOT
from edgeexit.hardware.sampler import find_spare_cpu
from edgeexit.hardware.timeline import Series, StateRecorder, Timeline
from edgeexit.hardware.validity import Validity
from edgeexit.measure.processes import ProcessResult
from edgeexit.measure.result.parts import Device, MachineSnapshot, StateChannel
from edgeexit.util.documents import to_document


class MachineMonitor:
    """State of the machine during one measurement.

    Args:
        root: root of the file system; another one than `/` is for tests.
        threads: worker threads of what is measured.

    Attributes:
        before: the state at the start.
    """

    def __init__(self, root: Path = ROOT, *, threads: int = 1) -> None:
        self._root, self._threads = root, threads
        self.before = read_device_state(root)
        self._snapshots = [self._make_snapshot(self.before)]
        self._timeline = Timeline(())
        self._unrecorded: str | None = None

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record in the body. A recorder that cannot start is a doubt, and the body runs all the same."""
        recorder = StateRecorder(self._root, find_spare_cpu())
        try:
            recorder.start()
        except HardwareMissing as error:
            self._unrecorded = f"the state between the snapshots is not known: {error}"
        try:
            yield
        finally:
            self._timeline = recorder.stop()

    def take_snapshot(self) -> None:
        """Keep the state of the machine now, between two processes."""
        self._snapshots.append(self._make_snapshot(read_device_state(self._root)))

    def describe_device(self, replicates: Sequence[ProcessResult]) -> tuple[Device, Validity]:
        """The machine's entry in the result, and findings that make the timings suspect."""
        after = read_device_state(self._root)
        timed = self._timeline.cut_to_spans([replicate.span for replicate in replicates])
        fixed = {clock.name for clock in self.before.clocks if clock.fixed}
        channels = tuple(map(_summarize_channel, self._timeline.series, timed.series))
        before, seen = _make_plain_state(self.before), _make_plain_state(after)
        device = Device(
            find_device_key(self._root), read_device_facts(self._root), before, seen, tuple(self._snapshots), channels
        )
        return device, judge(self.before, after, threads=self._threads) & timed.judge(fixed) & self._judge_recording()

    def _judge_recording(self) -> Validity:
        return Validity("valid") if self._unrecorded is None else Validity("suspect", (self._unrecorded,))

    def collect_raw_arrays(self, replicates: Sequence[ProcessResult]) -> dict[str, NDArray[Any]]:
        """For the raw file: each channel as `state_0`, ... [2, n] (seconds since the start, values), and when each round ended."""
        rounds = [replicate.arrays["rounds_s"] for replicate in replicates]
        arrays = {f"state_{i}": self._since_start(series) for i, series in enumerate(self._timeline.series)}
        arrays["rounds_s"] = np.concatenate(rounds) - self.before.monotonic_s
        arrays["rounds_process"] = np.repeat(np.arange(len(rounds)), [len(r) for r in rounds]).astype(np.int16)
        return arrays

    def _since_start(self, series: Series) -> NDArray[np.float64]:
        return np.array([np.array(series.times_s) - self.before.monotonic_s, series.values], np.float64)

    def _make_snapshot(self, state: DeviceState) -> MachineSnapshot:
        """Values of a snapshot that are drawn over time: the hottest point and the fastest clock."""
        clocks = [clock.current_hz for clock in state.clocks if clock.current_hz is not None]
        hottest = max(state.temperatures_c.values(), default=None)
        return MachineSnapshot(state.monotonic_s - self.before.monotonic_s, hottest, max(clocks, default=None))


def _summarize_channel(whole: Series, timed: Series) -> StateChannel:
    """Smallest, mean and largest value of a channel while something was timed."""
    channel = StateChannel(whole.name, whole.kind, len(timed.values), None, None, None)
    if not timed.values:
        return channel
    return replace(channel, low=min(timed.values), mean=statistics.fmean(timed.values), high=max(timed.values))


def _make_plain_state(state: DeviceState) -> dict[str, Any]:
    return dict(to_document(state.to_document()))
