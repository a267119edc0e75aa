"""The loops whose energy is measured, with idle time around each:

    idle ─ guard ─ exit 1 ─ guard ─ idle ─ guard ─ exit 2 ─ ... ─ mix ─ guard ─ idle      one trial; then the next, in another order

Idle windows have lengths drawn by the seed, so that the pattern has no period: an external meter's log can then be aligned to it,
and nothing periodic in the system can hide behind it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edgeexit.measure.scenarios import Pace
from edgeexit.measure.timing import Call
from edgeexit.util.progress import Progress, show_nothing

IDLE = "idle"
_BLOCK_S = 0.02
_WARMUP = 10


class TimeSource(Protocol):
    """A clock to measure and to wait by. Tests simulate it, so that hours of loops cost no time."""

    def now(self) -> float:
        """Seconds on the meter's clock."""

    def sleep(self, seconds: float) -> None:
        """Wait for so many seconds."""


class SystemClock:
    """The monotonic clock, on which meters stamp their readings."""

    def now(self) -> float:
        """Seconds on the monotonic clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait for so many seconds."""
        time.sleep(seconds)


@dataclass(frozen=True)
class Window:
    """A stretch of time in which one thing was done.

    Attributes:
        name: name of the call, or `IDLE`.
        trial: counts from 0.
        start_s: start time, seconds on the recorder's clock.
        end_s: end time, seconds on the recorder's clock.
        loops: inferences; 0 when idle.
    """

    name: str
    trial: int
    start_s: float
    end_s: float
    loops: int

    @property
    def span_s(self) -> float:
        """Its length, seconds."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class EnergySchedule:
    """How long to do what.

    Attributes:
        seconds: seconds of every loop.
        idle_s: mean length of an idle window, seconds.
        guard_s: between the two, in no window: clocks and sensors settle.
        trials: repetitions of everything.
        seed: random seed of the orders and idle times.
    """

    seconds: float
    idle_s: float
    guard_s: float = 0.2
    trials: int = 5
    seed: int = 0


class Frames:
    """A call that waits for its frame: one inference per frame of a schedule, asleep in between.

    Back to back where the machine cannot keep up. A call long after the last one (there was an idle window) begins a new schedule.

    Args:
        call: the inference.
        pace: rate and kind of arrivals.
        clock: to wait by; it sleeps to the end, since spinning would draw power that is the harness's own.
        seed: random seed of Poisson arrivals.
    """

    def __init__(self, call: Call, pace: Pace, clock: TimeSource, seed: int = 0) -> None:
        self._call, self._pace, self._clock = call, pace, clock
        self._rng = np.random.default_rng(seed)
        self._due_s = -math.inf
        self._stale_s = max(1.0, 10.0 / pace.rate_hz)

    def __call__(self, i: int) -> object:
        """Wait until the next frame is due, and run it."""
        now = self._clock.now()
        if now - self._due_s > self._stale_s:
            self._due_s = now
        if now < self._due_s:
            self._clock.sleep(self._due_s - now)
        period_s = 1.0 / self._pace.rate_hz
        self._due_s += period_s if self._pace.arrivals == "fixed" else float(self._rng.exponential(period_s))
        return self._call(i)


def run_windows(
    calls: Mapping[str, Call], plan: EnergySchedule, clock: TimeSource, progress: Progress = show_nothing
) -> list[Window]:
    """Run every call in every trial; the windows in order of time, an idle one first, last and between any two others.

    Args:
        calls: calls by name; call i runs the i-th inference of a trace.
        plan: the lengths.
        clock: the meter's.
        progress: callback, called after every loop.
    """
    rng = np.random.default_rng(plan.seed)
    for call in calls.values():
        for i in range(_WARMUP):
            call(i)
    windows = [_run_idle_window(plan, clock, 0, rng)]
    total = plan.trials * len(calls)
    for trial in range(plan.trials):
        for name in rng.permutation(list(calls)):
            windows += [
                _run_active_window(str(name), calls[str(name)], plan, clock, trial),
                _run_idle_window(plan, clock, trial, rng),
            ]
            progress("energy", len(windows) // 2, total)
    return windows


def _run_idle_window(plan: EnergySchedule, clock: TimeSource, trial: int, rng: np.random.Generator) -> Window:
    clock.sleep(plan.guard_s)
    start_s = clock.now()
    clock.sleep(plan.idle_s * rng.uniform(0.75, 1.25))
    end_s = clock.now()
    return Window(IDLE, trial, start_s, end_s, 0)


def _run_active_window(name: str, call: Call, plan: EnergySchedule, clock: TimeSource, trial: int) -> Window:
    """Loops for the guard time, so that the meter has settled, then counts: in blocks, so that the clock is seldom read."""
    block, loops = _run_for(call, plan.guard_s, clock, 1, 0)
    start_s, first = clock.now(), loops
    _, loops = _run_for(call, plan.seconds, clock, block, first)
    end_s = clock.now()
    return Window(name, trial, start_s, end_s, loops - first)


def _run_for(call: Call, seconds: float, clock: TimeSource, block: int, i: int) -> tuple[int, int]:
    """Run blocks until the time is over; the block size for about 20 ms, and the number of the next inference."""
    start_s, first = clock.now(), i
    end_s = now = start_s + seconds
    while True:
        for _ in range(block):
            call(i)
            i += 1
        now = clock.now()
        if now >= end_s:
            return max(1, int((i - first) * _BLOCK_S / max(now - start_s, 1e-9))), i
