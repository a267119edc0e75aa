"""Recipes: what to train, on what, how long; TOML files read into frozen values, every fault of a file in one message.

A recipe names its data and network and has two phases: `plain` trains the network without its exits, `joint` trains all exits from
those weights (BranchyNet, sections III-B and IV). `[presets.<name>]` holds tables that replace values of the file, so that one file
is both the paper's schedule and a quick one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from edgeexit.errors import InputError, did_you_mean
from edgeexit.training.augment import Augment
from edgeexit.util.resources import read_toml

SCHEMA = "edgeexit.recipe/1"
RECIPES = Path(__file__).resolve().parent / "recipes"

Check: TypeAlias = Callable[[Any], str | None]
"""A value of the file in; None, or what is wrong with it."""

T = TypeVar("T")


# ---------------------------------------------------------------- checks of single values


def _is(kind: type | tuple[type, ...], what: str, holds: Callable[[Any], bool] = lambda _: True) -> Check:
    def check(value: Any) -> str | None:
        right = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool) and holds(value)
        return None if right else f"is {value!r}; {what} is needed"

    return check


def _require_whole(low: int) -> Check:
    return _is(int, f"a whole number of at least {low}", lambda v: v >= low)


def _require_number(low: float, high: float = float("inf")) -> Check:
    return _is(
        (int, float),
        f"a number from {low:g} to {high:g}" if high < float("inf") else f"a number of at least {low:g}",
        lambda v: low <= v <= high,
    )


def _require_choice(*names: str) -> Check:
    return lambda v: (
        None if v in names else f"is {v!r}.{did_you_mean(str(v), names)} One of {', '.join(names)} is needed"
    )


_text = _is(str, "text")
_flag = _is(bool, "true or false")
_table = _is(dict, "a table")
_betas = _is(
    list, "two numbers from 0 to 1", lambda v: len(v) == 2 and all(isinstance(b, int | float) and 0 <= b < 1 for b in v)
)


# ---------------------------------------------------------------- the recipe


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

    epochs: int
    batch: int = 512
    rate: float = 1e-3
    schedule: str = "constant"
    warmup: int = 0
    optimizer: str = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
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
    seed: int = 0
    start: str = "plain"
    control: bool = False
    precision: str = "float32"
    options: Mapping[str, Any] = field(default_factory=dict)
    augment: Augment = field(default_factory=Augment)

    @property
    def sha256(self) -> str:
        """Of everything that the result depends on."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def with_epochs(self, epochs: int) -> TrainingRecipe:
        """Every phase that the recipe has with this many epochs."""
        return replace(
            self,
            plain=replace(self.plain, epochs=min(self.plain.epochs, 1) * epochs),
            joint=replace(self.joint, epochs=min(self.joint.epochs, 1) * epochs),
        )


_PHASE: dict[str, Check] = {
    "epochs": _require_whole(0),
    "batch": _require_whole(1),
    "rate": _require_number(1e-9, 10),
    "schedule": _require_choice("constant", "cosine", "steps"),
    "warmup": _require_whole(0),
    "optimizer": _require_choice("adam", "adamw", "sgd"),
    "betas": _betas,
    "weight_decay": _require_number(0, 1),
    "loss": _text,
    "options": _table,
}
_AUGMENT: dict[str, Check] = {
    "crop_pad": _require_whole(0),
    "flip": _flag,
    "rotate_deg": _require_number(0, 180),
    "scale": _require_number(0, 0.9),
    "shift": _require_number(0),
}
_RECIPE: dict[str, Check] = {
    "schema": _text,
    "name": _text,
    "about": _text,
    "data": _text,
    "network": _text,
    "options": _table,
    "seed": _require_whole(0),
    "start": _require_choice("plain", "scratch"),
    "control": _flag,
    "precision": _require_choice("float32", "bfloat16"),
    "plain": _table,
    "joint": _table,
    "augment": _table,
    "presets": _table,
}
_NEEDED = ("schema", "name", "about", "data", "network", "plain", "joint")


# ---------------------------------------------------------------- reading


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
    if str(raw.get("schema", SCHEMA)) != SCHEMA:
        msg = f"{where} has schema {raw['schema']!r}; this edgeexit reads {SCHEMA!r}. A newer edgeexit may read it."
        raise InputError(msg)
    merged = _apply_presets(raw, where, preset)
    faults = [f"{key} is missing" for key in _NEEDED if key not in merged]
    faults += _find_faults("", merged, _RECIPE)
    for key, checks in (("plain", _PHASE), ("joint", _PHASE), ("augment", _AUGMENT)):
        table = merged.get(key)
        if isinstance(table, Mapping):
            faults += _find_faults(f"{key}.", table, checks)
            faults += [f"{key}.epochs is missing"] if checks is _PHASE and "epochs" not in table else []
    if faults:
        msg = f"{where}: {'; '.join(faults)}"
        raise InputError(msg)
    values = {k: v for k, v in merged.items() if k not in ("schema", "presets", "plain", "joint", "augment")}
    return TrainingRecipe(
        **values,
        plain=_make_phase(merged["plain"]),
        joint=_make_phase(merged["joint"]),
        augment=Augment(**merged.get("augment", {})),
    )


def _make_phase(table: Mapping[str, Any]) -> TrainingPhase:
    betas = {"betas": tuple(table["betas"])} if "betas" in table else {}
    return TrainingPhase(**{**table, **betas})


def _find_faults(prefix: str, table: Mapping[str, Any], checks: Mapping[str, Check]) -> list[str]:
    found = []
    for key, value in table.items():
        if key not in checks:
            found.append(f"there is no {prefix}{key}.{did_you_mean(key, checks)}")
        elif (wrong := checks[key](value)) is not None:
            found.append(f"{prefix}{key} {wrong}")
    return found


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
