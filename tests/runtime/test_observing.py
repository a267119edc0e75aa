"""Observers are told of every answer, and can spoil none."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import pytest

from edgeexit.errors import InputError
from edgeexit.runtime import Prediction, Runner, load_quietly
from tests.networks import images


def test_an_observer_is_told_of_every_answer_and_its_latency(runner: Runner) -> None:
    """Of calls, batches and loops, in their order; not of forced exits and replays."""
    told: list[tuple[Prediction, float]] = []
    stop = runner.observe(lambda *answer: told.append(answer))
    x = images(12)
    answers = [runner(x[:1]), *runner.batch(x[1:7])]
    many = runner.run_many(x[7:12])
    runner.forced(x[:1], exit=2)
    runner.replay(x[:2])
    seen = [prediction for prediction, _ in told]

    assert [a.exit for a in answers] + many.exits.tolist() == [p.exit for p in seen]
    assert [a.label for a in answers] + many.labels.tolist() == [p.label for p in seen]
    np.testing.assert_array_equal(many.logits[-1], seen[-1].logits)
    assert all(latency_s > 0 for _, latency_s in told)

    stop()
    stop()
    runner(x[:1])
    assert 12 == len(told)
    assert runner._ready, "nothing of it is left on the way of a call"


def test_an_observer_that_fails_is_reported_once_and_ends_no_prediction(
    runner: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    """Others are told all the same."""
    seen: list[int] = []
    runner.observe(lambda _prediction, _latency_s: 1 / 0)
    runner.observe(lambda prediction, _latency_s: seen.append(prediction.exit))
    with caplog.at_level(logging.ERROR, logger="edgeexit"):
        answers = [*(runner(x[None]) for x in images(3)), *runner.batch(images(2))]

    assert [a.exit for a in answers] == seen
    assert 1 == len(caplog.records)
    assert "ZeroDivisionError" in caplog.text


def test_an_observer_may_end_itself(runner: Runner) -> None:
    """It is told of one answer."""
    seen: list[int] = []

    def see_once(prediction: Prediction, _latency_s: float) -> None:
        seen.append(prediction.exit)
        stop()

    stop = runner.observe(see_once)
    for x in images(3):
        runner(x[None])

    assert 1 == len(seen)


def test_a_clone_is_observed_by_what_is_made_for_it(runner: Runner) -> None:
    """By the same callback where nothing is said of clones."""
    own: list[str] = []
    runner.observe(lambda _p, _s: own.append("runner"), for_clone=lambda: lambda _p, _s: own.append("clone"))
    runner.observe(lambda _p, _s: own.append("both"))
    with runner.clone() as other, other.clone() as third:
        runner(images(1))
        other(images(1))
        third(images(1))

    assert ["runner", "both", "clone", "both", "clone", "both"] == own


def test_an_observer_is_forgotten_with_all_that_was_said_of_it(
    runner: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    """Told again, it has no callback for clones any more, and its errors are said again; what is no function is refused."""

    def fail(_prediction: Prediction, _latency_s: float) -> None:
        raise ValueError

    cloned: list[int] = []
    for for_clone in (lambda: lambda p, _s: cloned.append(p.exit), None):
        stop = runner.observe(fail, for_clone=for_clone)
        runner(images(1))
        if for_clone is not None:
            stop()
    assert 2 == len(caplog.records)
    with runner.clone() as other:
        other(images(1))
    assert not cloned
    with pytest.raises(InputError, match="must be a function"):
        runner.observe(3)  # type: ignore[arg-type]  # on purpose


def test_an_observer_stays_when_the_answers_are_read_otherwise(compiled: Path) -> None:
    """Logits that are reused, and a Runner taken over by another one, as a reload does."""
    runner, fresh = (load_quietly(compiled, mode="staged") for _ in range(2))
    times: list[float] = []
    runner.observe(lambda _p, latency_s: times.append(latency_s))
    runner.reuse_logits = True
    runner(images(1))
    runner.take_over(fresh)
    runner(images(1))

    assert 2 == len([t for t in times if 0 < t < math.inf])
