"""Recipe `add-exits` trains exits for a user's classifier on the user's own images."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from edgeexit.data import ModelInfo, PartOptions, TrainingParts, open_training_parts, read_preprocess
from edgeexit.errors import InputError
from edgeexit.training import TrainingRecipe, load_recipe, train
from edgeexit.training.added_exits import make_exit_source

COLOURS = {"blue": (40, 40, 200), "green": (40, 200, 40), "red": (200, 40, 40)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noisy images of three colours, of several sizes, as JPEG and PNG."""
    root = tmp_path_factory.mktemp("photos")
    for k, (name, colour) in enumerate(COLOURS.items()):
        (root / name).mkdir()
        for i in range(20):
            rng = np.random.default_rng([k, i])
            noisy = np.clip(np.array(colour) + rng.normal(0, 60, (20 + i % 3, 24, 3)), 0, 255)
            Image.fromarray(noisy.astype(np.uint8)).save(root / name / f"{i}.{'jpg' if i % 2 else 'png'}")
    return root


@pytest.fixture(scope="module")
def parts(folder: Path) -> TrainingParts:
    """Sixteen by sixteen pixels, a fifth each for calibration and test."""
    model = ModelInfo("net", (), preprocess=read_preprocess("resize=16x16,mean=0.5,std=0.25"))
    return open_training_parts(folder, model, PartOptions(shares=(0.6, 0.2, 0.2)))


@pytest.fixture
def classifier() -> nn.Module:
    """A classifier without exits, with batch norm, whose statistics training would change."""
    torch.manual_seed(0)
    steps = [
        nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in ((3, 8), (8, 8), (8, 8))
    ]
    return nn.Sequential(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).eval()


def shorten(recipe: TrainingRecipe, epochs: int = 2) -> TrainingRecipe:
    return replace(recipe.with_epochs(epochs), name="short")


def test_the_users_network_stays_as_it_is(classifier: nn.Module, parts: TrainingParts, tmp_path: Path) -> None:
    """Only the heads learn; its own answers are the same bits."""
    before = copy.deepcopy(classifier.state_dict())

    result = train(
        shorten(load_recipe("add-exits"), 15),
        tmp_path,
        network=make_exit_source(classifier, parts.train.shape),
        parts=parts.by_name,
    )

    assert result.model is not None
    state = result.model.state_dict()
    assert all(torch.equal(value, state[f"backbone.{name}"]) for name, value in before.items())
    x = torch.rand(4, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(classifier(x), result.model(x)[-1])
    accuracy = result.metrics["results"]["heads"]["test_accuracy"]
    assert 3 == len(accuracy)


@pytest.mark.parametrize("preset", ["labels", "flip", "fine-tune"])
def test_presets_train(preset: str, classifier: nn.Module, parts: TrainingParts, tmp_path: Path) -> None:
    """The network learns with fine-tune only."""
    recipe = shorten(load_recipe("add-exits", preset=preset), 1)
    before = copy.deepcopy(classifier.state_dict())

    result = train(recipe, tmp_path, network=make_exit_source(classifier, parts.train.shape), parts=parts.by_name)

    assert result.model is not None
    state = result.model.state_dict()
    assert (preset != "fine-tune") == all(torch.equal(v, state[f"backbone.{name}"]) for name, v in before.items())


def test_a_run_on_a_folder_is_resumed_with_the_same_bits(
    classifier: nn.Module, parts: TrainingParts, tmp_path: Path
) -> None:
    """Interrupted in the second epoch, it goes on with the batches that were to come."""
    recipe = shorten(load_recipe("add-exits", preset="flip"), 3)
    source = make_exit_source(classifier, parts.train.shape)
    left = [2]

    def stop(what: str, _done: int, _total: int) -> None:
        left[0] -= what.startswith("train")
        if left[0] == 0:
            raise KeyboardInterrupt

    whole = train(recipe, tmp_path / "whole", network=source, parts=parts.by_name)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "cut", network=source, parts=parts.by_name, progress=stop)
    resumed = train(recipe, tmp_path / "cut", network=source, parts=parts.by_name, resume=True)

    assert whole.model is not None
    assert resumed.model is not None
    torch.testing.assert_close(whole.model.state_dict(), resumed.model.state_dict(), atol=0, rtol=0)


def test_options_of_the_recipe_are_those_of_add_exits(classifier: nn.Module) -> None:
    """Another one is named."""
    with pytest.raises(InputError, match=r"no option 'counts'.*count"):
        make_exit_source(classifier, (3, 16, 16))(counts=1)
