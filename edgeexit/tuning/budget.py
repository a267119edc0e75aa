"""How the time of a run of tuning is shared out: the budget is that of the whole run, and timing gets what other work leaves of it.

    compile, record ─► stages ─► setups ─► search, compile ─► contenders ─► calibrations ─► last comparison

How long the work still to come takes is estimated from what such work has taken so far, anew before each part of the timing, so that an
estimate that was wrong moves later parts and not the end. Each part has a least time all the same: where compiling and running the data
alone take the budget, the run ends later, and says so before it times anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TypeAlias

from edgeexit.tuning.store import TuningStore

SHARES = {"stages": 0.05, "setups": 0.45, "contenders": 0.08, "calibrations": 0.22, "last": 0.2}
"""Parts of the timing in their order, and the share of all timing that each has."""
LEAST = 0.2
"""The share of the budget that timing has at least."""
CALIBRATED = 4
"""Candidates that are calibrated in the end, as estimated before they are known: the fastest two, and two made by hand."""
REPLAYS = 1.2
"""Runs over all samples that one of them takes: it is calibrated on all, and then answers the validation part."""

Observe: TypeAlias = Callable[[str], AbstractContextManager[None]]
"""Notes how long work of a kind, `compile` or `replay`, takes."""


def observe_nothing(_: str) -> AbstractContextManager[None]:
    """Note nothing."""
    return nullcontext()


@dataclass(frozen=True, eq=False)
class TimeBudget:
    """The wall time of one run.

    Attributes:
        seconds: of the whole run.
        clock: seconds, as `time.monotonic` gives them.
        began_s: when the run began, on that clock.

    Example:
        >>> budget = TimeBudget(100.0, clock=lambda: 0.0)
        >>> round(budget.allot("stages", 40.0), 6), round(budget.allot("last", 40.0), 6)
        (3.0, 60.0)
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic
    began_s: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "began_s", self.clock())

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return self.clock() - self.began_s

    def allot(self, part: str, work_s: float) -> float:
        """Seconds for a part of the timing that begins now.

        Args:
            part: one of `SHARES`.
            work_s: how long all other work still to come takes, as estimated.
        """
        parts = list(SHARES)
        still = sum(SHARES[one] for one in parts[parts.index(part) :])
        return SHARES[part] * max((self.seconds - self.elapsed_s - work_s) / still, LEAST * self.seconds)

    def find_overrun(self, part: str, work_s: float) -> float:
        """By how many seconds the run ends beyond its budget, as estimated where this part begins; 0 where it does not."""
        parts = list(SHARES)
        least_s = LEAST * self.seconds * sum(SHARES[one] for one in parts[parts.index(part) :])
        return max(0.0, self.elapsed_s + work_s + least_s - self.seconds)

    def observe_for(self, store: TuningStore) -> Observe:
        """What notes in a store how long work takes."""

        @contextmanager
        def observe(kind: str) -> Iterator[None]:
            began_s = self.clock()
            yield
            store.keep_work(kind, self.clock() - began_s)

        return observe


@dataclass(frozen=True)
class WorkToCome:
    """Work other than timing, as numbers of its kinds.

    Attributes:
        compiles: bundles to be compiled.
        replays: runs of all exits over all samples.
        search_s: seconds of searching thresholds.
    """

    compiles: float = 0
    replays: float = 0
    search_s: float = 0.0

    def estimate(self, store: TuningStore) -> float:
        """Seconds, from the longest of each kind that a run has noted."""
        record = store.record
        return self.compiles * record.compile_s + self.replays * record.replay_s + self.search_s
