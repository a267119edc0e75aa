"""Requests on a schedule, and cold caches."""

from __future__ import annotations

import time

import numpy as np
import pytest

from edgeexit.errors import InputError
from edgeexit.measure.scenarios import run_cold, run_paced, schedule


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


@pytest.mark.serial
def test_waiting_adds_next_to_nothing_to_a_latency() -> None:
    """The end of a wait is spun, so that a late wake-up is not the network's."""
    samples = run_paced(lambda i: None, schedule("fixed", 500.0, 0.2, 0))
    assert np.median(samples.latency_s) < 2e-5


def test_cold_runs_time_every_callable_in_turn() -> None:
    """Each call i runs once per callable, in order."""
    seen: list[tuple[str, int]] = []
    found = run_cold({n: lambda i, n=n: seen.append((n, i)) for n in "ab"}, 3, 1024)  # type: ignore[misc]
    assert [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)] == seen
    assert 3 == len(found["a"])
