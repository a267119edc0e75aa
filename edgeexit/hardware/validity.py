"""Whether a measurement between two snapshots can be believed: `valid`, `suspect` or `invalid`, with every reason.

`invalid`: the machine was not the same machine throughout (clocks pulled down, another power mode, cores gone).
`suspect`: something was there that moves results, or could not be looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from edgeexit.hardware.clocks import PEAK_OVER_CURRENT, SWAPPING
from edgeexit.hardware.state import DeviceState
from edgeexit.util import units

Status: TypeAlias = Literal["valid", "suspect", "invalid"]
Finding: TypeAlias = tuple[Status, str]
"""A finding: its severity, and one sentence with the values."""

_ORDER: tuple[Status, ...] = ("valid", "suspect", "invalid")
_SUSPECT_COUNTERS = (PEAK_OVER_CURRENT, SWAPPING)
"""Short events, common on healthy boards: they disturb single samples. Every other counter means that clocks were lowered."""
_MAX_TEMPERATURE_CHANGE_C = 5.0
_MAX_FOREIGN_CORES = 0.5
_MAX_STEAL = 0.01
_MIN_INTERVAL_S = 0.2
"""CPU times come in ticks of 10 ms: over less than this their rate is not meaningful."""


@dataclass(frozen=True)
class Validity:
    """A verdict and its reasons; `valid` has none."""

    status: Status
    reasons: tuple[str, ...] = ()

    def __and__(self, other: Validity) -> Validity:
        """Both verdicts together: the worse status, all reasons once."""
        status = max(self.status, other.status, key=_ORDER.index)
        return Validity(status, tuple(dict.fromkeys(self.reasons + other.reasons)))

    def to_document(self) -> dict[str, Any]:
        """`{"status": ..., "reasons": [...]}`."""
        return {"status": self.status, "reasons": list(self.reasons)}


def combine_findings(findings: Iterable[Finding]) -> Validity:
    """The worst of the findings, with the sentences of all, worst first."""
    ordered = sorted(findings, key=lambda finding: -_ORDER.index(finding[0]))
    return Validity(ordered[0][0], tuple(text for _, text in ordered)) if ordered else Validity("valid")


def judge(before: DeviceState, after: DeviceState, *, threads: int = 1) -> Validity:
    """Whether a measurement between two snapshots of one machine is valid, given its number of worker threads."""
    room = _check_room(after, threads)
    rules = (
        _check_settings,
        _check_counters,
        _check_cooling,
        _check_alarms,
        _check_temperatures,
        _check_foreign_load,
        _check_steal,
        _check_blind_spots,
    )
    return combine_findings([*room, *(finding for rule in rules for finding in rule(before, after))])


def _check_room(after: DeviceState, threads: int) -> Iterator[Finding]:
    usable, limit = after.usable_cpus, after.cpu_limit
    if usable is None or threads <= usable:
        return
    why = f"; the limit of its control group is {limit:g}" if limit is not None and limit <= usable else ""
    yield "suspect", f"{threads} threads share {usable:g} CPUs{why}: they wait for each other, which shows in p99"


def _check_settings(before: DeviceState, after: DeviceState) -> Iterator[Finding]:
    for name in ("power_mode", "boost", "cores_online", "cpu_limit"):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            yield "invalid", f"{name.replace('_', ' ')} changed from {old} to {new}"
    old_limits, new_limits = ({c.name: (c.governor, c.min_hz, c.max_hz) for c in s.clocks} for s in (before, after))
    for name in sorted(old_limits.keys() & new_limits.keys()):
        if old_limits[name] != new_limits[name]:
            yield "invalid", f"governor or limits of {name} changed from {old_limits[name]} to {new_limits[name]}"


def _check_counters(before: DeviceState, after: DeviceState) -> Iterator[Finding]:
    for name in sorted(before.counters.keys() & after.counters.keys()):
        rise = after.counters[name] - before.counters[name]
        if rise > 0:
            yield ("suspect" if name in _SUSPECT_COUNTERS else "invalid"), f"{name} +{rise}"


def _check_cooling(before: DeviceState, after: DeviceState) -> Iterator[Finding]:
    for name, state in sorted(after.cooling.items()):
        if state > max(0, before.cooling.get(name, 0)):
            yield "invalid", f"cooling device {name} rose from state {before.cooling.get(name, 0)} to {state}"


def _check_alarms(before: DeviceState, after: DeviceState) -> Iterator[Finding]:
    for name, on in sorted(after.alarms.items()):
        since_boot = name.endswith("since boot")
        if on and not (since_boot and before.alarms.get(name)):
            when = "happened during the run" if since_boot else "holds now"
            yield ("suspect" if name.endswith("power cap") else "invalid"), f"{name.removesuffix(' since boot')} {when}"


def _check_temperatures(before: DeviceState, after: DeviceState) -> Iterator[Finding]:
    shared = before.temperatures_c.keys() & after.temperatures_c.keys()
    changes = {name: after.temperatures_c[name] - before.temperatures_c[name] for name in shared}
    name = max(sorted(changes), key=lambda n: abs(changes[n]), default=None)
    if name is not None and abs(changes[name]) > _MAX_TEMPERATURE_CHANGE_C:
        old, new = before.temperatures_c[name], after.temperatures_c[name]
        yield "suspect", f"temperature of {name} went from {units.fixed(old, 1)} to {units.fixed(new, 1)} °C"


def count_foreign_cores(before: DeviceState, after: DeviceState) -> float | None:
    """How many cores other processes used on average; None where it cannot be read, or over too short a time to say."""
    elapsed_s = after.monotonic_s - before.monotonic_s
    if before.busy_cpu_s is None or after.busy_cpu_s is None or elapsed_s < _MIN_INTERVAL_S:
        return None
    stolen_s = (after.steal_cpu_s or 0) - (before.steal_cpu_s or 0)
    foreign_s = after.busy_cpu_s - before.busy_cpu_s - stolen_s - (after.own_cpu_s - before.own_cpu_s)
    return max(0.0, foreign_s / elapsed_s)


def _check_foreign_load(before: DeviceState, after: DeviceState) -> Iterator[Finding]:
    cores = count_foreign_cores(before, after)
    if cores is not None and cores > _MAX_FOREIGN_CORES:
        yield "suspect", f"other processes used {units.fixed(cores, 1)} cores on average"


def _check_steal(before: DeviceState, after: DeviceState) -> Iterator[Finding]:
    elapsed_s = after.monotonic_s - before.monotonic_s
    if before.steal_cpu_s is None or after.steal_cpu_s is None or elapsed_s < _MIN_INTERVAL_S:
        return
    share = (after.steal_cpu_s - before.steal_cpu_s) / elapsed_s / (after.cores_online or 1)
    if share > _MAX_STEAL:
        yield "suspect", f"the hypervisor took {units.compact_percent(share)} of the CPU time for others"


def _check_blind_spots(_before: DeviceState, after: DeviceState) -> Iterator[Finding]:
    if any(clock.current_hz is not None for clock in after.clocks):
        return
    why = "this is a virtual machine" if after.virtual else "the kernel does not show them"
    yield "suspect", f"clocks cannot be read ({why}), so a change of speed would go unseen"
