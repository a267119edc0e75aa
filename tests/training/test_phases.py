"""Phases train what they name, start where they say, stop when nothing improves, and resume bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgeexit.data import Dataset
from edgeexit.errors import InputError
from edgeexit.training import TrainingRecipe, train
from edgeexit.training.recipe import parse_recipe


class Small(nn.Module):
    """A backbone with batch norm and dropout, and two heads."""

    def __init__(self, exits: bool = True) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))
        self.heads = nn.ModuleList([nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 3))] if exits else [])
        self.last = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Both exits, or the last one."""
        features = self.backbone(x)
        return [*(head(features) for head in self.heads), self.last(features.relu())]


@pytest.fixture(scope="module")
def parts() -> dict[str, Dataset]:
    """Three classes that a line tells apart, more or less."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(96, 6, generator=generator)
    y = (x[:, :3] + 0.3 * torch.randn(96, 3, generator=generator)).argmax(-1)
    whole = Dataset("points", x.numpy(), y.numpy())
    return {
        "train": whole.take(slice(0, 64)),
        "calibration": whole.take(slice(64, 80)),
        "test": whole.take(slice(80, 96)),
    }


def recipe_with(**phases: Mapping[str, Any]) -> TrainingRecipe:
    """A recipe of these phases, four epochs each, over the network that the caller gives."""
    raw = {"schema": "edgeexit.recipe/2", "name": "r", "about": "a", "data": "points", "network": "mine"}
    whole = {name: {"epochs": 4, "batch": 16, **phase} for name, phase in phases.items()}
    return parse_recipe({**raw, "phases": whole}, where="r.toml")


def states(
    recipe: TrainingRecipe, out: Path, parts: Mapping[str, Dataset], **options: Any
) -> dict[str, dict[str, Any]]:
    """The weights at the end of every phase."""
    trained = train(recipe, out, network=Small, parts=parts, **options)
    return {name: dict(module.state_dict()) for name, module in trained.networks.items()}


HEADS = {"start": "whole", "train": ["heads.*"]}
STOP = {"watch": "calibration_loss", "patience": 2, "min_change": 10.0}


def test_a_phase_trains_what_it_names_and_leaves_the_rest_as_it_was(parts: dict[str, Dataset], tmp_path: Path) -> None:
    """Parameters, and the statistics of batch norms, which stay in evaluation mode."""
    found = states(recipe_with(whole={}, heads=HEADS), tmp_path, parts)

    for name, value in found["heads"].items():
        assert name.startswith("heads.") != value.equal(found["whole"][name]), name


class Watched(Small):
    """Notes which of its modules are in training mode when it is trained."""

    seen: list[str]

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Both exits."""
        if torch.is_grad_enabled():
            Watched.seen = [name for name, module in self.named_modules() if module.training]
        return super().forward(x)


def test_what_is_frozen_is_in_evaluation_mode(parts: dict[str, Dataset], tmp_path: Path) -> None:
    """Its dropout too; that of a head, which has no parameters either, drops."""
    train(recipe_with(whole={}, heads=HEADS), tmp_path, network=Watched, parts=parts)

    assert ["", "heads", "heads.0", "heads.0.0", "heads.0.1"] == Watched.seen


def test_what_a_later_network_adds_starts_fresh(parts: dict[str, Dataset], tmp_path: Path) -> None:
    """And what both have starts from the earlier phase's weights, a network without exits included."""
    still = {"optimizer": {"name": "sgd", "rate": 1e-9}, "epochs": 1}
    found = states(recipe_with(plain={"network": {"exits": False}}, joint={"start": "plain", **still}), tmp_path, parts)

    assert set(found["joint"]) - set(found["plain"]) == {"heads.0.1.weight", "heads.0.1.bias"}
    torch.testing.assert_close(found["plain"]["last.weight"], found["joint"]["last.weight"], atol=1e-6, rtol=0)


def test_a_module_is_trained_as_it_is_given(parts: dict[str, Dataset], tmp_path: Path) -> None:
    """Its weights are the start, and the module itself stays unchanged."""
    module = Small()
    before = {name: value.clone() for name, value in module.state_dict().items()}

    trained = train(recipe_with(heads={"train": ["heads.*"]}), tmp_path, network=module, parts=parts)

    assert all(value.equal(before[name]) for name, value in module.state_dict().items())
    assert trained.model is not None
    assert trained.model.state_dict()["last.weight"].equal(before["last.weight"])
    assert not trained.model.state_dict()["heads.0.1.weight"].equal(before["heads.0.1.weight"])


def test_a_phase_stops_when_nothing_improves(parts: dict[str, Dataset], tmp_path: Path) -> None:
    """After `patience` epochs without a change of `min_change`; the first epoch is the best so far."""
    trained = train(recipe_with(whole={"epochs": 30, "stop": STOP}), tmp_path, network=Small, parts=parts)

    assert 3 == len(trained.metrics["history"]["whole"])


def test_the_best_weights_are_kept_on_demand(parts: dict[str, Dataset], tmp_path: Path) -> None:
    """Those after the best epoch: here the first one, so as if there had been one epoch."""
    kept = {"epochs": 30, "stop": {**STOP, "keep_best": True}}

    best = states(recipe_with(whole=kept), tmp_path / "a", parts)["whole"]
    one = states(recipe_with(whole={"epochs": 1}), tmp_path / "b", parts)["whole"]

    assert all(value.equal(one[name]) for name, value in best.items())


class Interrupt:
    """Progress that is interrupted, as by Ctrl-C, at the n-th step."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, what: str, done: int, total: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("steps", [6, 19, 24, 31, 36, 44, 52])
def test_an_interrupted_run_resumed_gives_what_an_uninterrupted_one_gives(
    steps: int, parts: dict[str, Dataset], tmp_path: Path
) -> None:
    """Bit for bit in every phase, with frozen parts, groups, and phases that stop early and keep their best weights."""
    recipe = recipe_with(
        whole={"epochs": 9, "stop": {**STOP, "patience": 3, "keep_best": True}},
        heads=HEADS,
        tuned={"start": "heads", "groups": {"backbone": {"rate": 1e-4, "schedule": {"name": "exponential", "factor": 0.5}}}},
    )  # fmt: skip
    whole = states(recipe, tmp_path / "whole", parts)

    with pytest.raises(KeyboardInterrupt):
        states(recipe, tmp_path / "cut", parts, progress=Interrupt(steps))
    cut = states(recipe, tmp_path / "cut", parts, resume=True)

    for phase, state in whole.items():
        assert all(value.equal(cut[phase][name]) for name, value in state.items()), phase


def test_the_history_has_the_calibration_part_every_few_epochs(parts: dict[str, Dataset], tmp_path: Path) -> None:
    """Accuracy of every exit and the phase's own loss; the last epoch is always evaluated."""
    recipe = replace(recipe_with(whole={}), evaluate_every=3)

    history = train(recipe, tmp_path, network=Small, parts=parts).metrics["history"]["whole"]

    assert [False, False, True, True] == ["calibration_loss" in record for record in history]
    assert 2 == len(history[-1]["calibration_accuracy"])


def test_other_data_or_another_network_is_no_run_to_go_on_with(parts: dict[str, Dataset], tmp_path: Path) -> None:
    """Neither to resume nor to take phases from: what a recipe does not name is known by its content."""
    recipe = recipe_with(whole={}, tuned={"start": "whole"})
    torch.manual_seed(0)
    module = Small()
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "a", network=module, parts=parts, progress=Interrupt(7))
    others = {**parts, "train": parts["train"].take(slice(0, 32))}

    with pytest.raises(InputError, match="was trained with other training data"):
        train(recipe, tmp_path / "a", network=module, parts=others, resume=True)
    with pytest.raises(InputError, match="was trained with another network"):
        train(recipe, tmp_path / "b", network=Small(), parts=parts, earlier=tmp_path / "a")


def test_a_recipe_without_data_or_network_needs_them_given(parts: dict[str, Dataset], tmp_path: Path) -> None:
    """One message each."""
    bare = replace(recipe_with(whole={}), data="", network="")

    with pytest.raises(InputError, match="names no data"):
        train(bare, tmp_path, network=Small)
    with pytest.raises(InputError, match="names no network"):
        train(bare, tmp_path, parts=parts)


def test_phases_that_an_earlier_run_trained_the_same_way_are_taken(parts: dict[str, Dataset], tmp_path: Path) -> None:
    """And only those: another step size, or a start that is no longer the same, is trained."""
    first = recipe_with(whole={}, heads=HEADS, tuned={"start": "heads"})
    train(first, tmp_path / "a", network=Small, parts=parts)
    changed = first.with_phase("heads", batch=8)

    trained = train(changed, tmp_path / "b", network=Small, parts=parts, earlier=tmp_path / "a")

    assert ["heads", "tuned"] == list(trained.metrics["history"])


def test_an_earlier_run_with_nothing_to_take_is_refused_with_what_differs(
    parts: dict[str, Dataset], tmp_path: Path
) -> None:
    """Phase by phase."""
    train(recipe_with(whole={}), tmp_path / "a", network=Small, parts=parts)

    with pytest.raises(InputError, match=r"whole: phases\.whole\.batch was 16 and is 8"):
        train(recipe_with(whole={"batch": 8}), tmp_path / "b", network=Small, parts=parts, earlier=tmp_path / "a")


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        ({"train": ["head.*"]}, r"train names 'head\.\*', and no parameter matches\. Did you mean 'heads'"),
        ({"groups": {"bakbone": {"rate": 0.1}}}, r"groups names 'bakbone'.* Did you mean 'backbone'"),
        ({"groups": {"heads": {}, "heads.0.*": {}}}, r"is in the groups 'heads' and 'heads\.0\.\*'"),
        ({"groups": {"last": {}}, "train": ["heads"]}, r"groups names 'last', and no parameter matches"),
    ],
)
def test_patterns_that_match_nothing_are_answered(
    phase: dict[str, Any], message: str, parts: dict[str, Dataset], tmp_path: Path
) -> None:
    """With the near miss, before anything is trained."""
    with pytest.raises(InputError, match=message):
        train(recipe_with(whole=phase), tmp_path, network=Small, parts=parts)


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ({"a": {"start": "b"}, "b": {}}, "phase 'a' starts from 'b', which comes later: put it before 'a'"),
        ({"a": {"start": "a"}}, "which is itself"),
        ({"plain": {}, "b": {"start": "plian"}}, "which is no phase. Did you mean 'plain'"),
        ({"a": {"train": []}}, "has nothing to train"),
        ({"a": {"epochs": 0}}, "nothing is trained"),
        ({"a/b": {}}, "cannot be named 'a/b'"),
        ({"a": {"role": "model"}, "b": {"role": "model"}}, "phases 'a' and 'b' both have the role 'model'"),
        ({"a": {"optimizer": {"name": "adma"}}}, "no optimizer named 'adma'. Did you mean 'adam'"),
        ({"a": {"optimizer": {"name": "sgd", "momentun": 0.5}}}, "no option 'momentun'. Did you mean 'momentum'"),
        ({"a": {"optimizer": {"name": "sgd", "momentum": 1.5}}}, "momentum must be from 0 to below 1"),
        ({"a": {"schedule": {"name": "exponential"}}}, "needs 'factor'"),
        ({"a": {"schedule": {"name": "steps", "at": "x"}}}, "phase 'a': "),
        ({"a": {"loss": "sums"}}, "no loss named 'sums'. Did you mean 'sum'"),
        ({"a": {"like": "b"}}, "`like` must name a phase"),
    ],
)  # fmt: skip
def test_phases_that_cannot_be_trained_are_refused_when_the_recipe_is_read(
    phases: dict[str, Any], message: str
) -> None:
    """One message, with what to do."""
    with pytest.raises(InputError) as caught:
        recipe_with(**phases)

    assert message in str(caught.value)


def test_options_stand_beside_the_name_of_an_optimizer_and_a_schedule() -> None:
    """In `like` phases and in groups as well; a preset that names another one starts without them."""
    raw = {
        "schema": "edgeexit.recipe/2", "name": "r", "about": "a", "data": "digits", "network": "lenet",
        "phases": {
            "a": {"epochs": 2, "optimizer": {"name": "sgd", "momentum": 0.5}, "schedule": {"name": "steps", "at": [1]}},
            "b": {"like": "a", "groups": {"fc1": {"schedule": {"name": "exponential", "factor": 0.9}}}},
        },
        "presets": {"other": {"phases": {"a": {"optimizer": {"name": "adamw"}}}}},
    }  # fmt: skip

    recipe, other = (parse_recipe(raw, where="r", preset=preset) for preset in (None, "other"))

    assert {"momentum": 0.5} == recipe.phases["a"].optimizer.options == recipe.phases["b"].optimizer.options
    assert {"at": [1]} == recipe.phases["b"].schedule.options
    assert {"factor": 0.9} == recipe.phases["b"].groups["fc1"].schedule.options  # type: ignore[union-attr]
    assert ("adamw", {}) == (other.phases["b"].optimizer.name, dict(other.phases["b"].optimizer.options))


@pytest.mark.parametrize(
    "change",
    [
        {"presets": [1]},
        {"presets": "quick"},
        {"phases": [{"epochs": 1}]},
        {"phases": {"a": 3}},
        {"phases": {"a": {"epochs": 1, "optimizer": {"name": "sgd", "options": 3, "momentum": 0.5}}}},
        {"phases": {"a": {"epochs": 1, "groups": {"x": 3}}}},
        {"phases": {"a": {"epochs": 1, "like": ["a"]}}},
    ],
)
def test_values_of_another_kind_are_one_message(change: dict[str, Any]) -> None:
    """Wherever a table could be: never an error of the language."""
    raw = {"schema": "edgeexit.recipe/2", "name": "r", "about": "a", "phases": {"a": {"epochs": 1}}}

    with pytest.raises(InputError, match=r"r\.toml"):
        parse_recipe({**raw, **change}, where="r.toml", preset="quick" if "presets" in change else None)
