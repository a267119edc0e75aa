"""Recipes: what to train, on what, how long; TOML files read into frozen values, every fault of a file in one message.

A recipe names its data and network and has two phases: `plain` trains the network without its exits, `joint` trains all exits from
those weights (BranchyNet, sections III-B and IV). `[presets.<name>]` holds tables that replace values of the file, so that one file
is both the paper's schedule and a quick one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from edgeexit.errors import InputError, did_you_mean
from edgeexit.training.augment import Augment
from edgeexit.util.documents import check_schema, parse_document, within
from edgeexit.util.resources import read_toml

_SCHEMA = 1
RECIPES = Path(__file__).resolve().parent / "recipes"


@dataclass(frozen=True)
class TrainingPhase:
    """One run of the optimiser over the training data.

    Attributes:
        epochs: passes over the training part; 0 leaves the phase out.
        batch: samples per step.
        rate: step size of the optimiser at its highest.
        schedule: `constant`, `cosine` (to zero at the last step), or `steps` (a tenth after half and again after three quarters).
        warmup: epochs over which the step size rises from zero.
        optimizer: `adam`, `adamw` or `sgd` (with Nesterov momentum betas[0]).
        betas: decay rates of Adam's moment estimates.
        weight_decay: weight decay of the optimiser.
        loss: name in `edgeexit.training.losses.LOSSES`; joint phase only.
        options: options of the loss.
    """

    epochs: int = field(metadata=within(0))
    batch: int = field(default=512, metadata=within(1))
    rate: float = field(default=1e-3, metadata=within(1e-9, 10))
    schedule: Literal["constant", "cosine", "steps"] = "constant"
    warmup: int = field(default=0, metadata=within(0))
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    betas: tuple[float, float] = field(default=(0.9, 0.999), metadata=within(0, math.nextafter(1, 0)))
    weight_decay: float = field(default=0.0, metadata=within(0, 1))
    loss: str = "branchynet"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingRecipe:
    """One training run.

    Attributes:
        name: name of the recipe.
        about: one line.
        data: a named set with a train, a calibration and a test part.
        network: name in `edgeexit.nets.NETS`.
        options: options of the network.
        seed: random seed of the fresh weights, the order of samples, augmentation and dropout.
        start: `plain` starts the joint phase from the plain network's weights, `scratch` from fresh ones.
        control: whether the plain network gets a second phase too, as long as the joint one, so that what the exits gain is not
            only longer training.
        precision: `float32`, or `bfloat16` for mixed precision: three times as fast where there are matrix units for it.
        plain, joint: the phases.
        augment: changes of the training images, the same in every phase.
    """

    name: str
    about: str
    data: str
    network: str
    plain: TrainingPhase
    joint: TrainingPhase
    seed: int = field(default=0, metadata=within(0))
    start: Literal["plain", "scratch"] = "plain"
    control: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    options: Mapping[str, Any] = field(default_factory=dict)
    augment: Augment = field(default_factory=Augment)

    @property
    def sha256(self) -> str:
        """SHA-256 of everything that the result depends on."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def with_epochs(self, epochs: int) -> TrainingRecipe:
        """Every phase that the recipe has with this many epochs."""
        return replace(
            self,
            plain=replace(self.plain, epochs=min(self.plain.epochs, 1) * epochs),
            joint=replace(self.joint, epochs=min(self.joint.epochs, 1) * epochs),
        )


def load_recipe(spec: str | Path, *, preset: str | None = None) -> TrainingRecipe:
    """A recipe by the name it is shipped under, or by the path of a TOML file.

    Args:
        spec: a shipped name, or a path that ends in `.toml`.
        preset: one of the recipe's own, or several joined by commas, whose values replace those of the file in turn.

    Raises:
        InputError: no such recipe or preset, not TOML, a newer schema, or every fault of the file at once.
    """
    path = find_recipe(spec)
    return parse_recipe(read_toml(path), where=str(path), preset=preset)


def find_recipe(spec: str | Path) -> Path:
    """The file of a recipe; see `load_recipe`."""
    if str(spec).endswith(".toml"):
        return Path(spec)
    shipped = {p.stem: p for p in sorted(RECIPES.glob("*.toml"))}
    if str(spec) not in shipped:
        msg = f"no recipe named {str(spec)!r}.{did_you_mean(str(spec), shipped)} Shipped: {', '.join(shipped)}; or give a .toml file."
        raise InputError(msg)
    return shipped[str(spec)]


def parse_recipe(raw: Mapping[str, Any], *, where: str, preset: str | None = None) -> TrainingRecipe:
    """A recipe from a parsed file; see `load_recipe`."""
    check_schema(raw, "recipe", _SCHEMA, where)
    merged = _apply_presets(raw, where, preset)
    return parse_document(TrainingRecipe, {k: v for k, v in merged.items() if k not in ("schema", "presets")}, where)


def _apply_presets(raw: Mapping[str, Any], where: str, names: str | None) -> dict[str, Any]:
    presets, merged = raw.get("presets", {}), dict(raw)
    for name in names.split(",") if names else ():
        if not isinstance(presets, Mapping) or not isinstance(presets.get(name), Mapping):
            known = ", ".join(presets) or "none"
            msg = f"{where} has no preset {name!r}.{did_you_mean(name, presets)} Presets: {known}."
            raise InputError(msg)
        merged = _merge_tables(merged, presets[name])
    return merged


def _merge_tables(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Tables merge key by key; anything else is replaced. A phase with another loss does not inherit the options of the first."""
    out = dict(base)
    if "loss" in over and over["loss"] != base.get("loss"):
        out.pop("options", None)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = _merge_tables(out[key], value) if both else value
    return out
