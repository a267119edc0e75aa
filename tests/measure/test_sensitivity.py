"""What the harness can tell apart, on a simulated machine whose clock drifts and whose inferences vary."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeexit.measure import BenchOptions, Call, time_interleaved
from edgeexit.measure.result.aggregation import ProcessExitTimes, TimingSeries, compute_exit_times
from edgeexit.measure.verdict import Processes, compare_processes
from tests.measure.clock import SimulatedClock

_EXITS = np.random.default_rng(0).integers(1, 3, size=64)
_EXIT_S = (100e-6, 300e-6)
_NOISE, _DRIFT = 0.03, 0.05


def _make_call(clock: SimulatedClock, rng: np.random.Generator, factor: float) -> Call:
    """An inference of each input of the trace: its exit's time, noise of 3 %, and a machine that changes its speed by 5 %."""

    def call(i: int) -> None:
        drift = 1.0 + _DRIFT * math.sin(7.0 * clock.now_ns * 1e-9)
        clock.spend(_EXIT_S[_EXITS[i % len(_EXITS)] - 1] * factor * drift * rng.lognormal(0.0, _NOISE))

    return call


def _measure(factors: dict[str, float], seed: int) -> dict[str, Processes]:
    """The figures of variants that take this many times the usual, from five simulated processes."""
    found: dict[str, list[TimingSeries]] = {name: [] for name in factors}
    for process in range(5):
        clock, rng = SimulatedClock(), np.random.default_rng([seed, process])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("edgeexit.measure.timing.perf_counter_ns", clock)
            calls = {name: _make_call(clock, rng, factor) for name, factor in factors.items()}
            timed = time_interleaved(calls, seconds=0.2, block_s=0.01, seed=10 * seed + process)
        for name, samples in timed.items():
            found[name].append(TimingSeries(samples, _repeat_exits(len(samples))))
    return {name: _summarise(compute_exit_times(variants, len(_EXIT_S))) for name, variants in found.items()}


def _summarise(times: ProcessExitTimes) -> Processes:
    """Figures of each process, exits weighted by their shares: those of a result, whose intervals of percentiles would take longest."""
    shares = np.bincount(_EXITS - 1) / len(_EXITS)
    return Processes(tuple(times.medians @ shares), tuple(times.means @ shares))


def _repeat_exits(n: int) -> NDArray[np.int64]:
    return _EXITS[np.arange(n) % len(_EXITS)]


def test_the_same_is_the_same_and_five_percent_slower_is_slower() -> None:
    """In 6 rounds: called FASTER or SLOWER at most once when nothing differs, SLOWER always when 5 % do."""
    verdicts = {"second": Counter[str](), "slowed": Counter[str]()}
    for turn in range(6):
        sides = _measure({"first": 1.0, "second": 1.0, "slowed": 1.05}, turn)
        for name, counted in verdicts.items():
            counted[compare_processes(sides["first"], sides[name], paired=True).verdict] += 1

    assert verdicts["second"]["FASTER"] + verdicts["second"]["SLOWER"] <= 1, verdicts
    assert 6 == verdicts["slowed"]["SLOWER"], verdicts


def test_a_quick_run_is_announced_to_end_in_fifteen_seconds() -> None:
    """The preset asks for no more, of any network."""
    assert BenchOptions.from_preset("quick").suite.expected_s()[1] <= 15.0
