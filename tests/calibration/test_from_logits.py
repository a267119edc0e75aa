"""Replay tables made from logits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgeexit
from edgeexit.calibration import ReplayTable, choose_baseline_policy, choose_policy, front, optimise, replay_table
from edgeexit.criteria import CRITERIA, criterion
from edgeexit.errors import InputError
from edgeexit.runtime import Runner

MACS = [1e6, 2e6, 5e6]


def make_logits(seed: int, samples: int = 60, exits: int = 3, classes: int = 4) -> np.ndarray[Any, np.dtype[Any]]:
    """Logits whose largest one stands out more from exit to exit."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(samples, exits, classes)) * np.linspace(1, 3, exits)[:, None]
    return np.cumsum(steps, axis=1).astype(np.float32)


def make_table(seed: int, name: str = "entropy", **options: Any) -> ReplayTable:
    """A table in multiply-accumulates whose labels the last exit mostly knows."""
    logits = make_logits(seed)
    labels = np.where(np.random.default_rng(seed).random(60) < 0.8, logits[:, -1].argmax(-1), 0)
    return replay_table(logits, labels, name, macs=MACS, **options)


@pytest.mark.parametrize("name", [name for name, rule in CRITERIA.items() if not rule.learned])
def test_scores_and_answers_are_those_of_the_criterion(name: str) -> None:
    """Inner scores are the criterion's with its sign, and an exit is right where its answer is the label."""
    logits, labels = make_logits(0), np.random.default_rng(1).integers(4, size=60)
    table, answers = replay_table(logits, labels, name, macs=MACS), criterion(name).answers(logits, MACS)

    assert table.correct is not None
    assert np.array_equal(criterion(name).sign * answers.scores[:, :-1], table.scores)
    assert np.array_equal(answers.logits.argmax(-1) == labels[:, None], table.correct)
    assert (answers.logits[:, -1].argmax(-1) == logits[:, -1].argmax(-1)).tolist() == (
        table.agreement[:, -1].tolist() if table.agreement is not None else None
    )


@pytest.mark.slow
def test_one_array_per_exit_is_the_same_as_one_array_and_tensors_will_do() -> None:
    """A torch module gives a list of tensors, a file one array."""
    torch = pytest.importorskip("torch")
    logits = make_logits(2)
    exits = [torch.from_numpy(logits[:, k]).requires_grad_() for k in range(3)]

    assert replay_table(logits, None, "margin", macs=MACS).sha256() == (
        replay_table(exits, None, "margin", macs=MACS).sha256()
    )


def test_what_a_runner_replays_needs_no_criterion(runner: Runner) -> None:
    """Its scores are inner ones and its logits answers: the same table as from the logits by its criterion."""
    x = np.random.default_rng(0).normal(size=(20, 3, 8, 8)).astype(np.float32)
    scores, logits = runner.replay(x)
    labels = logits[:, 1].argmax(-1)
    from_runner = replay_table(logits, labels, None, scores=scores, cost_s=[1e-3, 2e-3, 3e-3])
    from_logits = replay_table(logits, labels, runner.criterion, cost_s=[1e-3, 2e-3, 3e-3])

    assert np.allclose(from_logits.scores, from_runner.scores, atol=1e-5)
    assert np.array_equal(from_logits.correct, from_runner.correct)  # type: ignore[arg-type]  # both have labels


def test_learned_scores_are_taken_as_the_network_gives_them() -> None:
    """With the last exit's or without."""
    logits, scores = make_logits(3), np.random.default_rng(3).random((60, 3))
    table = replay_table(logits, None, "learned", scores=scores, macs=MACS)

    assert np.array_equal(scores[:, :2].astype(np.float32), table.scores)
    assert table.sha256() == replay_table(logits, None, "learned", scores=scores[:, :2], macs=MACS).sha256()


def test_answers_mixed_by_stopping_probabilities_are_those_of_the_criterion() -> None:
    """`learned_mean` decides by the network's scores and answers with what they mix; the last exit's score does not count."""
    logits, scores = make_logits(3), np.random.default_rng(3).random((60, 3)).astype(np.float32)
    table = replay_table(logits, np.zeros(60, int), "learned_mean", scores=scores[:, :2], macs=MACS)
    mixed = criterion("learned_mean").answers(logits, MACS, scores).logits.argmax(-1)

    assert np.array_equal(mixed == 0, table.correct)  # type: ignore[arg-type]  # there are labels
    assert np.array_equal(scores[:, :2], table.scores)


@pytest.mark.parametrize("as_labels", [True, False])
def test_a_drop_is_counted_from_the_plain_network_where_one_is_given(as_labels: bool) -> None:
    """Its right answers are what is lost; agreement is with it, too."""
    logits = make_logits(4)
    labels, straight = logits[:, 0].argmax(-1), logits[:, 1]
    plain = straight.argmax(-1) if as_labels else straight
    table = replay_table(logits, labels, "entropy", macs=MACS, plain=plain)

    assert (straight.argmax(-1) == labels).tolist() == table.backbone_right.tolist()
    assert table.agreement is not None
    assert table.agreement[:, 1].all()
    assert not table.last_is_backbone


def test_a_criterion_that_changes_answers_is_compared_with_the_network_without_it() -> None:
    """The last exit's mean of all exits is not what the plain network answers."""
    logits = make_logits(5)
    labels = logits[:, -1].argmax(-1)
    table = replay_table(logits, labels, "running_mean", macs=MACS)

    assert table.backbone_right.all()
    assert table.correct is not None
    assert not table.correct[:, -1].all()


def test_a_table_in_multiply_accumulates_is_searched_in_them() -> None:
    """Bounds on answers give the fewest operations; a bound on operations the best answers."""
    table = make_table(6)
    cheap, good = optimise(table, "drop<=5"), optimise(table, "macs<=3M")
    every = [table.evaluate([a, b]) for a in [-9, *table.scores[:, 0], 9] for b in [-9, *table.scores[:, 1], 9]]

    kept = [o.macs for o in every if o.quality >= table.backbone_right.mean() - 0.05 and o.macs is not None]
    assert "MAC" == table.cost_unit
    assert cheap.mean_cost == cheap.macs == min(kept)
    assert good.accuracy == max(o.quality for o in every if o.macs is not None and o.macs <= 3e6)
    assert np.isnan(good.mean_s)


@pytest.mark.parametrize("target", ["mean<=5ms", "mean<=0.5x", "p99<=5ms", "mean<=5ms, macs<=3M", "drop<=1, p50<=1ms"])
def test_a_target_in_time_is_refused_where_the_table_has_no_seconds(target: str) -> None:
    """The message says what the table has, and what to bound instead."""
    for search in (optimise, choose_policy, lambda table, bound: choose_baseline_policy("shared", table, bound)):
        with pytest.raises(InputError, match=r"multiply-accumulates and no seconds.*macs<="):
            search(make_table(7), target)


def test_a_front_in_time_is_refused_where_the_table_has_no_seconds() -> None:
    """A front is a list of budgets in seconds."""
    with pytest.raises(InputError, match="no seconds"):
        front(make_table(7))


def test_a_table_without_seconds_survives_its_file(tmp_path: Path) -> None:
    """Written and read back, it is still in multiply-accumulates; with latencies it is in seconds."""
    table = make_table(8)
    table.save(tmp_path / "table.npz")
    read = ReplayTable.load(tmp_path / "table.npz")

    assert table.sha256() == read.sha256()
    assert "MAC" == read.cost_unit
    assert ("s", [1.0, 2.0, 3.0]) == ((timed := read.with_costs([1.0, 2.0, 3.0])).cost_unit, timed.mean_cost.tolist())


LOGITS = make_logits(9)
FAULTS: Mapping[str, tuple[dict[str, Any], str]] = {
    "no cost": ({"macs": None}, "cost_s in seconds, or macs"),
    "macs of another number of exits": ({"macs": [1.0, 2.0]}, r"macs must be \[3\]"),
    "seconds of another number of exits": ({"cost_s": [1.0, 2.0]}, "2 exits of cost_s"),
    "two dimensions": ({"logits": LOGITS[:, 0]}, r"\[samples, exits, classes\]"),
    "text": ({"logits": "logits.npy"}, r"\[samples, exits, classes\]"),
    "exits of different sizes": ({"logits": [LOGITS[:, 0], LOGITS[:9, 1]]}, "different shapes"),
    "NaN": ({"logits": np.full((60, 3, 4), np.nan)}, "NaN for 60 of 60 samples"),
    "labels beyond the classes": ({"labels": np.full(60, 4)}, "label 4 of sample 0 is out of range"),
    "too few labels": ({"labels": np.zeros(59)}, "59 labels for 60 samples"),
    "labels that are no whole numbers": ({"labels": np.full(60, 0.5)}, "whole numbers"),
    "no scores for learned": ({"criterion": "learned"}, "give scores="),
    "no scores without a criterion": ({"criterion": None}, "give scores="),
    "scores beside a criterion": ({"scores": np.zeros((60, 2))}, "leave out scores="),
    "scores of another shape": ({"criterion": None, "scores": np.zeros((60, 4))}, r"scores must be \[60, 2\]"),
    "plain network of another shape": ({"plain": np.zeros((60, 3))}, r"logits \[60, 4\] or labels \[60\]"),
    "a mean without weights": ({"criterion": "running_mean", "macs": None, "cost_s": [1, 2, 3]}, "give macs="),
    "no such criterion": ({"criterion": "entropie"}, "no criterion named 'entropie'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_message(fault: str) -> None:
    """What is wrong, with the values, and what is needed."""
    options, message = FAULTS[fault]
    given = {"logits": LOGITS, "labels": None, "criterion": "entropy", "macs": MACS, **options}
    with pytest.raises(InputError, match=message):
        replay_table(given.pop("logits"), given.pop("labels"), given.pop("criterion"), **given)


@given(st.integers(0, 1000), st.lists(st.floats(-3, 0), min_size=2, max_size=2))
def test_a_policy_costs_the_same_operations_with_seconds_as_without(seed: int, thresholds: list[float]) -> None:
    """Seconds add to a table; they change nothing else."""
    bare = make_table(seed)
    timed = bare.with_costs([1e-3, 2e-3, 3e-3])
    one, other = bare.evaluate(thresholds), timed.evaluate(thresholds)

    assert (one.counts, one.accuracy, one.agreement, one.macs) == (
        other.counts,
        other.accuracy,
        other.agreement,
        other.macs,
    )


def test_it_is_a_public_name() -> None:
    """Beside `ReplayTable`."""
    assert edgeexit.replay_table is replay_table
