"""A finished run of `edgeexit train`, read back: its recipe and its networks."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch

import edgeexit
from edgeexit.errors import InputError
from edgeexit.exporter import export
from edgeexit.nets import NETS, build
from edgeexit.nets.weights import load_weights
from edgeexit.runtime import CalibrationWarning, Runner
from edgeexit.training import TrainingRecipe
from edgeexit.training.recipe import parse_recipe


def recipe_of(run: Path) -> TrainingRecipe:
    """The recipe that the run carried out.

    Raises:
        InputError: the folder is not one of a run.
    """
    try:
        raw = json.loads((run / "recipe.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{run} is not a run of edgeexit train: {error}"
        raise InputError(msg) from error
    return parse_recipe({"schema": "edgeexit.recipe/1", **raw}, where=str(run / "recipe.json"))


def joint_of(run: Path) -> torch.nn.Module:
    """The network with every exit."""
    recipe = recipe_of(run)
    network = build(recipe.network, **recipe.options)
    load_weights(network, run / "joint.pt")
    return network.eval()


def plain_of(run: Path) -> torch.nn.Module:
    """The plain network: the one that trained as long as the joint one where there is one."""
    recipe = recipe_of(run)
    network = build(recipe.network, **recipe.options, exits=False)
    longest = run / "control.pt"
    load_weights(network, longest if longest.exists() else run / "plain.pt")
    return network.eval()


def example_of(recipe: TrainingRecipe) -> torch.Tensor:
    """One input of zeros."""
    return torch.zeros(1, *NETS[recipe.network].input_shape)


def opened(network: torch.nn.Module, example: torch.Tensor, folder: Path, criterion: str = "entropy") -> Runner:
    """The network exported into the folder, compiled and opened."""
    folder.mkdir(exist_ok=True)
    export(network, example, folder / "model.onnx")
    bundle = edgeexit.compile(folder / "model.onnx", folder / "model.eexit", criterion=criterion)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        return edgeexit.load(bundle.path)
