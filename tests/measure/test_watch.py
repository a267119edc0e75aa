"""The machine's state while it is measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeexit.errors import HardwareMissing
from edgeexit.hardware.timeline import StateRecorder
from edgeexit.measure.processes import ProcessResult
from edgeexit.measure.watch import MachineMonitor
from tests.hardware.boards import jetson_orin_nano, plant
from tests.hardware.sampling import wait_for_records  # noqa: F401 - a fixture

_GPU = "sys/class/devfreq/17000000.gpu"


def _replicate(start_s: float, end_s: float) -> ProcessResult:
    """A process that timed one round, which took half of the time, and other passes between two moments."""
    times = {"start_s": [start_s], "rounds_s": [(start_s + end_s) / 2], "end_s": [end_s]}
    return ProcessResult({name: np.array(values) for name, values in times.items()}, np.zeros(1, np.int64))


@pytest.mark.slow
def test_a_clock_that_drops_in_the_middle_is_seen_and_kept(
    tmp_path: Path,
    wait_for_records: Callable[[], None],  # noqa: F811
) -> None:
    """Both snapshots find it where it was fixed; the recorder does not."""
    root = plant(tmp_path, {**jetson_orin_nano(), f"{_GPU}/cur_freq": 1020000000, f"{_GPU}/min_freq": 1020000000})
    watch, start_s = MachineMonitor(root), time.monotonic()
    with watch.recording():
        wait_for_records()
        (root / _GPU / "cur_freq").write_text("306000000")
        wait_for_records()
        (root / _GPU / "cur_freq").write_text("1020000000")
    replicates = [_replicate(start_s, time.monotonic())]
    device, validity = watch.describe_device(replicates)

    assert "invalid" == validity.status
    assert any("17000000.gpu, which was fixed, moved between 306 and 1020 MHz" in r for r in validity.reasons)
    place = next(i for i, channel in enumerate(device.channels) if channel.name == "17000000.gpu")
    times_s, values = watch.collect_raw_arrays(replicates)[f"state_{place}"]
    assert {306e6, 1020e6} == set(values.tolist())
    assert 0.0 <= times_s[0] < times_s[-1]
    assert (306e6, 1020e6) == (device.channels[place].low, device.channels[place].high)


@pytest.mark.slow
def test_a_clock_that_drops_in_the_last_pass_is_seen(
    tmp_path: Path,
    wait_for_records: Callable[[], None],  # noqa: F811
) -> None:
    """Paced and cold inferences come after the last round of the main variants, and their clocks are judged too."""
    root = plant(tmp_path, {**jetson_orin_nano(), f"{_GPU}/cur_freq": 1020000000, f"{_GPU}/min_freq": 1020000000})
    watch, start_s = MachineMonitor(root), time.monotonic()
    with watch.recording():
        wait_for_records()
        (root / _GPU / "cur_freq").write_text("306000000")
        wait_for_records()
    _, validity = watch.describe_device([_replicate(start_s, time.monotonic())])

    assert any("17000000.gpu, which was fixed, moved between 306 and 1020 MHz" in r for r in validity.reasons)


@pytest.mark.slow
def test_what_happened_while_nothing_was_timed_is_kept_and_not_judged(
    tmp_path: Path,
    wait_for_records: Callable[[], None],  # noqa: F811
) -> None:
    """A process that starts may move a clock."""
    root = plant(tmp_path, jetson_orin_nano())
    watch = MachineMonitor(root)
    with watch.recording():
        (root / _GPU / "cur_freq").write_text("1020000000")
        wait_for_records()
        start_s = time.monotonic()
        wait_for_records()
    device, validity = watch.describe_device([_replicate(start_s, time.monotonic())])

    assert not any("17000000.gpu" in reason for reason in validity.reasons)
    assert next(channel for channel in device.channels if channel.name == "17000000.gpu").low == 1020e6


def test_a_recorder_that_cannot_start_is_a_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measurement goes on without it."""

    def broken(self: StateRecorder) -> None:
        raise HardwareMissing("no process")

    monkeypatch.setattr(StateRecorder, "start", broken)
    watch = MachineMonitor(plant(tmp_path, jetson_orin_nano()))
    with watch.recording():
        pass
    _, validity = watch.describe_device([_replicate(0.0, 1.0)])

    assert "the state between the snapshots is not known: no process" in validity.reasons
