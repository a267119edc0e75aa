"""Costs of a loss are counted or measured, never typed; what was found is recorded and kept when a run is resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeexit.data import Dataset
from edgeexit.errors import InputError
from edgeexit.nets import build
from edgeexit.nets.costs import exit_costs
from edgeexit.training import TrainingRecipe, train
from edgeexit.training import loss_options as words
from edgeexit.training.recipe import parse_recipe
from tests.training.test_phases import Interrupt

EXAMPLE = torch.zeros(1, 1, 28, 28)


def resolve(word: str, module: nn.Module) -> list[float]:
    return words.resolve_words({"costs": word}, module, EXAMPLE, np.arange(3))["costs"]  # type: ignore[no-any-return]


def test_counted_costs_are_those_of_the_network() -> None:
    """Shares of the whole for what is paid up to each exit; millions for each by itself."""
    network = build("lenet")
    counted = exit_costs(network, EXAMPLE)

    assert [n / counted.reach_macs[-1] for n in counted.reach_macs] == resolve("macs", network)
    assert [n / counted.reach_parameters[-1] for n in counted.reach_parameters] == resolve("parameters", network)
    assert [n / 1e6 for n in counted.alone_macs] == resolve("alone", network)


def test_measured_costs_are_shares_of_the_last_exits_time() -> None:
    """On this machine, through ONNX Runtime; the network keeps its mode."""
    network = build("lenet").train()

    early, last = resolve("latency", network)

    assert 1.0 == last
    assert 0.0 < early < 1.5
    assert network.training


def test_balanced_classes_weigh_as_much_as_the_commonest() -> None:
    """max(C) / C_y."""
    found = words.resolve_words({"class_weights": "balanced"}, build("lenet"), EXAMPLE, np.array([0, 0, 0, 0, 1, 2, 2]))

    assert [1.0, 4.0, 2.0, *[4.0] * 7] == found["class_weights"]


class Scored(nn.Module):
    """Two exits, the first with a confidence."""

    def __init__(self) -> None:
        super().__init__()
        self.early, self.confidence, self.last = nn.Linear(6, 3), nn.Linear(6, 1), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> list[Any]:
        return [(self.early(x), torch.sigmoid(self.confidence(x))), (self.last(x), None)]


@pytest.fixture(scope="module")
def parts() -> dict[str, Dataset]:
    """Points of three classes."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(48, 6, generator=generator)
    return dict.fromkeys(("train", "calibration", "test"), Dataset("points", x.numpy(), x[:, :3].argmax(-1).numpy()))


def recipe_with(options: Mapping[str, Any], **changes: Any) -> TrainingRecipe:
    raw = {
        "schema": "edgeexit.recipe/2", "name": "r", "about": "a", "data": "points", "network": "mine",
        "phases": {"joint": {"epochs": 3, "batch": 16, "loss": "eenet-v2", "options": options}},
    }  # fmt: skip
    return parse_recipe({**raw, **changes}, where="r.toml")


def test_what_a_word_stood_for_is_in_the_metrics(parts: dict[str, Dataset], tmp_path: Path) -> None:
    """Beside the recipe, which has the word; figures under the recipe's criterion have the cost in the same unit."""
    recipe = recipe_with({"costs": "macs"}, criterion="learned", thresholds=[0.5])

    trained = train(recipe, tmp_path, network=Scored, parts=parts)

    counted = exit_costs(Scored(), torch.zeros(1, 6)).reach_macs
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    early = metrics["history"]["joint"][-1]["early_exit"]
    assert {"joint": {"costs": [counted[0] / counted[1], 1.0]}} == metrics["loss_options"]
    assert "macs" == metrics["recipe"]["phases"]["joint"]["options"]["costs"]
    assert ("learned", [0.5]) == (early["criterion"], early["thresholds"])
    assert early["macs"] == pytest.approx(np.dot(early["exit_rates"], counted))
    assert trained.model is not None


def test_a_resumed_run_keeps_the_latency_that_it_measured(
    parts: dict[str, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured again it would be another number, and the weights other bits."""
    measured = iter([[0.25, 1.0], [0.5, 1.0]])
    monkeypatch.setitem(words.COST_WORDS, "latency", lambda *_: next(measured))
    recipe = recipe_with({"costs": "latency"})

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path, network=Scored, parts=parts, progress=Interrupt(6))
    trained = train(recipe, tmp_path, network=Scored, parts=parts, resume=True)

    assert {"joint": {"costs": [0.25, 1.0]}} == trained.metrics["loss_options"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"costs": "mac"}, "costs must be numbers or 'macs' or .* not 'mac'. Did you mean 'macs'"),
        ({"costs": [1.0], "class_weights": "balance"}, "Did you mean 'balanced'"),
    ],
)
def test_a_word_that_stands_for_nothing_is_answered(options: dict[str, Any], message: str) -> None:
    """When the recipe is read."""
    with pytest.raises(InputError, match=message):
        recipe_with(options)


def test_an_unknown_criterion_is_answered() -> None:
    """When the recipe is read."""
    with pytest.raises(InputError, match="no criterion named 'entropi'"):
        recipe_with({"costs": [0.1, 1.0]}, criterion="entropi")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"criterion": "learned", "thresholds": [0.5, 0.5]}, "threshold"),
        ({"criterion": "max_softmax", "thresholds": [0.5, 0.5, 0.5]}, "threshold"),
    ],
)
def test_a_policy_that_does_not_fit_the_network_is_refused_before_it_trains(
    changes: dict[str, Any], message: str, parts: dict[str, Dataset], tmp_path: Path
) -> None:
    """Not after the first epoch."""
    steps: list[int] = []

    def watch(what: str, done: int, total: int) -> None:
        steps.append(done)

    recipe = recipe_with({"costs": "macs"}, **changes)

    with pytest.raises(InputError, match=message):
        train(recipe, tmp_path, network=Scored, parts=parts, progress=watch)

    assert [] == steps


def test_collapsed_exits_are_told_while_it_trains(parts: dict[str, Dataset], tmp_path: Path) -> None:
    """A line of the progress, and in the history."""
    told: list[str] = []
    recipe = recipe_with({"costs": "macs"}, criterion="learned", thresholds=[0.0])

    trained = train(recipe, tmp_path, network=Scored, parts=parts, progress=lambda what, done, total: told.append(what))

    assert "phase joint, epoch 1: exits have collapsed: 100.00 % of the calibration samples leave at exit 1" in told
    assert [1, 1, 1] == [record["early_exit"]["one_exit"] for record in trained.metrics["history"]["joint"]]
