"""A Monitor counts each answer once, in every thread, and tells when what comes is no longer what was calibrated on."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeexit.errors import InputError
from edgeexit.monitor import Monitor
from edgeexit.monitor.counters import AnswerCounters, CountersOfClones
from edgeexit.runtime import Runner
from edgeexit.runtime.prediction import FallbackPrediction, Prediction

LOGITS = np.zeros(2, np.float32)
ANSWERS = st.lists(st.tuples(st.integers(1, 4), st.floats(-2, 2), st.booleans(), st.floats(0, 10), st.booleans()))


EDGES = [[-1.0, 0.0, 1.0], [0.0], []]


@pytest.fixture
def fast_switches() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def count_one_by_one(answers: list[Any], found: AnswerCounters, edges: list[list[float]]) -> None:
    """What a Monitor counts, written down plainly: bucket by bucket and cell by cell."""
    for exit, score, late, seconds, fallback in answers:
        found.grow(exit, 3)
        found.latency[exit - 1][sum(end < seconds for end in (0.5, 5.0))] += 1
        found.latency_s[exit - 1] += seconds
        if exit <= len(edges):
            found.cells[exit - 1][sum(edge <= -score for edge in edges[exit - 1])] += 1
        found.late += late
        found.fallbacks += fallback


@settings(max_examples=15)
@given(ANSWERS, ANSWERS, st.integers(1, 60), st.booleans())
def test_counts_are_those_of_all_answers_of_a_runner_and_its_clones(
    mine: list[Any], others: list[Any], often: int, read: bool
) -> None:
    """However many are written down before they are counted: each once, by the cells of its time; a clone that is gone stays in the sum."""
    counters, expected = CountersOfClones((0.5, 5.0), sign=-1), AnswerCounters()
    for edges in ([], EDGES):
        counters.set_edges(edges)
        for answers in (mine, others * often):
            observe = counters.make_observer()
            count_one_by_one(answers, expected, edges)
            for exit, score, late, seconds, fallback in answers:
                observe((FallbackPrediction if fallback else Prediction)(0, exit, score, LOGITS, late), seconds)
            if read:
                assert sum(map(sum, expected.latency)) == sum(map(sum, counters.sum().latency))
    del observe
    gc.collect()
    found = counters.sum()

    assert (expected.latency, expected.cells) == (found.latency, found.cells)
    assert (expected.late, expected.fallbacks) == (found.late, found.fallbacks)
    assert expected.latency_s == pytest.approx(found.latency_s)


def test_what_is_read_while_calls_count_is_counted_once() -> None:
    """Readers and the call take answers from the same tape."""
    counters = CountersOfClones((0.5, 5.0), sign=1)
    observe, answer, ended, seen = counters.make_observer(), Prediction(0, 1, 0.0, LOGITS), threading.Event(), [0]

    def read() -> None:
        while not ended.is_set():
            seen.append(sum(map(sum, counters.sum().latency)))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(20_000):
        observe(answer, 1.0)
    ended.set()
    for reader in readers:
        reader.join()

    assert [[0, 20_000, 0]] == counters.sum().latency
    assert max(seen) <= 20_000


def test_an_exit_that_answers_for_the_first_time_may_be_read_meanwhile(fast_switches: None) -> None:
    """Counters that grow while another thread adds them up have the exits that they had, or one more."""
    for _ in range(300):
        growing, read = AnswerCounters(), AnswerCounters()
        grower = threading.Thread(target=lambda to=growing: [to.grow(exits, 2) for exits in range(1, 6)])
        grower.start()
        while grower.is_alive():
            read.add(growing)
        grower.join()

        assert len(read.latency) == len(read.cells) == len(read.latency_s)


def test_threads_with_clones_of_their_own_are_all_counted(watched: Runner, digits: NDArray[np.float32]) -> None:
    """None is lost, whoever counts at the same time."""
    monitor = Monitor(watched)
    clones = [watched.clone() for _ in range(3)]

    def run(clone: Runner) -> None:
        for i in range(40):
            clone(digits[i : i + 1])

    threads = [threading.Thread(target=run, args=(clone,)) for clone in clones]
    for thread in threads:
        thread.start()
    watched.run_many(digits[:40])
    for thread in threads:
        thread.join()
    exits = watched.run_many(digits[:40]).exits
    seen = monitor.snapshot()

    assert tuple(4 * np.bincount(exits, minlength=3)[1:] + np.bincount(exits, minlength=3)[1:]) == seen.exits
    assert all(s > 0 for s, n in zip(seen.latency_s, seen.exits, strict=True) if n)

    monitor.stop()
    watched(digits[:1])
    assert sum(seen.exits) == sum(monitor.snapshot().exits)


def test_drift_is_told_from_what_calibration_saw(watched: Runner, digits: NDArray[np.float32]) -> None:
    """The calibration data again raise no alarm; fainter ones, on which the network is less sure, do."""
    watched.thresholds = [0.3]
    monitor = Monitor(watched, window=200)
    exits = watched.run_many(digits).exits
    calm = monitor.snapshot().drift

    assert [(exits == k).mean() for k in (1, 2)] == pytest.approx(calm.calibrated_rates, abs=0.02)
    assert (False, None, 1) == (calm.raised, calm.reason, calm.tests)
    assert 1 == monitor.snapshot().drift.tests, "nothing has come since"

    watched.run_many(digits * np.float32(0.3))
    alarmed = monitor.snapshot().drift
    assert alarmed.raised
    assert "left at exit" in (alarmed.reason or "")

    watched.thresholds = [-1.0]
    assert (False, 0) == (monitor.snapshot().drift.raised, monitor.snapshot().drift.tests), (
        "another policy, another test"
    )


def test_a_monitor_without_a_calibration_counts_and_says_that_it_sees_no_drift(runner: Runner) -> None:
    """The reason stands where an alarm's would."""
    seen = Monitor(runner).snapshot()

    assert (0, 0, 0) == seen.exits
    assert not seen.drift.raised
    assert "no calibration" in (seen.drift.reason or "")


@pytest.mark.parametrize("wrong", [{"buckets_s": []}, {"buckets_s": [2, 1]}, {"window": 0}, {"false_alarm": 1.5}])
def test_a_monitor_that_could_count_nothing_is_refused(runner: Runner, wrong: dict[str, Any]) -> None:
    """With the name of what is wrong."""
    with pytest.raises(InputError, match=next(iter(wrong))):
        Monitor(runner, **wrong)
