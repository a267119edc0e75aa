"""The energy counter of discrete NVIDIA GPUs, by NVML. It counts only if it was seen to move.

Power by NVML is left alone: it is a one-second average on Ampere and newer, and on A100 and H100 only a quarter of the time is
sampled (arXiv 2312.02741). On a Jetson up to Orin NVML initialises and answers NotSupported.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from edgeexit.errors import HardwareMissing
from edgeexit.hardware.identity import ROOT
from edgeexit.hardware.nvml import Nvml
from edgeexit.hardware.power.base import NAN, Capability, Channel, PowerMeter

_PATIENCE_S = 1.0
_POLL_S = 0.005
_INTERVAL_S = 0.1
"""Steps were seen every 10 ms (gpuopenanalytics/pynvml issue 18) to 100 ms (ml.energy): the longer one is assumed."""
_STEP_J = 1e-3
"""The counter's unit is 1 mJ."""


class NvmlMeter(PowerMeter):
    """One channel per GPU; the total is the first GPU's."""

    def __init__(self, capability: Capability, nvml: Callable[[], Nvml]) -> None:
        super().__init__(capability)
        self._make = nvml
        self._nvml: Nvml | None = None

    def _open(self) -> None:
        self._nvml = self._make()

    def _close(self) -> None:
        if self._nvml is not None:
            self._nvml.close()
            self._nvml = None

    def _read(self) -> tuple[float, ...]:
        assert self._nvml is not None
        read = (self._nvml.energy_j(device) for device in range(len(self.capability.channels)))
        return tuple(NAN if value is None else value for value in read)


def find_nvml(root: Path, nvml: Callable[[], Nvml] | None = None) -> NvmlMeter:
    """The meter of a machine with a discrete NVIDIA GPU.

    Args:
        root: root of the file system; the driver's own library is only tried for `/`.
        nvml: opens NVML; a test gives a stub.

    Raises:
        HardwareMissing: no driver, no counter, or a counter that stands still.
    """
    if nvml is None and root != ROOT:
        msg = "NVML belongs to the running machine, not to another root."
        raise HardwareMissing(msg)
    make = nvml or Nvml
    opened = make()
    try:
        count = _count_gpus(opened)
    finally:
        opened.close()
    return NvmlMeter(_make_capability(count), make)


def _count_gpus(nvml: Nvml) -> int:
    """The number of GPUs, the first of which has an energy counter that moves."""
    start = nvml.energy_j(0) if nvml.count() else None
    if start is None:
        msg = "NVML has no energy counter here: use the INA3221 on a Jetson; other GPUs need Volta or newer."
        raise HardwareMissing(msg)
    deadline_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline_s:
        now = nvml.energy_j(0)
        if now and now != start:
            return nvml.count()
        time.sleep(_POLL_S)
    msg = f"the GPU's energy counter stood at {start} J for {_PATIENCE_S:g} s: it does not work here."
    raise HardwareMissing(msg)


def _make_capability(count: int) -> Capability:
    others = ("there are more GPUs: the total is the first one's",) if count > 1 else ()
    return Capability(
        name="nvml",
        scope="GPU board",
        kind="counter",
        channels=tuple(Channel(f"gpu{device}", "gpu") for device in range(count)),
        total=("gpu0",),
        step=_STEP_J,
        interval_s=_INTERVAL_S,
        notes=("the counter is the GPU's alone: what the CPU draws is not in it", *others),
    )
