"""Recipes of schema 1 are read for ever, and train what they trained."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgeexit.data import Dataset, load_data
from edgeexit.errors import InputError
from edgeexit.nets import build
from edgeexit.nets.outputs import run_exits
from edgeexit.training import load_recipe, train
from edgeexit.training.augment import augment_images
from edgeexit.training.checkpoint import Checkpoint
from edgeexit.training.determinism import derive_seed, seed_torch
from edgeexit.training.optimizers import make_optimizer
from edgeexit.training.recipe import TrainingRecipe, parse_recipe
from edgeexit.training.schedules import make_schedule

FIRST = Path(__file__).parent.parent / "old_files" / "recipes-1"
EPOCHS = 2


def raw(**changes: Any) -> dict[str, Any]:
    """A small recipe of schema 1."""
    phases = {"plain": {"epochs": 1}, "joint": {"epochs": 2}}
    return {
        "schema": "edgeexit.recipe/1",
        "name": "r",
        "about": "a",
        "data": "digits",
        "network": "lenet",
        **phases,
        **changes,
    }


def list_presets(path: Path) -> list[str | None]:
    """None, every preset of a file, and all of them one after the other."""
    names = re.findall(r"^\[presets\.([\w-]+)\]", path.read_text(), re.MULTILINE)
    return [None, *names, ",".join(names) or None]


@pytest.mark.parametrize("path", sorted(FIRST.glob("*.toml")), ids=lambda p: p.stem)
def test_the_shipped_recipes_are_those_of_schema_1(path: Path) -> None:
    """In every preset, phase by phase; so their results are the same. Costs that were typed are counted now."""
    for preset in list_presets(path):
        old, new = load_recipe(path, preset=preset), load_recipe(path.stem, preset=preset)
        if "costs" in old.phases["joint"].options:
            old = old.with_phase("joint", options={**old.phases["joint"].options, "costs": "macs"})

        assert list(old.phases) == list(new.phases)
        assert old.sha256 == new.sha256


class Restated:
    """What a phase of schema 1 does, written out: Adam, half a cosine, seeds by name and epoch."""

    def __init__(self, recipe: TrainingRecipe, train_set: Dataset, rate: float, batch: int) -> None:
        self.recipe, self.rate, self.batch = recipe, rate, batch
        self.x, self.y = torch.from_numpy(train_set.x), torch.from_numpy(train_set.y)

    def build(self, name: str, *, exits: bool, start: nn.Module | None = None) -> nn.Module:
        """A network with the phase's fresh weights, over them those of another."""
        with seed_torch(derive_seed(self.recipe.seed, name, "weights")):
            module = build("lenet", exits=exits)
        if start is not None:
            module.load_state_dict(start.state_dict(), strict=False)
        return module

    def fit(self, name: str, module: nn.Module, weights: list[float]) -> nn.Module:
        """Both epochs of a phase."""
        optimizer = torch.optim.Adam(module.parameters(), self.rate, betas=(0.9, 0.999))
        steps = math.ceil(len(self.x) / self.batch)
        for epoch in range(EPOCHS):
            numbers = torch.Generator().manual_seed(derive_seed(self.recipe.seed, name, epoch))
            order = torch.randperm(len(self.x), generator=numbers)
            with seed_torch(derive_seed(self.recipe.seed, name, epoch, "network")):
                module.train()
                for i in range(steps):
                    optimizer.param_groups[0]["lr"] = (
                        self.rate * (1 + math.cos(math.pi * ((epoch + i / steps) / EPOCHS))) / 2
                    )
                    self._step(module, optimizer, order[i * self.batch : (i + 1) * self.batch], numbers, weights)
        return module

    def _step(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        where: torch.Tensor,
        numbers: torch.Generator,
        weights: list[float],
    ) -> None:
        optimizer.zero_grad(set_to_none=True)
        exits = run_exits(module, augment_images(self.x[where], self.recipe.augment, numbers))
        terms = [w * nn.functional.cross_entropy(e.logits, self.y[where]) for w, e in zip(weights, exits, strict=True)]
        torch.stack(terms).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def test_a_file_of_schema_1_trains_by_its_steps(tmp_path: Path) -> None:
    """Plain, joint and control of the demo's recipe, bit for bit what the steps give when they are written out."""
    whole = load_data("digits:calibration")
    parts = {
        "train": whole.take(slice(0, 150)),
        "calibration": whole.take(slice(160, 200)),
        "test": whole.take(slice(200, 240)),
    }
    recipe = load_recipe(FIRST / "lenet-digits.toml").with_epochs(EPOCHS)

    trained = train(recipe, tmp_path, parts=parts).networks

    restated = Restated(recipe, parts["train"], 2e-3, 64)
    plain = restated.fit("plain", restated.build("plain", exits=False), [1.0])
    joint = restated.fit("joint", restated.build("joint", exits=True, start=plain), [1.0, 0.3])
    control = restated.fit("control", restated.build("control", exits=False, start=plain), [1.0])
    for name, module in {"plain": plain, "joint": joint, "control": control}.items():
        assert all(v.equal(trained[name].state_dict()[k]) for k, v in module.state_dict().items()), name


def test_sgd_of_schema_1_has_nesterovs_momentum_in_its_first_beta() -> None:
    """And its steps are a tenth and a hundredth after half and three quarters, to the last digit."""
    phase = parse_recipe(
        raw(joint={"epochs": 8, "optimizer": "sgd", "betas": [0.7, 0.1], "schedule": "steps"}), where="r"
    ).phases["joint"]

    group = make_optimizer(nn.Linear(1, 1), phase).param_groups[0]
    assert (0.7, True) == (group["momentum"], group["nesterov"])
    assert [1.0, 1.0, 0.1, 0.1, 0.01] == [make_schedule(phase.schedule)(epoch, 8) for epoch in (0, 3.9, 4, 5.9, 6)]


@pytest.mark.parametrize(
    ("changes", "phases", "roles"),
    [
        ({}, {"plain": "fresh", "joint": "plain"}, {"model": "joint", "plain": "plain"}),
        (
            {"control": True},
            {"plain": "fresh", "joint": "plain", "control": "plain"},
            {"model": "joint", "plain": "control"},
        ),
        ({"start": "scratch"}, {"plain": "fresh", "joint": "fresh"}, {"model": "joint", "plain": "plain"}),
        ({"start": "scratch", "plain": {"epochs": 0}}, {"joint": "fresh"}, {"model": "joint"}),
        ({"plain": {"epochs": 0}}, {"plain": "fresh", "joint": "plain"}, {"model": "joint"}),
        ({"joint": {"epochs": 0}, "control": True}, {"plain": "fresh"}, {"plain": "plain"}),
    ],
)
def test_its_two_phases_and_the_control_become_phases(
    changes: dict[str, Any], phases: dict[str, str], roles: dict[str, str]
) -> None:
    """Each with its start. A network that is not trained has no role: it is never exported."""
    recipe = parse_recipe(raw(**changes), where="r")

    assert phases == {name: phase.start for name, phase in recipe.phases.items()}
    assert roles == recipe.roles


def test_an_untrained_plain_network_is_never_written(tmp_path: Path) -> None:
    """Neither as weights nor in the results, where the recipe has no epochs for it."""
    whole = load_data("digits:calibration").take(slice(0, 60))
    parts = dict.fromkeys(("train", "calibration", "test"), whole)

    trained = train(parse_recipe(raw(plain={"epochs": 0}, joint={"epochs": 1}), where="r"), tmp_path, parts=parts)

    assert trained.plain is None
    assert ["joint"] == list(trained.metrics["results"])
    assert not (tmp_path / "plain.pt").exists()


def test_its_faults_are_told_in_its_own_words() -> None:
    """Not in those of the phases that it would become."""
    with pytest.raises(InputError, match=r"plain\.rate must be from .* not -1"):
        parse_recipe(raw(plain={"epochs": 1, "rate": -1}), where="r")


def test_a_run_that_an_earlier_version_began_goes_on(tmp_path: Path) -> None:
    """Its recipe.json has no schema, and its checkpoint the digest of that recipe."""
    whole = load_data("digits:calibration").take(slice(0, 60))
    parts = dict.fromkeys(("train", "calibration", "test"), whole)
    recipe = parse_recipe(raw(), where="r")
    (tmp_path / "recipe.json").write_text(json.dumps({k: v for k, v in raw().items() if k != "schema"}))
    Checkpoint("the digest of another form").save(tmp_path / "checkpoint.pt")

    trained = train(recipe, tmp_path, parts=parts, resume=True)

    assert {"plain", "joint"} == set(trained.networks)
