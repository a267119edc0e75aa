"""Phases of an earlier run that need not be trained again, because they would give the same weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from edgeexit.errors import InputError
from edgeexit.nets.weights import load_weights
from edgeexit.training.checkpoint import Checkpoint, State
from edgeexit.training.phase_networks import PhaseNetworks
from edgeexit.training.recipe import TrainingRecipe
from edgeexit.training.run_folder import CHECKPOINT, check_inputs, list_differences, read_run_recipe

_SHARED = ("data", "network", "seed", "precision", "augment")
"""What a phase's weights depend on besides the phase itself and its network's options."""


def take_phases(networks: PhaseNetworks, run: Path, inputs: Mapping[str, str]) -> dict[str, State]:
    """The weights of the phases that an earlier run trained as this recipe would.

    Args:
        networks: of this recipe's phases.
        run: folder of the earlier run.
        inputs: digests of data and network, as checkpoints keep them.

    Raises:
        InputError: it is no run, had other data or another network, or none of its phases is the same; with what differs.
    """
    old = read_run_recipe(run)
    kept = _load_checkpoint(run)
    if kept is not None:
        check_inputs(kept.inputs, inputs, run)
    found: dict[str, State] = {}
    reasons: dict[str, str] = {}
    for name in networks.recipe.phases:
        reasons[name] = _explain_difference(networks, name, old)
        state = None if reasons[name] else _read_weights(networks, name, run, kept)
        if state:
            found[name] = state
        else:
            reasons[name] = reasons[name] or "it was not finished"
    if not found:
        told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        msg = f"no phase of {run} is the same as in this recipe: {told}"
        raise InputError(msg)
    return found


def take_plain_networks(networks: PhaseNetworks, path: Path) -> dict[str, State]:
    """Weights of networks without exits by phase: of a file those of the first such phase; of a run's folder those of all.

    Raises:
        InputError: the recipe has no such phase, the weights do not fit, or the run trained one of them in another way.
    """
    recipe = networks.recipe
    plain = [name for name in recipe.phases if recipe.list_network_options(name).get("exits") is False]
    if not plain:
        msg = (
            f"recipe {recipe.name!r} has no phase of a network without exits, so that a plain network has no use in it"
        )
        raise InputError(msg)
    if not path.is_dir():
        return {plain[0]: _load(networks, plain[0], path)}
    old, kept, found = read_run_recipe(path), _load_checkpoint(path), {}
    for name in plain:
        state = _read_weights(networks, name, path, kept)
        changed = _explain_difference(networks, name, old)
        if changed and (state or name == plain[0]):
            msg = f"the plain networks of {path} were trained with another recipe: {changed}; use the same, or name one file of weights"
            raise InputError(msg)
        if state:
            found[name] = state
    return found or {plain[0]: _load(networks, plain[0], path / f"{plain[0]}.pt")}


def _load_checkpoint(run: Path) -> Checkpoint | None:
    """A run's checkpoint; None where it has none."""
    path = run / CHECKPOINT
    return Checkpoint.load(path) if path.exists() else None


def _read_weights(networks: PhaseNetworks, name: str, run: Path, kept: Checkpoint | None) -> State | None:
    """The weights at the end of a phase; None where the run did not finish it."""
    if (run / f"{name}.pt").exists():
        return _load(networks, name, run / f"{name}.pt")
    return None if kept is None else kept.finished.get(name)


def _load(networks: PhaseNetworks, name: str, path: Path) -> State:
    module = networks.build(name)
    load_weights(module, path)
    return dict(module.state_dict())


def _explain_difference(networks: PhaseNetworks, name: str, old: TrainingRecipe) -> str:
    """What makes a phase give other weights than the earlier run's phase of that name; empty where nothing does."""
    new = networks.recipe
    if name not in old.phases:
        return "there is no such phase"
    was, now = _list_causes(old, name), _list_causes(new, name)
    if changed := list_differences(was, now):
        return changed
    if not _is_same_network(networks, name, old):
        options = [recipe.list_network_options(name) for recipe in (old, new)]
        return list_differences({"options": options[0]}, {"options": options[1]}) or "its network is another"
    start = new.phases[name].start
    return _explain_difference(networks, start, old) if start in new.phases else ""


def _list_causes(recipe: TrainingRecipe, name: str) -> dict[str, Any]:
    whole, phase = asdict(recipe), asdict(recipe.phases[name])
    del phase["role"], phase["network"]
    return {**{key: whole[key] for key in _SHARED}, "phases": {name: phase}}


def _is_same_network(networks: PhaseNetworks, name: str, old: TrainingRecipe) -> bool:
    """By its options; where these differ, such as those of exits that it has not, by what they make."""
    if networks.recipe.list_network_options(name) == old.list_network_options(name):
        return True
    (text, weights), (old_text, old_weights) = networks.describe(name), networks.with_recipe(old).describe(name)
    return text == old_text and _are_equal(weights, old_weights)


def _are_equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(v.equal(b[k]) for k, v in a.items())
