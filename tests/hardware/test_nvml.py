from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest

from edgeexit.hardware import judge, read_device_state
from edgeexit.hardware.nvml import Nvml
from edgeexit.hardware.power import find_power_meter

NOT_SUPPORTED = 3


class Library:
    """A stub of libnvidia-ml: one GPU whose energy counter rises by `rise` mJ at every reading, or answers NotSupported."""

    def __init__(self, rise: int | None, throttled: int = 0, count: int = 1) -> None:
        self.rise, self.throttled, self.count = rise, throttled, count
        self.energy = 5_000

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlShutdown(self) -> int:
        return 0

    def nvmlDeviceGetCount_v2(self, value: Any) -> int:
        value._obj.value = self.count
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: ctypes.c_uint, handle: Any) -> int:
        return 0 if index.value < self.count else 2

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, value: Any) -> int:
        if self.rise is None:
            return NOT_SUPPORTED
        self.energy += self.rise
        value._obj.value = self.energy
        return 0

    def nvmlDeviceGetClockInfo(self, handle: Any, kind: Any, value: Any) -> int:
        value._obj.value = 1980
        return 0

    def nvmlDeviceGetMaxClockInfo(self, handle: Any, kind: Any, value: Any) -> int:
        value._obj.value = 1980
        return 0

    def nvmlDeviceGetTemperature(self, handle: Any, kind: Any, value: Any) -> int:
        value._obj.value = 45
        return 0

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Any, value: Any) -> int:
        value._obj.value = self.throttled
        return 0


def test_the_counter_is_in_millijoules(tmp_path: Path) -> None:
    """NVML counts mJ since the driver was loaded."""
    library = Library(rise=2)
    meter = find_power_meter(tmp_path, nvml=lambda: Nvml(library), only="nvml")
    with meter:
        first, second = meter.read().values[0], meter.read().values[0]

    assert 0.002 == pytest.approx(second - first)
    assert "counter" == meter.capability.kind


def test_a_library_that_initialises_and_supports_nothing_is_no_meter(tmp_path: Path) -> None:
    """So it is on Jetsons up to Orin: only a value that was read counts."""
    meter = find_power_meter(tmp_path, nvml=lambda: Nvml(Library(rise=None)), only="nvml")

    assert not meter.present
    assert "has no energy counter" in meter.rejected[0].why


def test_a_counter_that_stands_still_is_no_meter(tmp_path: Path) -> None:
    """It must be seen to move within a second."""
    meter = find_power_meter(tmp_path, nvml=lambda: Nvml(Library(rise=0)), only="nvml")

    assert not meter.present
    assert "stood at" in meter.rejected[0].why


def test_a_machine_without_gpus_is_no_meter(tmp_path: Path) -> None:
    """The library may be installed where there is no card."""
    assert not find_power_meter(tmp_path, nvml=lambda: Nvml(Library(rise=1, count=0)), only="nvml").present


def test_the_state_shows_the_gpus_clock_and_what_holds_it_down(tmp_path: Path) -> None:
    """A hardware slowdown makes a run invalid, a power cap suspect."""
    free = read_device_state(tmp_path, Nvml(Library(1)))
    hot = read_device_state(tmp_path, Nvml(Library(1, throttled=0x40)))
    capped = read_device_state(tmp_path, Nvml(Library(1, throttled=0x04)))

    assert 1.98e9 == free.clocks[0].current_hz
    assert {"gpu0": 45.0} == free.temperatures_c
    assert "invalid" == judge(free, hot).status
    assert "suspect" == judge(free, capped).status
    assert "valid" == judge(free, free).status
