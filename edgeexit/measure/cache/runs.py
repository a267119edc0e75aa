"""Shared by single inferences and sweeps: which samples, whose caches, one pass of counters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeexit.errors import HardwareMissing
from edgeexit.hardware.caches import find_caches as caches_of_machine
from edgeexit.hardware.profiles import Cache, find_current_profile, find_profile
from edgeexit.measure.cache.counters import Counters, Event, EventCounts, Opener
from edgeexit.measure.cache.report import CallCache, Level, build_level

if TYPE_CHECKING:
    from edgeexit.runtime import Runner

Run = Callable[[Any], object]

_MOST_SIMULATED = 100
"""Samples per region of a simulation: counts repeat to 0.2 % already with 20, and each costs 50 times its usual time."""


def find_cache_geometry(device: str | None) -> tuple[tuple[Cache, ...], str | None]:
    """The caches of a device, and why there are none.

    Raises:
        InputError: no profile has that name.
    """
    if device is not None:
        cache = find_profile(device).cache
        return cache, None if cache else f"the profile {device} lists no caches: they are read from the machine itself"
    try:
        return caches_of_machine(), None
    except HardwareMissing as error:
        return (), str(error)


def get_device_name() -> str:
    """The name of this machine's profile in `devices/`, or `this machine` where there is none."""
    profile = find_current_profile()
    return profile.name if profile else "this machine"


def select_samples(samples: Sequence[Any]) -> list[Any]:
    """At most 100 of the samples, evenly spread."""
    places = np.unique(np.linspace(0, len(samples) - 1, min(len(samples), _MOST_SIMULATED)).astype(int))
    return [samples[i] for i in places]


def measure_exit_shares(runner: Runner, samples: Sequence[Any]) -> tuple[float, ...]:
    """The share of the samples that leaves at each exit with the present thresholds."""
    exits = Counter(runner(x).exit for x in samples)
    return tuple(exits[k] / len(samples) for k in range(1, runner.exits + 1))


def name_shares(shares: Sequence[float]) -> dict[str, float]:
    """The shares by the name of the call that leaves there: `exit 1`, ..."""
    return {f"exit {k}": share for k, share in enumerate(shares, 1)}


def count_events(events: Sequence[Event], run: Run, samples: Sequence[Any], opener: Opener) -> EventCounts:
    """Run all samples twice, first to warm the caches, then with the counters on; the counts of the second time."""

    def work() -> None:
        for x in samples:
            run(x)

    work()
    with Counters(events, opener) as counters:
        return counters.count(work)


def build_call_report(name: str, counted: Sequence[EventCounts], inferences: int) -> CallCache:
    """The passes of one kind of inference as its levels; instructions are those of the first pass."""
    levels: list[Level] = []
    for one in counted:
        by_kind = {(e.level, e.kind): value / inferences for e, value in one.values.items()}
        instructions = by_kind.get(("instructions", "instructions"))
        cached = dict.fromkeys(name for name, kind in by_kind if kind == "misses")
        levels += [build_level(n, by_kind.get((n, "accesses")), by_kind[n, "misses"], instructions) for n in cached]
    first = next((value for e, value in counted[0].values.items() if e.kind == "instructions"), None)
    return CallCache(name, inferences, None if first is None else first / inferences, tuple(levels))
