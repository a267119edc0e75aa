"""From a trained classifier without exits to a measured gain, or to the statement that there is none."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import edgeexit
from edgeexit.adoption import AdoptionPlan, AdoptionResult, adopt_exits
from edgeexit.data import ModelInfo, TrainingParts, load_data, open_training_parts
from edgeexit.errors import InputError
from edgeexit.runtime import CalibrationWarning
from edgeexit.training import make_head_recipe
from tests.training.test_run import Stop

SHORT = """
description = "short"
processes = 1
seconds = 0.1
warmup_s = 0.05
samples = 100
trace = 64
cooldown_s = 0.0
paced_s = 0.0
cold = 0
energy_trials = 0
cache = false
"""


@pytest.fixture(scope="module")
def parts() -> TrainingParts:
    return open_training_parts(load_data("digits:calibration"), ModelInfo("net", ()))


@pytest.fixture(scope="module")
def classifier(parts: TrainingParts) -> nn.Module:
    return train_classifier(parts)


def train_classifier(parts: TrainingParts) -> nn.Module:
    """A few layers, trained for a moment."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))
    (places,) = ([np.arange(len(parts.train))],)
    x, y = map(torch.from_numpy, next(iter(parts.train.batches(places))))
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(60):
        optimizer.zero_grad()
        torch.autograd.backward(cross_entropy(net(x), y))
        optimizer.step()
    return net.eval()


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> AdoptionPlan:
    preset = tmp_path_factory.mktemp("suite") / "short.toml"
    preset.write_text(SHORT)
    return AdoptionPlan(
        target=edgeexit.calibration.parse_target("drop<=5"),
        after=("1", "3"),
        head="pool",
        training=make_head_recipe(epochs=2),
        preset=str(preset),
    )


@pytest.fixture(scope="module")
def adopted(
    classifier: nn.Module, parts: TrainingParts, plan: AdoptionPlan, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, AdoptionResult]:
    """The folder of an adoption, and its result."""
    folder = tmp_path_factory.mktemp("adopted") / "run"
    return folder, adopt_exits(classifier, parts, folder, plan)


def test_exits_are_added_trained_and_measured_beside_the_network_without_them(
    classifier: nn.Module, parts: TrainingParts, adopted: tuple[Path, AdoptionResult]
) -> None:
    """The result says which data were used for what; the bundle that is left runs, with the network's own answers at its end."""
    folder, result = adopted

    assert [e.place for e in result.exits] == ["1", "3"]
    assert {p.purpose for p in result.data} >= {
        "training of the heads",
        "choice of the thresholds",
        "final figures only",
    }
    assert result.evaluation is not None
    assert result.plain_accuracy == result.evaluation.backbone_accuracy
    assert json.loads((folder / "adoption.json").read_text())["schema"] == "edgeexit.adoption/1"
    x = parts.test.take(np.arange(1)).x  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)  # so few samples may leave the target undecided
        runner = edgeexit.load(folder / "network.eexit")
    with runner, torch.no_grad():
        got = runner.forced(x, exit=3).logits
    np.testing.assert_allclose(
        np.ravel(got), classifier(torch.from_numpy(x)).detach().numpy().ravel(), rtol=1e-3, atol=1e-4
    )


def test_an_adoption_leaves_the_classifier_as_it_was(
    classifier: nn.Module, parts: TrainingParts, adopted: tuple[Path, AdoptionResult]
) -> None:
    """Bit for bit: it has the weights of one trained in the same way that no exits were added to."""
    assert adopted
    untouched = train_classifier(parts).state_dict()
    assert all(torch.equal(value, untouched[name]) for name, value in classifier.state_dict().items())


def test_an_interrupted_adoption_goes_on_with_the_same_heads(
    classifier: nn.Module,
    parts: TrainingParts,
    plan: AdoptionPlan,
    adopted: tuple[Path, AdoptionResult],
    tmp_path: Path,
) -> None:
    """Ctrl-C while heads train: what was trained is kept, and the weights get the same bits."""
    with pytest.raises(KeyboardInterrupt):
        adopt_exits(classifier, parts, tmp_path / "part", plan, progress=Stop(6))
    with pytest.raises(InputError, match="already holds a run"):
        adopt_exits(classifier, parts, tmp_path / "part", plan)

    adopt_exits(classifier, parts, tmp_path / "part", plan, resume=True)

    whole, part = (torch.load(run / "heads.pt", weights_only=True) for run in (adopted[0], tmp_path / "part"))
    assert all(torch.equal(whole[name], part[name]) for name in whole)


def test_places_are_searched_where_none_are_named(
    classifier: nn.Module, parts: TrainingParts, plan: AdoptionPlan, tmp_path: Path
) -> None:
    """Every candidate's figures are in the result; those that were chosen became exits, and where none is, that is what it says."""
    result = adopt_exits(classifier, parts, tmp_path / "run", replace(plan, after=(), head="auto", place_seconds=0.2))

    assert {t.head for t in result.tried} == {"pool", "reduce"}
    assert [t.place for t in result.tried if t.chosen] == [e.place for e in result.exits]
    assert "choice of the places" in {p.purpose for p in result.data}
    assert (result.evaluation is None) == (not result.exits)
