"""Figures of a network with exits, as the trainer records them."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgeexit.calibration import ReplayTable
from edgeexit.data import Dataset, load_data
from edgeexit.errors import InputError
from edgeexit.nets import build
from edgeexit.training import TrainingRecipe, metrics, train
from edgeexit.training.losses import branchynet
from edgeexit.training.metrics import (
    RecordedExits,
    describe_collapse,
    evaluate_exits,
    find_shared_threshold,
    record_exits,
    summarize_early_exit,
)
from edgeexit.training.recipe import parse_recipe

MACS = (2e5, 1e6)


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Labelled digits."""
    return load_data("digits:test")


def make_network(seed: int = 0) -> nn.Module:
    """An untrained network with two exits."""
    torch.manual_seed(seed)
    return build("lenet")


class WithOwnScores(nn.Module):
    """Two exits; the first says of every sample how sure it is."""

    def __init__(self) -> None:
        super().__init__()
        self.early, self.last = nn.Linear(784, 10), nn.Linear(784, 10)

    def forward(self, x: torch.Tensor) -> list[Any]:
        flat = x.flatten(1)
        return [(self.early(flat), torch.sigmoid(flat.mean(1))), (self.last(flat), None)]


def test_every_exit_is_recorded_in_the_order_of_the_data_whatever_the_batch(data: Dataset) -> None:
    """Logits, labels and the mean loss do not depend on the size of the batches."""
    whole, parts = (record_exits(make_network(), data, loss=branchynet(), batch=b) for b in (500, 70))

    assert (len(data), 2, 10) == whole.logits.shape
    assert np.allclose(whole.logits, parts.logits, atol=1e-5)
    assert data.y.tolist() == whole.labels.tolist()
    assert whole.loss == pytest.approx(parts.loss, rel=1e-5)
    assert whole.scores is None


def test_own_scores_of_the_exits_are_kept(data: Dataset) -> None:
    """They decide under the criterion `learned`."""
    recorded = record_exits(WithOwnScores(), data)
    wanted = torch.sigmoid(torch.from_numpy(data.x).flatten(1).mean(1)).numpy()

    assert recorded.scores is not None
    assert np.allclose(wanted[:, None], recorded.scores)
    assert np.allclose(wanted[:, None], recorded.make_table("learned", MACS).scores)


def test_the_figures_are_those_of_the_recipes_criterion_and_thresholds(data: Dataset) -> None:
    """Accuracy, exit rates and mean cost, worked out by hand from the recorded exits; all of it can be written as JSON."""
    network = make_network()
    recorded = record_exits(network, data)
    p = np.exp(recorded.logits[:, 0]) / np.exp(recorded.logits[:, 0]).sum(-1, keepdims=True)
    threshold = float(np.median(p.max(-1)))
    leaves = p.max(-1) >= threshold
    right = np.where(leaves, recorded.logits[:, 0].argmax(-1), recorded.logits[:, 1].argmax(-1)) == data.y

    figures = evaluate_exits(
        network, data, macs=MACS, criterion="max_softmax", thresholds=[threshold], loss=branchynet()
    )
    early = json.loads(json.dumps(figures))["early_exit"]

    assert recorded.accuracies == figures["calibration_accuracy"]
    assert {"calibration_loss", "calibration_accuracy", "early_exit"} == set(figures)
    assert pytest.approx([leaves.mean(), 1 - leaves.mean()], abs=0.005) == early["exit_rates"]
    assert pytest.approx(right.mean(), abs=0.005) == early["accuracy"]
    assert pytest.approx(early["exit_rates"][0] * 2e5 + early["exit_rates"][1] * 1e6) == early["macs"]
    assert early["one_exit"] is None


def test_without_thresholds_the_exits_share_the_loosest_one_that_loses_nothing(data: Dataset) -> None:
    """No looser threshold among the scores keeps the accuracy of the last exit."""
    table = record_exits(make_network(), data).make_table("entropy", MACS)
    found = find_shared_threshold(table)
    assert table.correct is not None
    need = table.correct[:, -1].mean()

    early = evaluate_exits(make_network(), data)["early_exit"]

    assert early["accuracy"] == table.evaluate([found]).accuracy >= need
    assert all(table.evaluate([t]).quality < need for t in table.scores[:, 0] if t < found)
    assert early["macs"] is None


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(2, 5), st.sampled_from([0.0, 0.1]))
def test_the_shared_threshold_is_the_loosest_of_all_scores(seed: int, count: int, exits: int, drop: float) -> None:
    """With any number of exits, also where scores are the same; above all of them where each loses more."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 10, (count, exits - 1)) / 8
    table = ReplayTable.from_arrays(scores, rng.random((count, exits)) < 0.7, range(1, exits + 1))
    found = find_shared_threshold(table, drop=drop)

    assert table.correct is not None
    need = table.correct[:, -1].mean() - drop - 1e-12
    kept = [t for t in np.unique(scores) if table.evaluate([t] * (exits - 1)).quality >= need]
    assert found == pytest.approx(min(kept, default=scores.max()))
    assert kept or found > scores.max()


def test_collapsed_exits_are_told_in_the_figures_and_in_a_line(data: Dataset) -> None:
    """From 99 % of the samples at one exit."""
    never, always = (evaluate_exits(make_network(), data, thresholds=[t]) for t in (0.0, 3.0))

    assert (2, 1) == (never["early_exit"]["one_exit"], always["early_exit"]["one_exit"])
    assert describe_collapse(always) == "exits have collapsed: 100.00 % of the calibration samples leave at exit 1"
    assert not describe_collapse({"early_exit": {"one_exit": None, "exit_rates": [0.5, 0.5]}})


def test_examples_print_what_they_say() -> None:
    """Those of the docstrings."""
    found = doctest.testmod(metrics)

    assert found.attempted > 0
    assert found.failed == 0


def test_a_network_with_one_exit_has_no_early_exit(data: Dataset) -> None:
    """Its figures are its accuracy and its loss."""
    torch.manual_seed(0)
    figures = evaluate_exits(build("lenet", exits=False), data, loss=branchynet())

    assert {"calibration_loss", "calibration_accuracy"} == set(figures)
    assert not describe_collapse(figures)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thresholds": [0.1, 0.2]}, "1 threshold"),
        ({"criterion": "learned"}, "not every early exit of this network gives one"),
        ({"macs": (1.0,)}, r"macs must be \[2\]"),
        ({"criterion": "entropi"}, "no criterion named"),
    ],
)
def test_a_criterion_that_does_not_fit_the_network_is_refused(
    data: Dataset, options: dict[str, Any], message: str
) -> None:
    """One message each."""
    with pytest.raises(InputError, match=message):
        evaluate_exits(make_network(), data, **options)


def test_the_early_exit_summary_is_chosen_on_one_part_and_used_on_the_other() -> None:
    """Entropy orders the samples; the largest threshold without loss on the first part is used on the second."""
    sure, unsure = [9.0, 0.0, 0.0], [0.3, 0.2, 0.0]
    early = np.array([sure, sure, unsure, unsure], np.float32)
    late = np.array([sure, sure, [0, 9.0, 0], sure], np.float32)
    recorded = RecordedExits(np.stack([early, late], axis=1), None, np.array([0, 0, 1, 0]))

    row = summarize_early_exit(recorded, recorded, "entropy", [1.0, 3.0])
    looser = summarize_early_exit(recorded, recorded, "entropy", None, drop=0.25)

    assert ([0.5, 0.5], 1.0, 2.0, None) == (row["exit_rates"], row["accuracy"], row["macs"], row["one_exit"])
    assert 0.0 < row["threshold"] < 1.0
    assert ([1.0, 0.0], None, 1) == (looser["exit_rates"], looser["macs"], looser["one_exit"])


# ---------------------------------------------------------------- in a run


@pytest.fixture(scope="module")
def parts() -> dict[str, Dataset]:
    """Few digits, so that an epoch takes a moment."""
    whole = load_data("digits:calibration")
    return {
        "train": whole.take(slice(0, 64)),
        "calibration": whole.take(slice(64, 128)),
        "test": whole.take(slice(128, 192)),
    }


def make_recipe(**options: Any) -> TrainingRecipe:
    """Two epochs of the network with exits; what the recipe says of leaving early is the caller's."""
    phases = {"whole": {"epochs": 2, "batch": 32}}
    raw = {"schema": "edgeexit.recipe/2", "name": "r", "about": "a", "data": "digits", "network": "lenet"}
    return parse_recipe({**raw, "phases": phases, **options}, where="r.toml")


def test_the_history_and_the_results_are_under_the_recipes_criterion(parts: dict[str, Dataset], tmp_path: Path) -> None:
    """Costs are those of the network; the result adds the test part, with the recipe's thresholds and without loss."""
    found = train(make_recipe(criterion="max_softmax", thresholds=[0.3]), tmp_path, parts=parts).metrics
    history, result = found["history"]["whole"], found["results"]["whole"]

    assert ["max_softmax"] * 2 == [record["early_exit"]["criterion"] for record in history]
    assert [[pytest.approx(0.3)]] * 2 == [record["early_exit"]["thresholds"] for record in history]
    assert result["exit_macs"][0] <= history[-1]["early_exit"]["macs"] <= result["exit_macs"][1]
    assert "max_softmax" == result["recipe_thresholds"]["criterion"] == result["early_exit"][0]["criterion"]
    assert [0.0, 0.001, 0.005] == [row["drop"] for row in result["early_exit"]]
    assert json.loads((tmp_path / "metrics.json").read_text())["results"]["whole"] == result


def test_a_collapse_is_a_line_of_the_progress_when_it_begins(parts: dict[str, Dataset], tmp_path: Path) -> None:
    """Not again while it lasts."""
    lines: list[str] = []
    train(make_recipe(thresholds=[9.0]), tmp_path, parts=parts, progress=lambda what, done, total: lines.append(what))

    assert ["phase whole, epoch 1: exits have collapsed: 100.00 % of the calibration samples leave at exit 1"] == [
        line for line in lines if "collapsed" in line
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"criterion": "learned"}, "not every early exit of this network gives one"),
        ({"thresholds": [0.1, 0.2]}, "1 threshold"),
        ({"criterion": "entropi"}, "no criterion named 'entropi'"),
    ],
)
def test_a_recipe_whose_criterion_does_not_fit_is_refused_before_anything_is_trained(
    parts: dict[str, Dataset], tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    """No epoch is lost."""
    lines: list[str] = []
    with pytest.raises(InputError, match=message):
        train(make_recipe(**options), tmp_path, parts=parts, progress=lambda what, done, total: lines.append(what))

    assert [] == lines
