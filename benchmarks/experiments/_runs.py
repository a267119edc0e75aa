"""A finished run of `edgeexit train`, read back: its recipe and its networks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

import edgeexit
from edgeexit.exporter import export
from edgeexit.nets import NETS, build
from edgeexit.nets.weights import load_weights
from edgeexit.runtime import CalibrationWarning, Runner
from edgeexit.training import TrainingRecipe
from edgeexit.training.run_folder import read_run_recipe


def load_joint(run: Path) -> torch.nn.Module:
    """The network of a run with all its exits, as it was trained."""
    return _load_network(run, "model")


def load_plain(run: Path) -> torch.nn.Module:
    """The plain network: the one that trained as long as the joint one where there is one."""
    return _load_network(run, "plain")


def _load_network(run: Path, role: str) -> torch.nn.Module:
    recipe = read_run_recipe(run)
    phase = recipe.roles[role]
    network = build(recipe.network, **recipe.list_network_options(phase))
    load_weights(network, run / f"{phase}.pt")
    return network.eval()


def make_example(recipe: TrainingRecipe) -> torch.Tensor:
    """One input of zeros, of the shape that the network takes."""
    return torch.zeros(1, *NETS[recipe.network].input_shape)


def open_network(network: torch.nn.Module, example: torch.Tensor, folder: Path, criterion: str = "entropy") -> Runner:
    """Export the network into the folder, compile it and open the bundle."""
    return open_under_criteria(network, example, folder, [criterion])[criterion]


def open_under_criteria(
    network: torch.nn.Module, example: torch.Tensor, folder: Path, criteria: Sequence[str]
) -> dict[str, Runner]:
    """Export the network into the folder, compile it under each criterion and open the bundles."""
    folder.mkdir(exist_ok=True)
    model = export(network, example, folder / "model.onnx").path
    bundles = {c: edgeexit.compile(model, folder / f"{c}.eexit", criterion=c) for c in criteria}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        return {c: edgeexit.load(bundle.path) for c, bundle in bundles.items()}
