"""Criteria at equal cost: computed from the logits of one run, compared sample by sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import edgeexit
from edgeexit.analysis import CriteriaComparison, compare_criteria_on
from edgeexit.cli.app import app
from edgeexit.errors import InputError
from edgeexit.report.criteria_report import make_criteria_table, write_criteria

MACS = [1e6, 2e6, 4e6]


@pytest.fixture(scope="module")
def logits() -> tuple[np.ndarray, np.ndarray]:
    """Three exits, each more confident and more accurate than the one before."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 600)
    truth = np.eye(4)[labels][:, None] * np.array([1.5, 2.5, 4])[None, :, None]
    return (truth + rng.standard_normal((600, 3, 4))).astype(np.float32), labels


@pytest.fixture(scope="module")
def found(logits: tuple[np.ndarray, np.ndarray]) -> CriteriaComparison:
    """All criteria that need no scores of the network."""
    return compare_criteria_on(*logits, macs=MACS, budgets=4)


def test_each_criterion_stays_within_its_budget(found: CriteriaComparison) -> None:
    """As far as the half that judges is like the half that chose; those that need the network's scores are left out, with the reason."""
    assert found.criteria == ("entropy", "max_softmax", "margin", "running_mean", "patience")
    assert set(found.left_out) == {"learned", "learned_mean"}
    assert all(one.cost <= 1.1 * one.budget for one in found.points)
    assert found.points[-1].budget == MACS[-1]


def test_differences_are_to_the_first_criterion_and_lie_in_their_interval(found: CriteriaComparison) -> None:
    """The first differs by nothing from itself."""
    first = {one.budget: one.accuracy for one in found.points if one.criterion == found.first}
    for one in found.points:
        assert one.change == pytest.approx(one.accuracy - first[one.budget])
        assert one.low <= one.change <= one.high
        assert one.criterion != found.first or one.low == one.high == 0


def test_criteria_with_the_same_order_of_samples_are_the_same(logits: tuple[np.ndarray, np.ndarray]) -> None:
    """`normalized_entropy` is entropy over a constant."""
    both = compare_criteria_on(*logits, macs=MACS, budgets=3, criteria=["entropy", "normalized_entropy"])
    assert all(one.change == 0 and one.low == one.high == 0 for one in both.points)


def test_every_form_has_every_point(found: CriteriaComparison, tmp_path: Path) -> None:
    """CSV, JSON, picture, DataFrame and table hold what was found; another ending is refused."""
    for ending in ("csv", "json", "svg"):
        write_criteria(found, tmp_path / f"criteria.{ending}")
        assert "running_mean" in (tmp_path / f"criteria.{ending}").read_text()
    assert len((tmp_path / "criteria.csv").read_text().splitlines()) == 1 + len(found.points)
    assert len(make_criteria_table(found).rows) == len(found.points)
    frame = pytest.importorskip("pandas") and found.to_pandas()
    assert list(frame["criterion"]) == [one.criterion for one in found.points]
    with pytest.raises(InputError, match=r"\.csv"):
        write_criteria(found, tmp_path / "criteria.xls")


def test_the_command_compares_a_bundle(compiled: Path, tmp_path: Path) -> None:
    """With its last exit's answers as labels, changed at random; without labels it is refused."""
    x = np.random.default_rng(1).standard_normal((200, 3, 8, 8)).astype(np.float32)
    with edgeexit.runtime.load_quietly(compiled) as runner:
        y = runner.replay(x)[1][:, -1].argmax(axis=-1)
    np.savez(tmp_path / "data.npz", x=x, y=np.where(np.arange(200) % 9, y, 0))
    np.savez(tmp_path / "bare.npz", x=x)
    words = ["compare-criteria", str(compiled), "--budgets", "2", "--data"]
    done = CliRunner().invoke(app, [*words, str(tmp_path / "data.npz"), "-o", str(tmp_path / "found.csv")])
    assert done.exit_code == 0, done.output
    assert "equal multiply-accumulates" in done.output
    assert (tmp_path / "found.csv").exists()
    bare = CliRunner().invoke(app, [*words, str(tmp_path / "bare.npz")])
    assert isinstance(bare.exception, InputError)
    assert "labels" in str(bare.exception)
