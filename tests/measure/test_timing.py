"""What the timing harness promises."""

from __future__ import annotations

import gc
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeexit.errors import InputError
from edgeexit.measure.timing import TimedSamples, measure_harness_overhead, time_interleaved
from tests.measure.clock import SimulatedClock


def _work(loops: int) -> object:
    return sum(range(loops))


def test_each_call_sees_its_trace_in_order() -> None:
    """The timed inferences of a callable are 0, 1, 2, ... of its trace; settling repeats some of them in between."""
    seen: list[int] = []
    samples = time_interleaved({"a": seen.append}, seconds=0.01, block_s=1e-4, warmup=3)["a"]
    assert set(range(len(samples))) <= set(seen)


def test_callables_get_the_same_number_of_blocks() -> None:
    """Interleaving is fair in rounds, whatever one inference costs."""
    samples = time_interleaved({"a": lambda _: _work(10), "b": lambda _: _work(1000)}, seconds=0.05, block_s=0.002)
    assert len(samples["a"].block_means_s) == len(samples["b"].block_means_s)
    assert np.array_equal(np.unique(samples["a"].blocks), np.unique(samples["b"].blocks))


def test_the_collector_is_off_inside_and_as_before_outside() -> None:
    """A garbage collection is not an inference."""
    states = set()
    time_interleaved({"a": lambda _: states.add(gc.isenabled())}, seconds=0.001)
    assert states == {False}
    assert gc.isenabled()


def test_what_is_slow_is_warmed_no_longer_than_asked() -> None:
    """Three times at the least, which is what the length of a block is known from."""
    seen: list[int] = []
    rounds = 4

    def slow(i: int) -> None:
        seen.append(i)
        time.sleep(0.002)

    time_interleaved({"a": slow}, seconds=1e-6, warmup=1000, warmup_s=1e-6, block_s=1e-6, fewest_rounds=rounds)

    assert 3 + 2 * rounds == len(seen)  # each block is of one inference, after one to settle


def test_two_rounds_run_even_when_one_takes_longer_than_asked() -> None:
    """One block has no spread to speak of."""
    samples = time_interleaved({"a": lambda _: time.sleep(0.002)}, seconds=1e-6, warmup=1)["a"]
    assert len(samples.block_means_s) >= 2


@pytest.mark.parametrize("bad", [{"calls": {}}, {"seconds": 0.0}, {"block_s": -1.0}])
def test_nothing_to_time_is_refused(bad: dict[str, Any]) -> None:
    """No callables or no time is a mistake of the caller's."""
    arguments: dict[str, Any] = {"calls": {"a": _work}, "seconds": 0.01} | bad
    with pytest.raises(InputError, match="nothing to time"):
        time_interleaved(arguments.pop("calls"), **arguments)


def test_samples_know_their_mean_percentiles_and_blocks() -> None:
    """Percentiles are nearest-rank, block means are per round."""
    samples = TimedSamples(np.array([1.0, 3.0, 5.0, 7.0]), np.array([0, 0, 1, 1]))
    assert samples.mean_s == 4.0
    assert samples.median_s == 3.0
    assert samples.percentile_s(75.0) == 5.0
    assert samples.percentile_s(76.0) == 7.0
    assert samples.block_means_s.tolist() == [2.0, 6.0]
    assert samples.block_medians_s.tolist() == [1.0, 5.0]


def test_progress_ends_complete() -> None:
    """The last call has done == total."""
    told: list[tuple[str, int, int]] = []
    time_interleaved({"a": lambda _: _work(10)}, seconds=0.01, progress=lambda *news: told.append(news))
    assert told[-1] == ("timing", 100, 100)


def test_the_overhead_is_what_an_inference_of_no_length_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two looks at the clock lie between the moments that are noted: here 300 ns."""
    monkeypatch.setattr("edgeexit.measure.timing.perf_counter_ns", SimulatedClock(tick_ns=300))

    assert pytest.approx(300e-9) == measure_harness_overhead(times=100)


@settings(max_examples=30)
@given(st.floats(1e-4, 5e-3), st.floats(1e-4, 5e-3), st.integers(0, 100))
def test_known_times_are_measured(one_s: float, two_s: float, seed: int) -> None:
    """Each sample is the time of its inference, whatever runs in between."""
    clock = SimulatedClock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgeexit.measure.timing.perf_counter_ns", clock)
        calls = {"one": lambda _: clock.spend(one_s), "two": lambda _: clock.spend(two_s)}
        samples = time_interleaved(calls, seconds=0.05, warmup=3, seed=seed)

    assert np.allclose(one_s, samples["one"].values_s, atol=1e-9)
    assert np.allclose(two_s, samples["two"].values_s, atol=1e-9)
