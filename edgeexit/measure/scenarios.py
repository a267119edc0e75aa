"""The loops other than back-to-back: requests on a schedule of their own, and requests that find the caches cold."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter_ns, sleep

import numpy as np
from numpy.typing import NDArray

from edgeexit.errors import InputError
from edgeexit.measure.timing import Call, TimedSamples, disable_garbage_collector

_SPIN_NS = (
    300_000  # a sleep may end this late; the rest of a wait is spun, so that the harness adds nothing to a latency
)
_OVERLOAD = 3.0  # a schedule that takes this many times its length is given up


ARRIVALS = ("fixed", "poisson")
"""Schedules of requests: one every period as a camera sends them, or many independent sources."""


@dataclass(frozen=True)
class Pace:
    """Requests on a schedule of their own: `rate_hz` per second, "fixed" or "poisson", each due `deadline_s` after its arrival."""

    rate_hz: float
    arrivals: str = "fixed"
    deadline_s: float | None = None

    def __post_init__(self) -> None:
        """Check the values, before anything is measured."""
        check_schedule(self.arrivals, self.rate_hz)
        if self.deadline_s is not None and not self.deadline_s > 0:
            msg = f"a deadline must be a positive number of seconds, not {self.deadline_s}."
            raise InputError(msg)


@dataclass(frozen=True)
class PacedSamples:
    """Requests on a schedule; all float64 [n], seconds from the start.

    Attributes:
        due_s: scheduled arrival times, seconds.
        start_s: time its inference began: later than due where the one before was still running.
        end_s: time its answer was there.
    """

    due_s: NDArray[np.float64]
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]

    @property
    def latency_s(self) -> NDArray[np.float64]:
        """From the scheduled arrival to the answer. Counting from the start instead would hide every wait behind a stall."""
        return self.end_s - self.due_s

    @property
    def most_waiting(self) -> int:
        """The longest line: requests that had arrived by the time an inference began, itself not counted."""
        arrived = np.searchsorted(self.due_s, self.start_s, side="right")
        return int((arrived - np.arange(1, len(arrived) + 1)).max(initial=0))


def check_schedule(arrivals: str, rate_hz: float, seconds: float = 1.0) -> None:
    """Raise InputError unless `schedule` can make one."""
    if arrivals not in ARRIVALS or not rate_hz > 0 or not seconds > 0:
        asked = f"{arrivals!r} at {rate_hz} per second for {seconds} s"
        msg = f'a schedule needs arrivals "fixed" or "poisson", a positive rate and a positive length, not {asked}.'
        raise InputError(msg)


def schedule(arrivals: str, rate_hz: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Arrival times in seconds from the start, float64 [n], n >= 1.

    Args:
        arrivals: "fixed" (a camera) or "poisson" (many independent sources).
        rate_hz: mean arrivals per second.
        seconds: length of the schedule.
        seed: random seed of the Poisson arrivals.

    Raises:
        InputError: another kind of arrivals, or a rate or length that is not positive.
    """
    check_schedule(arrivals, rate_hz, seconds)
    n = max(1, round(rate_hz * seconds))
    if arrivals == "fixed":
        return np.arange(n) / rate_hz
    return np.cumsum(np.random.default_rng(seed).exponential(1.0 / rate_hz, size=n))


def run_paced(call: Call, due_s: NDArray[np.float64]) -> PacedSamples:
    """Run inference i when arrival i is due, or as soon as the one before has ended.

    A schedule that takes three times its own length is given up, and what was run until then is returned.
    """
    due = (due_s * 1e9).astype(np.int64).tolist()
    starts, ends = array("q", bytes(8 * len(due))), array("q", bytes(8 * len(due)))
    with disable_garbage_collector():
        done = _run_schedule(call, due, starts, ends)
    start_s, end_s = (np.multiply(np.frombuffer(t, np.int64)[:done], 1e-9, dtype=np.float64) for t in (starts, ends))
    return PacedSamples(due_s[:done], start_s, end_s)


def _run_schedule(call: Call, due: list[int], starts: array[int], ends: array[int]) -> int:
    now, give_up = perf_counter_ns, int(_OVERLOAD * due[-1]) + 1_000_000_000
    begin = now()
    for i, at in enumerate(due):
        wait = at - (now() - begin)
        if wait > _SPIN_NS:
            sleep((wait - _SPIN_NS) * 1e-9)
        while (start := now() - begin) < at:
            pass
        call(i)
        starts[i], ends[i] = start, now() - begin
        if ends[i] > give_up:
            return i + 1
    return len(due)


class CacheFlush:
    """Streams through a buffer, so that the caches hold nothing of what ran before.

    Args:
        size: size of the buffer, bytes; larger than the last-level cache.

    Attributes:
        words: int64 [size / 8], the buffer; every flush reads and writes all of it.
    """

    def __init__(self, size: int) -> None:
        self.words = np.zeros(max(1, size // 8), np.int64)

    def __call__(self) -> None:
        """Read and write every word."""
        np.add(self.words, 1, out=self.words)


def run_cold(calls: Mapping[str, Call], times: int, flush: Callable[[], None]) -> dict[str, TimedSamples]:
    """Time `times` inferences of each callable in turn, each after a call of `flush`."""
    found = {name: np.empty(times) for name in calls}
    with disable_garbage_collector():
        for i in range(times):
            for name, call in calls.items():
                flush()
                start = perf_counter_ns()
                call(i)
                found[name][i] = (perf_counter_ns() - start) * 1e-9
    return {name: TimedSamples(values, np.arange(times, dtype=np.int64)) for name, values in found.items()}
