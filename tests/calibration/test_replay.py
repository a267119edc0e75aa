"""The replay table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeexit.calibration import ReplayTable, optimise
from edgeexit.calibration.device import attach_energy
from edgeexit.calibration.replay import compute_latency_quantile
from edgeexit.errors import InputError, TargetNotMet
from tests.calibration.worlds import world

SCORES = np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.1]], np.float32)
CORRECT = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1]])


def test_a_sample_leaves_at_the_first_exit_whose_score_reaches_its_threshold() -> None:
    """Score equal to the threshold leaves; +inf never, -inf always."""
    table = ReplayTable.from_arrays(SCORES, CORRECT, [1.0, 2.0, 4.0])

    assert [0, 1, 2] == table.leaves_at([0.9, 0.8]).tolist()
    assert [2, 2, 2] == table.leaves_at([np.inf, np.inf]).tolist()
    assert [0, 0, 0] == table.leaves_at([-np.inf, np.inf]).tolist()


def test_an_outcome_adds_up_what_each_sample_costs() -> None:
    """Mean latency, accuracy and rates of a policy worked out by hand."""
    outcome = ReplayTable.from_arrays(SCORES, CORRECT, [1.0, 2.0, 4.0]).evaluate([0.9, 0.8])

    assert (1, 1, 1) == outcome.counts
    assert pytest.approx(7 / 3) == outcome.mean_s
    assert 1.0 == outcome.accuracy


def test_samples_of_latency_give_means_and_tails() -> None:
    """A cost may be measured many times: its mean and P(latency > limit) come from the samples."""
    table = ReplayTable.from_arrays(SCORES, CORRECT, [[1.0, 3.0], [4.0], [5.0, 5.0, 8.0]])

    assert [2.0, 4.0, 6.0] == table.mean_cost_s.tolist()
    assert [0.5, 1.0, 1.0] == table.compute_share_over(2.0).tolist()
    assert 8.0 == compute_latency_quantile(table, [0, 0, 1.0], 0.99)
    assert 1.0 == compute_latency_quantile(table, [1.0, 0, 0], 0.5)


def test_a_saved_table_is_read_back_bit_for_bit(tmp_path: Path) -> None:
    """Every array, the origin and the hash survive."""
    table = world(0, 50, 4)
    table.save(tmp_path / "table.npz")

    read = ReplayTable.load(tmp_path / "table.npz")

    assert table.sha256() == read.sha256()
    assert table.origin == read.origin
    assert table.evaluate([0.5, 0.5, 0.5]) == read.evaluate([0.5, 0.5, 0.5])


def test_a_changed_table_is_refused(tmp_path: Path) -> None:
    """The hash inside must match what is read."""
    path = tmp_path / "table.npz"
    world(0, 50, 3).save(path)
    with np.load(path) as file:
        arrays = dict(file)
    arrays["scores"][0, 0] += 1
    np.savez(path, **arrays)

    with pytest.raises(InputError, match="changed since it was written"):
        ReplayTable.load(path)


def test_a_pickled_or_foreign_file_is_refused(tmp_path: Path) -> None:
    """Nothing is unpickled; a file of something else is named as such."""
    np.savez(tmp_path / "pickled.npz", header=np.array([{}], object))
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    (tmp_path / "text.npz").write_text("hello")

    for name in ("pickled", "other", "text"):
        with pytest.raises(InputError, match="not a replay table"):
            ReplayTable.load(tmp_path / f"{name}.npz")
    with pytest.raises(InputError, match="there is no file"):
        ReplayTable.load(tmp_path / "missing.npz")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cost_s": [1.0]}, "at least 2"),
        ({"cost_s": [1.0, 2.0]}, r"scores must be \[M, N-1\]"),
        ({"scores": np.full((3, 2), np.nan, np.float32)}, "NaN"),
        ({"correct": CORRECT[:, :2]}, r"correct must be \[M, N\]"),
        ({"correct": CORRECT * 3}, "0 or 1"),
        ({"cost_s": [1.0, 2.0, -1.0]}, "greater than 0"),
        ({"cost_s": "abc"}, "cost_s"),
        ({"energy_j": [1.0]}, "energy_j must be 3"),
        ({"head_s": [1.0, 2.0, 3.0]}, "head_s must be 2"),
        ({"scores": np.zeros((0, 2), np.float32), "correct": np.zeros((0, 3))}, "no samples"),
        ({"backbone_s": 0.0}, "backbone_s"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, object], told: str) -> None:
    """Each fault is named with its values."""
    given: dict[str, object] = {"scores": SCORES, "correct": CORRECT, "cost_s": [1.0, 2.0, 4.0], **change}

    with pytest.raises(InputError, match=told):
        ReplayTable(**given)  # type: ignore[arg-type]


def test_dropping_a_head_makes_later_exits_cheaper() -> None:
    """Its cost is taken from every exit after it, and its column is gone."""
    table = ReplayTable.from_arrays(SCORES, CORRECT, [1.0, 2.0, 4.0], head_s=[0.25, 0.5])

    smaller = table.without_heads([1])

    assert [1.75, 3.75] == smaller.mean_cost_s.tolist()
    assert table.scores[:, 1].tolist() == smaller.scores[:, 0].tolist()
    assert table.backbone_mean_s == smaller.backbone_mean_s


def test_a_head_that_seems_to_cost_more_than_all_leaves_costs_of_the_first_exit() -> None:
    """Head costs are estimates and latencies have noise; no inference is then said to be faster than the fastest measured."""
    table = ReplayTable.from_arrays(
        [[0.0, 0.0]],
        [[True, True, True]],
        [[2e-3], [2.5e-3, 6e-3], [7e-3]],
        head_s=[3e-3, 0.0],
        typical_s=[2e-3, 4e-3, 7e-3],
    )

    without = table.without_heads([1])

    assert [2e-3, 3e-3] == pytest.approx(without.cost_s[0].tolist())
    assert [2e-3, 4e-3] == pytest.approx(without.mean_cost_s.tolist())


def test_a_drop_is_counted_from_the_backbone_where_the_last_exit_answers_otherwise(tmp_path: Path) -> None:
    """By hand: the backbone is right 4 times of 4, the last exit 3 times; kept by files, parts and changes of the table."""
    correct = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]], bool)
    scores = np.array([[0.9, 0.9], [0.1, 0.8], [0.2, 0.3], [0.1, 0.2]], np.float32)
    agreement = correct.copy()
    table = ReplayTable.from_arrays(
        scores, correct, [1.0, 2.0, 4.0], agreement=agreement, backbone_correct=np.ones(4, bool)
    )
    table.save(tmp_path / "table.npz")

    for kept in (table, ReplayTable.load(tmp_path / "table.npz"), table.with_costs([1.0, 2.0, 4.0])):
        assert not kept.last_is_backbone
        assert [True] * 4 == kept.backbone_right.tolist()
        with pytest.raises(TargetNotMet) as refused:
            optimise(kept, "drop<=20")
        assert "drop<=25" == refused.value.nearest
        assert 0.75 == optimise(kept, "drop<=25").accuracy
    assert 2 == len(table.take(np.array([0, 3])).backbone_right)
    with pytest.raises(InputError, match=r"backbone_correct must be \[M\] = \[4\], not \[3\]"):
        ReplayTable.from_arrays(scores, correct, [1.0, 2.0, 4.0], backbone_correct=np.ones(3, bool))


def test_a_table_of_lists_is_the_same_by_keywords_and_by_from_arrays() -> None:
    """The constructor converts what it is given, so that tables built by keyword go on working."""
    given = {"scores": SCORES.tolist(), "correct": CORRECT.tolist(), "cost_s": [1, 2, 4], "head_s": [0.25, 0.5]}

    assert ReplayTable.from_arrays(**given).sha256() == ReplayTable(**given).sha256()


def test_a_copy_with_one_field_changed_keeps_all_the_others() -> None:
    """`dataclasses.replace` and `attach_energy` drop nothing, and what they put in is checked."""
    table = ReplayTable.from_arrays(
        SCORES, CORRECT, [1.0, 2.0, 4.0], head_s=[0.25, 0.5], typical_s=[1.0, 2.0, 4.0], backbone_s=3.0
    )

    other = attach_energy(table, [1.0, 2.0, 3.0])

    assert (3.0, [0.25, 0.5], [1.0, 2.0, 4.0]) == (other.backbone_s, list(other.head_s), list(other.typical_s))  # type: ignore[arg-type]
    assert table.sha256() == replace(other, energy_j=None).sha256()
    with pytest.raises(InputError, match="energy_j must be 3"):
        replace(table, energy_j=np.ones(2))
