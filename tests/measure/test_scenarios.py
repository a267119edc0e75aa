"""Requests on a schedule, and cold caches."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeexit.errors import InputError
from edgeexit.measure.scenarios import CacheFlush, run_cold, run_paced, schedule
from tests.measure.clock import SimulatedClock


def test_fixed_arrivals_are_evenly_spaced() -> None:
    """A camera."""
    assert [0.0, 0.25, 0.5, 0.75] == schedule("fixed", 4.0, 1.0, 0).tolist()


def test_poisson_arrivals_have_the_rate_and_come_from_the_seed() -> None:
    """Exponential gaps: the standard deviation is the mean."""
    due_s = schedule("poisson", 100.0, 200.0, 1)
    gaps = np.diff(due_s)
    assert pytest.approx(0.01, rel=0.05) == gaps.mean()
    assert pytest.approx(0.01, rel=0.05) == gaps.std()
    assert np.array_equal(due_s, schedule("poisson", 100.0, 200.0, 1))


@pytest.mark.parametrize(("arrivals", "rate"), [("camera", 10.0), ("fixed", 0.0), ("poisson", float("nan"))])
def test_an_impossible_schedule_is_refused(arrivals: str, rate: float) -> None:
    """With what was asked for."""
    with pytest.raises(InputError, match="a schedule needs"):
        schedule(arrivals, rate, 1.0, 0)


def test_a_stall_delays_every_request_behind_it() -> None:
    """Coordinated omission: one stall of 30 ms at 1,000 per second makes 30 requests late, not one."""
    samples = run_paced(lambda i: time.sleep(0.03) if i == 5 else None, schedule("fixed", 1000.0, 0.06, 0))
    behind = samples.due_s[6:30]
    assert (samples.latency_s[6:30] >= 0.035 - behind).all()  # request 5 was due at 5 ms and took 30
    assert 25 <= (samples.latency_s > 0.002).sum()
    assert samples.most_waiting >= 25


def test_a_hopeless_schedule_is_given_up() -> None:
    """At many times its length; what was run is returned."""
    samples = run_paced(lambda i: time.sleep(0.05), schedule("fixed", 1000.0, 0.1, 0))
    assert len(samples.end_s) < 100


def test_a_wake_up_that_comes_late_is_in_no_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a wait is spun: a sleep that ends 0.2 ms late costs nothing, and an inference starts within a look at the clock."""
    clock = SimulatedClock(tick_ns=1000)

    def sleep(seconds: float) -> None:
        clock.now_ns += int(seconds * 1e9) + 200_000

    monkeypatch.setattr("edgeexit.measure.scenarios.perf_counter_ns", clock)
    monkeypatch.setattr("edgeexit.measure.scenarios.sleep", sleep)
    samples = run_paced(lambda i: clock.spend(0.0005), schedule("fixed", 500.0, 0.2, 0))

    assert 0 <= (samples.start_s - samples.due_s).min()
    assert (samples.start_s - samples.due_s).max() <= 5e-6
    assert np.allclose(0.0005, samples.end_s - samples.start_s, atol=5e-6)


def test_cold_runs_time_every_callable_in_turn() -> None:
    """Each call i runs once per callable, in order, each after a flush of its own."""
    seen: list[tuple[str, int]] = []
    calls = {n: lambda i, n=n: seen.append((n, i)) for n in "ab"}
    found = run_cold(calls, 3, lambda: seen.append(("flush", 0)))
    inferences = [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert [step for inference in inferences for step in (("flush", 0), inference)] == seen
    assert 3 == len(found["a"])


@given(st.integers(1, 5000), st.integers(1, 3))
def test_a_flush_writes_every_word_of_its_buffer(size: int, times: int) -> None:
    """So that no cache line of what ran before can stay in a cache that is smaller."""
    flush = CacheFlush(size)
    for _ in range(times):
        flush()

    assert {times} == set(flush.words.tolist())
    assert size - 8 < flush.words.nbytes <= max(8, size)
