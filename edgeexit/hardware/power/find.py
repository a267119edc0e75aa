"""Which power meter this machine has: the one with the widest scope first, and why each of the others is not it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgeexit.errors import HardwareMissing, InputError, did_you_mean
from edgeexit.hardware.identity import ROOT
from edgeexit.hardware.nvml import Nvml
from edgeexit.hardware.power.base import NoPowerMeter, PowerMeter, RejectedMeter
from edgeexit.hardware.power.gpu import find_nvml
from edgeexit.hardware.power.ina import find_ina
from edgeexit.hardware.power.rapl import find_rapl
from edgeexit.hardware.power.rpi import find_pmic

ADAPTERS = ("ina", "rapl", "nvml", "rpi-pmic")
"""In order of preference: a Jetson's board meter, then the CPU package, the GPU board, single rails."""


def find_power_meter(
    root: Path = ROOT, *, nvml: Callable[[], Nvml] | None = None, only: str | None = None
) -> PowerMeter:
    """The best power meter that gave a value, or `NoPowerMeter`; either knows why the others were rejected.

    Args:
        root: root of the file system; another one than `/` is for tests.
        nvml: opens NVML; a test gives a stub.
        only: one of `ADAPTERS`, when the user wants that one or none.

    Raises:
        InputError: no adapter is called `only`.
    """
    if only is not None and only not in ADAPTERS:
        msg = f"no power meter is called {only!r}.{did_you_mean(only, ADAPTERS)} Meters: {', '.join(ADAPTERS)}."
        raise InputError(msg)
    rejected: list[RejectedMeter] = []
    for name in ADAPTERS if only is None else (only,):
        found = _try_meter(name, root, nvml)
        if isinstance(found, PowerMeter):
            found.adapter, found.rejected = name, tuple(rejected)
            return found
        rejected.append(found)
    return NoPowerMeter(tuple(rejected))


def find_power_meters(root: Path = ROOT, *, nvml: Callable[[], Nvml] | None = None) -> list[PowerMeter]:
    """Every power meter that gave a value, the best first: their scopes differ, so they are read side by side and never added."""
    found = [_try_meter(name, root, nvml) for name in ADAPTERS]
    rejected = tuple(meter for meter in found if isinstance(meter, RejectedMeter))
    present: list[PowerMeter] = []
    for name, meter in zip(ADAPTERS, found, strict=True):
        if isinstance(meter, PowerMeter):
            meter.adapter, meter.rejected = name, rejected
            present.append(meter)
    return present


def _try_meter(name: str, root: Path, nvml: Callable[[], Nvml] | None) -> PowerMeter | RejectedMeter:
    finders: dict[str, Callable[[], PowerMeter]] = {
        "ina": lambda: find_ina(root),
        "rapl": lambda: find_rapl(root),
        "nvml": lambda: find_nvml(root, nvml),
        "rpi-pmic": lambda: find_pmic(root),
    }
    try:
        return finders[name]()
    except HardwareMissing as error:
        return RejectedMeter(name, str(error))
