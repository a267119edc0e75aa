"""Requirements of a measurement on the machine, each checked by using it, with a fix for every one that is not met.

`ok`: there. `warn`: measurements run, but a part is missing or less sure. `fail`: what was asked for cannot run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from edgeexit.errors import HardwareMissing
from edgeexit.hardware.caches import find_caches
from edgeexit.hardware.clocks import SWAPPING
from edgeexit.hardware.identity import ROOT, detect_container, is_virtual, read_compatible_strings, read_device_facts
from edgeexit.hardware.keys import find_device_key
from edgeexit.hardware.power import PowerMeter, find_power_meter
from edgeexit.hardware.profiles import find_current_profile
from edgeexit.hardware.state import DeviceState, read_device_state
from edgeexit.util import units

Status: TypeAlias = Literal["ok", "warn", "fail"]

_LOAD_S = 0.5
_MAX_FOREIGN_CORES = 0.1
_ENOUGH_MEMORY_BYTES = 256 * 2**20


@dataclass(frozen=True)
class MachineCheck:
    """One need: what was found, and what to do where that is not enough.

    Attributes:
        name: name of the requirement.
        status: see the module.
        found: what was found, as text with values.
        fix: what to do; "" when nothing is.
    """

    name: str
    status: Status
    found: str
    fix: str = ""

    def to_document(self) -> dict[str, Any]:
        """As a dictionary."""
        return asdict(self)


def check_machine(
    root: Path = ROOT, meter: Callable[[Path], PowerMeter] = find_power_meter, *, threads: int = 1
) -> list[MachineCheck]:
    """Every check of the machine itself; takes about a second.

    Args:
        root: root of the file system.
        meter: finds the power meter; a test gives another one.
        threads: worker threads that will be asked for.
    """
    before = read_device_state(root)
    time.sleep(_LOAD_S)
    after = read_device_state(root)
    rules: tuple[Iterator[MachineCheck], ...] = (
        _check_device(root),
        _check_surroundings(root),
        _check_cpus(after, threads),
        _check_clocks(after),
        _check_power_mode(after),
        _check_throttling(after),
        _check_foreign_load(before, after),
        _check_memory(after),
        _check_power(root, meter),
        _check_geometry(root),
    )
    return [check for rule in rules for check in rule]


def _check_device(root: Path) -> Iterator[MachineCheck]:
    profile, facts = find_current_profile(root), read_device_facts(root)
    what = f"{facts.get('board') or facts['cpu']}, key {find_device_key(root)}"
    if profile is not None:
        note = profile.software.note if not profile.software.tensorrt and profile.software.note else ""
        yield MachineCheck("device", "ok", f"{what}, profile {profile.name}{': ' + note if note else ''}")
    else:
        strings = ", ".join(read_compatible_strings(root)) or facts["arch"]
        yield MachineCheck(
            "device", "warn", f"{what}: no profile knows {strings}", "choose the nearest of: edgeexit devices"
        )


def _check_surroundings(root: Path) -> Iterator[MachineCheck]:
    if is_virtual(root):
        yield MachineCheck(
            "virtual machine",
            "warn",
            "clocks, power and cache counters belong to the host",
            "measure on the machine itself",
        )
    kind = detect_container(root)
    if kind is not None:
        fix = "for counters: --cap-add PERFMON; for power rails: -v /sys:/sys:ro"
        yield MachineCheck("container", "ok", f"{kind}: counters and sensors may be hidden", fix)


def _check_cpus(state: DeviceState, threads: int) -> Iterator[MachineCheck]:
    """Whether the threads have a CPU each, all of the time."""
    usable, online = state.usable_cpus, state.cores_online
    if usable is None:
        return
    found = f"this process may use {usable:g}{f' of {online}' if online else ''} CPUs"
    if state.cpu_limit is not None and state.cpu_limit <= min(threads, online or threads):
        fix = "give whole CPUs: docker run --cpuset-cpus=0-1 without --cpus, or CPUQuota= of the service empty"
        yield MachineCheck(
            "CPUs", "warn", f"{found}: the limit of its control group stops it for part of every period", fix
        )
    elif threads > usable:
        fix = (
            f"--threads {max(1, int(usable))}, or let the process run on more CPUs (taskset, docker run --cpuset-cpus)"
        )
        yield MachineCheck("CPUs", "warn", f"{found}, and {threads} threads are asked for", fix)
    else:
        yield MachineCheck("CPUs", "ok", found)


def _check_clocks(state: DeviceState) -> Iterator[MachineCheck]:
    readable = [clock for clock in state.clocks if clock.current_hz is not None]
    if not readable:
        yield MachineCheck(
            "clocks", "warn", "cannot be read, so a change of speed goes unseen", "measure on the machine itself"
        )
        return
    free = [clock for clock in readable if not clock.fixed]
    if not free:
        yield MachineCheck("clocks", "ok", f"fixed: {', '.join(clock.name for clock in readable)}")
        return
    names = ", ".join(f"{c.name} ({c.governor or 'no governor'})" for c in free)
    jetson = any(c.name.endswith(".gpu") or c.name.startswith("gpu-") for c in readable) or state.power_mode is not None
    fix = "sudo jetson_clocks" if jetson else "sudo cpupower frequency-set --governor performance"
    governed = all(c.governor == "performance" for c in free)
    yield MachineCheck(
        "clocks", "ok" if governed else "warn", f"left to their governors: {names}", "" if governed else fix
    )


def _check_power_mode(state: DeviceState) -> Iterator[MachineCheck]:
    if state.power_mode is not None:
        yield MachineCheck("power mode", "ok", f"{state.power_mode}; it is part of every result")
    if state.boost:
        fix = "echo 0 | sudo tee /sys/devices/system/cpu/cpufreq/boost (intel_pstate: echo 1 into no_turbo)"
        yield MachineCheck("boost", "warn", "turbo frequencies are allowed: speed depends on temperature", fix)


def _check_throttling(state: DeviceState) -> Iterator[MachineCheck]:
    now = [name for name, on in state.alarms.items() if on and not name.endswith("since boot")]
    counters = {name: count for name, count in state.counters.items() if name != SWAPPING}
    since_boot = [f"{name}: {count}" for name, count in counters.items() if count > 0]
    since_boot += [name for name, on in state.alarms.items() if on and name.endswith("since boot")]
    hot = [name for name, level in state.cooling.items() if level > 0]
    if now or hot:
        yield MachineCheck(
            "throttling", "warn", f"now: {', '.join(now + hot)}", "cool the device, or give it a stronger power supply"
        )
    elif since_boot:
        yield MachineCheck(
            "throttling",
            "ok",
            f"not now; since boot {', '.join(since_boot)}; a rise during a run is reported in its result",
        )
    elif counters or state.alarms or state.cooling:
        yield MachineCheck("throttling", "ok", "none since boot")
    else:
        yield MachineCheck(
            "throttling", "warn", "this machine shows no throttle counters", "watch the temperature by other means"
        )


def _check_foreign_load(before: DeviceState, after: DeviceState) -> Iterator[MachineCheck]:
    if before.busy_cpu_s is None or after.busy_cpu_s is None:
        yield MachineCheck("other load", "warn", "/proc/stat cannot be read", "")
        return
    own_s = after.own_cpu_s - before.own_cpu_s
    cores = max(0.0, after.busy_cpu_s - before.busy_cpu_s - own_s) / (after.monotonic_s - before.monotonic_s)
    busy = cores > _MAX_FOREIGN_CORES
    fix = "end other programs: `top` shows them" if busy else ""
    yield MachineCheck(
        "other load", "warn" if busy else "ok", f"other processes use {units.fixed(cores, 1)} cores", fix
    )


def _check_memory(state: DeviceState) -> Iterator[MachineCheck]:
    available = state.memory_available_bytes
    if available is None:
        return
    short = available < _ENOUGH_MEMORY_BYTES
    fix = "end other programs, or the desktop: sudo systemctl isolate multi-user.target" if short else ""
    yield MachineCheck("memory", "warn" if short else "ok", f"{units.bytes_(available)} available", fix)


def _check_power(root: Path, find: Callable[[Path], PowerMeter]) -> Iterator[MachineCheck]:
    meter = find(root)
    if not meter.present:
        why = "".join(f"\n- {r.name}: {r.why}" for r in meter.rejected)
        yield MachineCheck(
            "power meter",
            "warn",
            f"none: energy is not measured{why}",
            "give an external meter's CSV: edgeexit bench --power-log",
        )
        return
    with meter:
        reading = meter.read()
    values = zip(meter.capability.names, reading.values, strict=True)
    unit = "J" if meter.capability.kind == "counter" else "W"
    shown = ", ".join(f"{name} {units.significant(value)} {unit}" for name, value in values)
    found = f"{meter.capability.name}, {meter.capability.subject_scope}: {shown}"
    notes = "; ".join(meter.capability.notes)
    whole = bool(meter.capability.total)
    yield MachineCheck("power meter", "ok" if whole else "warn", found, notes)


def _check_geometry(root: Path) -> Iterator[MachineCheck]:
    try:
        known = find_caches(root)
    except HardwareMissing as error:
        yield MachineCheck(
            "cache geometry", "warn", str(error), "name a device for cache simulation, such as jetson-orin-nano"
        )
        return
    shown = ", ".join(f"L{c.level} {c.kind} {units.bytes_(c.size_bytes)}" for c in known)
    yield MachineCheck("cache geometry", "ok", shown)
