"""The state of the machine at one moment: everything that can change between two runs and change their result."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from edgeexit.errors import InputError
from edgeexit.hardware import cgroups
from edgeexit.hardware import clocks as read
from edgeexit.hardware.clocks import ClockDomain
from edgeexit.hardware.identity import ROOT, count_cpus, detect_container, is_virtual
from edgeexit.hardware.nvml import Nvml, read_gpu_states
from edgeexit.hardware.sysfs import read_text
from edgeexit.util.timestamps import make_timestamp

_BUSY_FIELDS = (0, 1, 2, 5, 6, 7)
"""user, nice, system, irq, softirq, steal of /proc/stat's cpu line; guest time is part of user already (proc(5))."""


@dataclass(frozen=True)
class DeviceState:
    """A snapshot. Mappings are empty and values None where this machine does not tell.

    Attributes:
        taken: when, UTC, ISO 8601.
        monotonic_s: when, on the clock of `time.monotonic`.
        clocks: CPU policies, GPU, memory: current and allowed frequencies.
        temperatures_c: thermal zones, °C.
        cooling: devices that slow something down, with their state; 0 is idle.
        fans: PWM duty, 0 to 255.
        counters: events since boot that pull clocks down, or stop this process for a while.
        alarms: conditions that hold now, and those seen since boot.
        power_mode: name and number of the Jetson's power mode, or a PC's platform profile.
        boost: whether x86 turbo is allowed.
        cores_online: how many CPUs the kernel may use.
        affinity: CPUs that this process may use.
        cpu_limit: CPUs' worth of time that the control group grants per second, or None without a limit.
        load_1m: the kernel's load average.
        busy_cpu_s: CPU time of everything since boot, all cores.
        steal_cpu_s: CPU time that the hypervisor gave to others since boot.
        own_cpu_s: CPU time of this process and of its ended children.
        memory_available_bytes: what can be allocated without swapping.
        container: its kind, or None.
        virtual: whether this is a virtual machine.
    """

    taken: str
    monotonic_s: float
    clocks: tuple[ClockDomain, ...]
    temperatures_c: Mapping[str, float]
    cooling: Mapping[str, int]
    fans: Mapping[str, int]
    counters: Mapping[str, int]
    alarms: Mapping[str, bool]
    power_mode: str | None
    boost: bool | None
    cores_online: int | None
    affinity: tuple[int, ...]
    cpu_limit: float | None
    load_1m: float | None
    busy_cpu_s: float | None
    steal_cpu_s: float | None
    own_cpu_s: float
    memory_available_bytes: int | None
    container: str | None
    virtual: bool

    @property
    def usable_cpus(self) -> float | None:
        """CPUs' worth of time that this process can use at once: those it may run on, or less by its limit; None where not known."""
        known = [float(n) for n in (len(self.affinity) or None, self.cores_online, self.cpu_limit) if n is not None]
        return min(known, default=None)

    def to_document(self) -> dict[str, Any]:
        """A JSON-able dictionary; `parse_state` is its inverse."""
        return asdict(self)


def parse_state(document: Mapping[str, Any]) -> DeviceState:
    """The state that `as_json` wrote.

    Raises:
        InputError: a field is missing or unknown.
    """
    known = {field.name for field in fields(DeviceState)}
    if known != set(document):
        msg = f"a device state has fields that differ from the known ones: {', '.join(sorted(known ^ set(document)))}."
        raise InputError(msg)
    listed = {"clocks": tuple(ClockDomain(**c) for c in document["clocks"]), "affinity": tuple(document["affinity"])}
    return DeviceState(**{**document, **listed})


def read_device_state(root: Path = ROOT, nvml: Nvml | None = None) -> DeviceState:
    """Read the state of the machine whose file system is at `root`; takes a few milliseconds.

    Args:
        root: root of the file system; another one than `/` is for tests.
        nvml: an opened NVML, for the clocks and temperature of discrete GPUs; None opens the driver's own, if any, for `/`.
    """
    gpus = read_gpu_states(root, nvml)
    busy_s, steal_s = _read_cpu_times(root)
    return DeviceState(
        taken=make_timestamp("milliseconds"),
        monotonic_s=time.monotonic(),
        clocks=(*read.read_clocks(root), *(ClockDomain(g.name, g.clock_hz, None, g.max_clock_hz, None) for g in gpus)),
        temperatures_c={
            **read.read_temperatures(root),
            **{g.name: g.temperature_c for g in gpus if g.temperature_c is not None},
        },
        cooling=read.read_cooling_states(root),
        fans=read.read_fans(root),
        counters={**read.read_event_counters(root), **cgroups.count_cpu_stops(root)},
        alarms={**read.read_alarms(root), **{f"{g.name} {name}": on for g in gpus for name, on in g.slowdowns.items()}},
        power_mode=read.read_power_mode(root),
        boost=read.read_boost(root),
        cores_online=_count_online_cores(root),
        affinity=_read_affinity(),
        cpu_limit=cgroups.read_cpu_limit(root),
        load_1m=_read_load(root),
        busy_cpu_s=busy_s,
        steal_cpu_s=steal_s,
        own_cpu_s=sum(os.times()[:4]),
        memory_available_bytes=_read_available_memory(root),
        container=detect_container(root),
        virtual=is_virtual(root),
    )


def _read_affinity() -> tuple[int, ...]:
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def _count_online_cores(root: Path) -> int | None:
    listed = read_text(root / "sys/devices/system/cpu/online")
    return count_cpus(listed) if listed else None


def _read_load(root: Path) -> float | None:
    text = read_text(root / "proc/loadavg")
    return float(text.split()[0]) if text else None


def _read_cpu_times(root: Path) -> tuple[float | None, float | None]:
    """Busy and stolen CPU seconds since boot, over all CPUs. The kernel counts in ticks of 10 ms on every Linux ABI."""
    found = re.search(r"^cpu +(.+)$", read_text(root / "proc/stat") or "", re.MULTILINE)
    if found is None:
        return None, None
    ticks = [int(field) for field in found.group(1).split()]
    return sum(ticks[i] for i in _BUSY_FIELDS) / 100, ticks[7] / 100


def _read_available_memory(root: Path) -> int | None:
    found = re.search(r"^MemAvailable:\s*(\d+) kB", read_text(root / "proc/meminfo") or "", re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None
