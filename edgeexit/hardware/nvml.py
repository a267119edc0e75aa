"""NVIDIA's management library, by ctypes: the few calls that edgeexit needs, each None where the device says NotSupported.

On a Jetson up to Orin, initialising succeeds and every reading is NotSupported, so a successful initialisation proves nothing: only a value
that was read counts.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexit.errors import HardwareMissing
from edgeexit.hardware.identity import ROOT

_SM_CLOCK = 1
_TEMPERATURE_GPU = 0
_SLOWDOWNS = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "thermal slowdown (software)",
    0x40: "thermal slowdown (hardware)",
    0x80: "power brake",
}
"""nvmlClocksEventReasons* of nvml.h: bits that mean the clocks are held down, not merely idle or as set by the user."""


@dataclass(frozen=True)
class GpuState:
    """One discrete GPU now; None where it does not tell."""

    name: str
    clock_hz: float | None
    max_clock_hz: float | None
    temperature_c: float | None
    slowdowns: Mapping[str, bool]


class Nvml:
    """An opened NVML. Devices are numbered from 0, as the driver does.

    Args:
        library: anything with NVML's functions; None loads `libnvidia-ml.so.1`. A test gives a stub.

    Raises:
        HardwareMissing: the library is not there or does not initialise.
    """

    def __init__(self, library: Any = None) -> None:
        self._library = library if library is not None else _load_library()
        code = self._library.nvmlInit_v2()
        if code != 0:
            msg = f"NVML does not initialise (code {code}): is the NVIDIA driver loaded? Try `nvidia-smi`."
            raise HardwareMissing(msg)

    def count(self) -> int:
        """How many GPUs the driver knows."""
        value = ctypes.c_uint()
        return value.value if self._library.nvmlDeviceGetCount_v2(ctypes.byref(value)) == 0 else 0

    def energy_j(self, device: int) -> float | None:
        """Energy since the driver was loaded, J; Volta and newer. Steps every 10 to 100 ms."""
        value = self._read("nvmlDeviceGetTotalEnergyConsumption", device, ctypes.c_ulonglong())
        return None if value is None else value / 1e3

    def clock_hz(self, device: int) -> float | None:
        """SM clock now, Hz."""
        value = self._read("nvmlDeviceGetClockInfo", device, ctypes.c_uint(), _SM_CLOCK)
        return None if value is None else value * 1e6

    def max_clock_hz(self, device: int) -> float | None:
        """Highest SM clock, Hz."""
        value = self._read("nvmlDeviceGetMaxClockInfo", device, ctypes.c_uint(), _SM_CLOCK)
        return None if value is None else value * 1e6

    def temperature_c(self, device: int) -> float | None:
        """GPU temperature, °C."""
        value = self._read("nvmlDeviceGetTemperature", device, ctypes.c_uint(), _TEMPERATURE_GPU)
        return None if value is None else float(value)

    def slowdowns(self, device: int) -> dict[str, bool]:
        """Why the clocks are held down now: reason -> whether it holds; {} where the device does not tell."""
        bits = self._read("nvmlDeviceGetCurrentClocksThrottleReasons", device, ctypes.c_ulonglong())
        return {} if bits is None else {name: bool(bits & bit) for bit, name in _SLOWDOWNS.items()}

    def close(self) -> None:
        """Give the library back."""
        self._library.nvmlShutdown()

    def _read(self, function: str, device: int, value: Any, *arguments: int) -> int | None:
        handle = ctypes.c_void_p()
        if self._library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(device), ctypes.byref(handle)) != 0:
            return None
        code = getattr(self._library, function)(handle, *map(ctypes.c_uint, arguments), ctypes.byref(value))
        return int(value.value) if code == 0 else None


def read_gpu_states(root: Path, nvml: Nvml | None) -> tuple[GpuState, ...]:
    """Every discrete GPU now; () without a driver. `nvml` None opens the driver's own, which only `/` has."""
    if nvml is not None:
        return tuple(_read_gpu_state(nvml, device) for device in range(nvml.count()))
    if root != ROOT or not (root / "proc/driver/nvidia/version").exists():
        return ()
    try:
        own = Nvml()
    except HardwareMissing:
        return ()
    try:
        return read_gpu_states(root, own)
    finally:
        own.close()


def _read_gpu_state(nvml: Nvml, device: int) -> GpuState:
    return GpuState(
        f"gpu{device}",
        nvml.clock_hz(device),
        nvml.max_clock_hz(device),
        nvml.temperature_c(device),
        nvml.slowdowns(device),
    )


def _load_library() -> Any:
    name = ctypes.util.find_library("nvidia-ml") or "libnvidia-ml.so.1"
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        msg = "there is no libnvidia-ml: this machine has no NVIDIA driver for discrete GPUs."
        raise HardwareMissing(msg) from error
