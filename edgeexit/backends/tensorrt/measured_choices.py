"""What is chosen by measurement on the device, once, and kept beside the engines: who decides, and where inputs lie.

A choice holds for its engines, the way to wait and the power mode, which sets the clocks; when one of them changes it is measured anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

from edgeexit.backends.cuda import DeciderChoice, HostDecider, compare_deciders
from edgeexit.backends.cuda.choice import fill_random, time_deciders
from edgeexit.backends.tensorrt.device_program import DeviceProgram
from edgeexit.backends.tensorrt.engines import Engines
from edgeexit.errors import HardwareMissing
from edgeexit.hardware.clocks import read_clocks
from edgeexit.hardware.identity import ROOT

MAPPED, COPIED = "mapped", "copied"
"""Where the GPU reads inputs: in the host's page-locked memory, or in its own, to which they are copied."""

_NEEDED_GAIN = 0.02  # of the time with mapped memory; less is noise


def rank_deciders(bound: DeviceProgram) -> dict[str, float]:
    """Seconds of leaving once at every exit, per decider that works here."""
    kept = _recall(bound.engines, "choice", lambda: asdict(measure_deciders(bound)), of="host")
    return {name: sum(times) for name, times in kept["median_s"].items()}


def measure_deciders(bound: DeviceProgram) -> DeciderChoice:
    """Every way to decide, proved and timed."""
    return compare_deciders(bound.stream, bound.plans, bound.memory, bound.inputs)


def choose_input_memory(engines: Engines, exits: Sequence[tuple[str, str | None]]) -> str:
    """`mapped` or `copied`, whichever is faster here; the device's context must be current.

    A discrete GPU would read every value over the bus at each use. Where CPU and GPU share their memory neither is always faster: mapped
    memory is not copied, and is cached for the GPU on some boards only (CUDA for Tegra, "Memory Selection").
    """
    if not engines.device.facts.integrated:
        return COPIED
    try:
        kept = _recall(engines, "inputs", lambda: {"median_s": time_input_memories(engines, exits)}, of=MAPPED)
    except HardwareMissing:  # no room for two programs at once: the one that needs less
        return MAPPED
    return find_faster_memory(kept["median_s"])


def find_faster_memory(median_s: Mapping[str, Sequence[float]]) -> str:
    """`copied` where it saves more than noise, `mapped` else."""
    gained = 1 - sum(median_s[COPIED]) / sum(median_s[MAPPED])
    return COPIED if gained > _NEEDED_GAIN else MAPPED


def time_input_memories(engines: Engines, exits: Sequence[tuple[str, str | None]]) -> dict[str, tuple[float, ...]]:
    """Median seconds of leaving at each exit with both, timed in turn."""
    with (
        closing(DeviceProgram(engines, exits, copy_inputs=False)) as mapped,
        closing(DeviceProgram(engines, exits, copy_inputs=True)) as copied,
    ):
        for bound in (mapped, copied):
            fill_random(bound.inputs)
        return time_deciders({name: HostDecider(b.stream, b.plans) for name, b in ((MAPPED, mapped), (COPIED, copied))})


def _recall(engines: Engines, kind: str, measure: Callable[[], dict[str, Any]], *, of: str) -> dict[str, Any]:
    """What was measured for these engines as they are run now; measured, and kept, where nothing was. `of` is always among its times."""
    key = engines.keys[-1]
    known = engines.cache.choice(key, kind)
    same = {"keys": engines.keys, "wait": engines.device.wait, "power_mode": engines.power_mode}
    if any(known.get(name, ...) != value for name, value in same.items()) or of not in known.get("median_s", {}):
        known = {**same, **measure(), "clocks_hz": _read_clocks_now()}
        engines.cache.keep_choice(key, kind, known)
    return known


def _read_clocks_now() -> dict[str, float]:
    """Clocks right behind the measurement, for whoever reads the file."""
    return {clock.name: clock.current_hz for clock in read_clocks(ROOT) if clock.current_hz is not None}
