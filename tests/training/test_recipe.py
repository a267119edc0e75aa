"""Recipes are read into frozen values; every fault of a file comes in one message."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from edgeexit.data import SETS
from edgeexit.errors import InputError
from edgeexit.nets import build
from edgeexit.training import load_recipe
from edgeexit.training.augment import Augment
from edgeexit.training.recipe import RECIPES, parse_recipe

SHIPPED = sorted(p.stem for p in RECIPES.glob("*.toml"))


def raw(**changes: Any) -> dict[str, Any]:
    """A small valid recipe, as TOML gives it."""
    base = {
        "schema": "edgeexit.recipe/1",
        "name": "r",
        "about": "a",
        "data": "digits",
        "network": "lenet",
        "plain": {"epochs": 1},
        "joint": {"epochs": 2, "options": {"weights": [1.0, 0.3]}},
    }
    return {**base, **changes}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_names_what_exists(name: str) -> None:
    """Its data, and its network with the options of every phase, in every preset; where the user brings both, neither."""
    presets = [None, *_presets(name), ",".join(_presets(name)) or None]
    for preset in presets:
        recipe = load_recipe(name, preset=preset)

        assert recipe.roles["model"] in recipe.phases
        if recipe.data:
            assert recipe.data in SETS
            for phase in recipe.phases:
                build(recipe.network, **recipe.list_network_options(phase))


def _presets(name: str) -> list[str]:
    return re.findall(r"^\[presets\.([\w-]+)", (RECIPES / f"{name}.toml").read_text(), re.MULTILINE)


def test_a_preset_with_another_loss_does_not_inherit_the_options_of_the_first() -> None:
    """They are options of the loss, not of the phase; what else the phase says stays."""
    recipe = parse_recipe(raw(presets={"taught": {"joint": {"loss": "distill"}}}), where="r.toml", preset="taught")

    joint = recipe.phases["joint"]
    assert ("distill", {}, 2) == (joint.loss, dict(joint.options), joint.epochs)


def test_a_path_is_a_recipe_too(tmp_path: Path) -> None:
    """Shipped recipes are files to copy and change."""
    text = (RECIPES / "lenet-digits.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace("seed = 2016", "seed = 7"))

    assert 7 == load_recipe(tmp_path / "mine.toml").seed


def test_all_faults_come_at_once_with_near_misses() -> None:
    """One message that a person can act on."""
    bad = raw(sede=1, plain={"epohcs": 3, "rate": -1, "schedule": "cosin"}, joint={"epochs": True}, augment={"flip": 1})
    del bad["about"]

    with pytest.raises(InputError) as caught:
        parse_recipe(bad, where="bad.toml")

    message = str(caught.value)
    for part in (
        "bad.toml has 8 faults: ",
        "sede is unknown. Did you mean 'seed'?",
        "plain.epohcs is unknown. Did you mean 'epochs'?",
        "plain.epochs is missing",
        "about is missing",
        "plain.rate must be from 1e-09 to 10, not -1",
        "plain.schedule must be 'constant' or 'cosine' or 'steps', not \"cosin\". Did you mean 'cosine'?",
        "joint.epochs must be a whole number, not true",
        "augment.flip must be true or false, not 1",
    ):
        assert part in message


def test_a_newer_schema_is_refused_with_the_remedy() -> None:
    """Not read as if it were this one."""
    with pytest.raises(InputError, match="written by a newer edgeexit"):
        parse_recipe(raw(schema="edgeexit.recipe/3"), where="r.toml")


def test_presets_are_put_on_in_turn() -> None:
    """The light exits, trained quickly."""
    recipe = load_recipe("alexnet-cifar10", preset="light,quick")

    assert ("light", "bfloat16") == (recipe.options["branches"], recipe.precision)
    assert 40 >= sum(phase.epochs for phase in recipe.phases.values())


@pytest.mark.parametrize("name", ["lenet-mnist", "alexnet-cifar10", "resnet-cifar10"])
def test_preset_paper_trains_as_branchynet_prints(name: str) -> None:
    """Section IV: Adam, a constant step size of 0.001, decay rates 0.99 and 0.999, from the plain network's weights; no augmentation."""
    recipe = load_recipe(name, preset="paper")

    joint = recipe.phases["joint"]
    assert ("constant", 1e-3, [0.99, 0.999]) == (
        joint.schedule.name,
        joint.optimizer.rate,
        joint.optimizer.options["betas"],
    )
    assert ("plain", Augment()) == (joint.start, recipe.augment)
    assert {"model": "joint", "plain": "plain"} == recipe.roles


def test_a_preset_replaces_values_table_by_table() -> None:
    """What it does not name stays."""
    quick = {"quick": {"plain": {"epochs": 9}, "seed": 3}}

    recipe = parse_recipe(raw(presets=quick, plain={"epochs": 1, "batch": 7}), where="r", preset="quick")

    assert (9, 7, 3) == (recipe.phases["plain"].epochs, recipe.phases["plain"].batch, recipe.seed)


@pytest.mark.parametrize(
    ("spec", "hint"), [("lenet-mnits", "Did you mean 'lenet-mnist'"), ("none.toml", "cannot read none.toml")]
)
def test_a_recipe_that_is_not_there_is_answered(spec: str, hint: str) -> None:
    """With the near miss or the path."""
    with pytest.raises(InputError, match=hint):
        load_recipe(spec)


def test_a_preset_that_is_not_there_is_answered() -> None:
    """With those that are."""
    with pytest.raises(InputError, match=r"no preset 'quik'\. Did you mean 'quick'"):
        load_recipe("lenet-mnist", preset="quik")


def test_a_file_that_is_no_toml_is_one_message(tmp_path: Path) -> None:
    """With the place that the parser names."""
    (tmp_path / "bad.toml").write_text("plain = [")

    with pytest.raises(InputError, match="is not a TOML file"):
        load_recipe(tmp_path / "bad.toml")


def test_the_hash_sees_everything_that_the_result_depends_on() -> None:
    """A run is resumed only by the recipe that began it."""
    base = parse_recipe(raw(), where="r").sha256

    assert base == parse_recipe(raw(), where="elsewhere").sha256
    assert base != parse_recipe(raw(seed=1), where="r").sha256
    assert base != parse_recipe(raw(plain={"epochs": 1, "rate": 0.5}), where="r").sha256


def test_epochs_can_be_set_for_all_phases_that_there_are() -> None:
    """A phase that is left out stays out."""
    recipe = parse_recipe(raw(plain={"epochs": 0}), where="r").with_epochs(5)

    assert {"plain": 0, "joint": 5} == {name: phase.epochs for name, phase in recipe.phases.items()}
