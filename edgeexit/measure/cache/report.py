"""Cache results: misses per inference first, their rate second, and always which of three kinds a number is.

`hardware` are counters of the CPU, `simulated` is callgrind with some device's cache geometry, `analytic` is bytes on paper. They
are never compared or combined: a rate of early exit may rise while its misses fall, because the denominator shrinks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeexit.hardware.profiles import Cache
from edgeexit.hardware.validity import Validity
from edgeexit.util.documents import to_document

MIX = "mix"
_FEWEST_MISSES = 10
"""Per inference: a level that misses less holds the whole network, and what is left is noise."""


@dataclass(frozen=True)
class Level:
    """One cache during one inference, on average.

    Attributes:
        name: `L1I`, `L1D`, `L2`, `L3` or `LL` (last level).
        accesses: None where no event counts them.
        misses: per inference.
        per_1k_instructions: misses per 1,000 instructions, None without an instruction count.
        rate: misses over accesses, None without accesses.
    """

    name: str
    accesses: float | None
    misses: float
    per_1k_instructions: float | None
    rate: float | None


@dataclass(frozen=True)
class CallCache:
    """The caches during one inference of one kind, on average over `inferences`."""

    name: str
    inferences: int
    instructions: float | None
    levels: tuple[Level, ...]

    def level(self, name: str) -> Level:
        """The cache level of that name, such as `LLC`."""
        return next(level for level in self.levels if level.name == name)


@dataclass(frozen=True)
class CacheReport:
    """Caches of one kind of number.

    Attributes:
        source: `hardware` or `simulated`.
        device: this machine, or the device whose cache geometry was simulated.
        events: name of every count -> what it is: a raw event code, or callgrind's own name.
        geometry: simulated caches; () for hardware.
        calls: calls in the order in which they were asked for.
        closure: by level: misses of the mixture as the exits' misses and shares predict them, over the measured ones, minus 1.
        running: smallest share of the time that a counter ran (1.0: none was multiplexed).
        notes: what a reader must know.
        validity: findings that make the values suspect.
    """

    source: str
    device: str
    events: Mapping[str, str]
    geometry: tuple[Cache, ...]
    calls: tuple[CallCache, ...]
    closure: Mapping[str, float]
    running: float
    notes: tuple[str, ...]
    validity: Validity

    def find_call(self, name: str) -> CallCache:
        """The cache behaviour of one call, by its name, such as `exit 1`."""
        return next(call for call in self.calls if call.name == name)


@dataclass(frozen=True)
class WorkingSet:
    """Bytes that leaving at an exit touches at least once, on paper.

    Attributes:
        exit: from 1.
        weight_bytes: bytes of the weights of all stages up to it.
        activation_bytes: bytes of every tensor that these stages make; None where a shape is not known.
        fits: the smallest cache that holds them together, or None.
    """

    exit: int
    weight_bytes: int
    activation_bytes: int | None
    fits: str | None


@dataclass(frozen=True)
class CacheResult:
    """Cache results of one bundle on one device, by kind.

    Attributes:
        hardware: counters, or None.
        hardware_reason: why None.
        simulated: callgrind, or None.
        simulated_reason: why None.
        analytic: per exit; always there.
        caches: caches used for `fits`; () where not known.
    """

    hardware: CacheReport | None
    hardware_reason: str | None
    simulated: CacheReport | None
    simulated_reason: str | None
    analytic: tuple[WorkingSet, ...]
    caches: tuple[Cache, ...]

    def to_document(self) -> dict[str, Any]:
        """The document `edgeexit.cache/1`; what was not measured is null."""
        return {"schema": "edgeexit.cache/1", **to_document(self)}


def build_level(name: str, accesses: float | None, misses: float, instructions: float | None) -> Level:
    """A cache level with its miss rate and its misses per 1000 instructions."""
    per_1k = 1000 * misses / instructions if instructions else None
    return Level(name, accesses, misses, per_1k, misses / accesses if accesses else None)


def compute_closures(calls: Sequence[CallCache], shares: Mapping[str, float]) -> dict[str, float]:
    """By level: the mixture's misses as predicted from the others, over the measured, minus 1. {} without a mixture or shares."""
    by_name = {call.name: call for call in calls}
    if MIX not in by_name or not shares or any(name not in by_name for name, share in shares.items() if share > 0):
        return {}
    found = {}
    for mixed in by_name[MIX].levels:
        predicted = sum(share * by_name[name].level(mixed.name).misses for name, share in shares.items() if share > 0)
        if mixed.misses >= _FEWEST_MISSES:
            found[mixed.name] = predicted / mixed.misses - 1.0
    return found
