"""Recipes: what to train, on what, how long; TOML files read into frozen values, every fault of a file in one message.

A recipe names its data and network and has phases in the order in which they are trained, each from fresh weights or from those of an
earlier one. `[presets.<name>]` holds tables that replace values of the file, so that one file is both the paper's schedule and a quick
one. Files of schema `edgeexit.recipe/1` are read as well, see `recipe_v1`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from edgeexit.criteria import criterion as find_criterion
from edgeexit.errors import InputError, did_you_mean
from edgeexit.training.augment import Augment
from edgeexit.training.phases import ROLES, OptimizerSettings, ScheduleSettings, TrainingPhase
from edgeexit.training.recipe_checks import check_phases
from edgeexit.training.recipe_v1 import read_first_recipe
from edgeexit.util.documents import check_schema, parse_document, within
from edgeexit.util.resources import read_toml

SCHEMA = "edgeexit.recipe/2"
_NEWEST = 2
RECIPES = Path(__file__).resolve().parent / "recipes"


@dataclass(frozen=True)
class TrainingRecipe:
    """One training run.

    Attributes:
        name: name of the recipe.
        about: one line.
        phases: the phases by name, in the order in which they are trained.
        data: a named set with a train, a calibration and a test part; empty where data are given when it is trained.
        network: name in `edgeexit.nets.NETS`; empty where a network is given.
        seed: random seed of the fresh weights, the order of samples, augmentation and dropout.
        precision: `float32`, or `bfloat16` for mixed precision: three times as fast where there are matrix units for it.
        options: options of the network, in every phase.
        augment: changes of the training images, the same in every phase.
        criterion: exit criterion that epochs are evaluated under, and that the exported model names.
        thresholds: thresholds that belong to the method, such as EENet's 0.5, in the criterion's own unit: one per early exit, or one for
            all. They travel with the model, too. Empty: epochs are evaluated at one that they share, found each time.
        evaluate_every: epochs between two evaluations on the calibration part; 0 for none.
    """

    name: str
    about: str
    phases: Mapping[str, TrainingPhase]
    data: str = ""
    network: str = ""
    seed: int = field(default=0, metadata=within(0))
    precision: Literal["float32", "bfloat16"] = "float32"
    options: Mapping[str, Any] = field(default_factory=dict)
    augment: Augment = field(default_factory=Augment)
    criterion: str = "entropy"
    thresholds: tuple[float, ...] = ()
    evaluate_every: int = field(default=1, metadata=within(0))

    @property
    def sha256(self) -> str:
        """SHA-256 of everything that the result depends on."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def roles(self) -> dict[str, str]:
        """The phase of each role, `model` and `plain`, that has one and trains. Where none is named, the last phase is the model."""
        found = {phase.role: name for name, phase in self.phases.items() if phase.epochs}
        named: dict[str, str] = {role: found[role] for role in ROLES if role in found}
        if named or any(phase.role for phase in self.phases.values()):
            return named
        trained = [name for name, phase in self.phases.items() if phase.epochs]
        return {"model": trained[-1]} if trained else {}

    def list_network_options(self, phase: str) -> dict[str, Any]:
        """Options of the network in a phase: the recipe's, and the phase's over them."""
        return {**self.options, **self.phases[phase].network}

    def with_phase(self, name: str, **changes: Any) -> TrainingRecipe:
        """The recipe with fields of one phase replaced.

        Example:
            >>> from edgeexit.training import load_recipe
            >>> load_recipe("lenet-mnist").with_phase("joint", epochs=3).phases["joint"].epochs
            3
        """
        return replace(self, phases={**self.phases, name: replace(self.phases[name], **changes)})

    def without_phase(self, name: str) -> TrainingRecipe:
        """The recipe without one of its phases."""
        return replace(self, phases={other: phase for other, phase in self.phases.items() if other != name})

    def with_epochs(self, epochs: int) -> TrainingRecipe:
        """Every phase that trains with this many epochs."""
        return replace(
            self, phases={name: replace(p, epochs=min(p.epochs, 1) * epochs) for name, p in self.phases.items()}
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
    version = check_schema(raw, "recipe", _NEWEST, where)
    merged = _apply_presets(raw, where, preset)
    document = {k: v for k, v in merged.items() if k not in ("schema", "presets")}
    if version == 1:
        document = read_first_recipe(document, where)
    recipe = parse_document(TrainingRecipe, _expand(document, where), where)
    check_recipe(recipe, where)
    return recipe


def check_recipe(recipe: TrainingRecipe, where: str) -> None:
    """Raise an error for phases that cannot be trained one after the other.

    Raises:
        InputError: see `check_phases`; or there is no such criterion.
    """
    check_phases(recipe.phases, where)
    find_criterion(recipe.criterion)


def _apply_presets(raw: Mapping[str, Any], where: str, names: str | None) -> dict[str, Any]:
    presets, merged = raw.get("presets", {}), dict(raw)
    presets = presets if isinstance(presets, Mapping) else {}
    for name in names.split(",") if names else ():
        if not isinstance(presets.get(name), Mapping):
            known = ", ".join(presets) or "none"
            msg = f"{where} has no preset {name!r}.{did_you_mean(name, presets)} Presets: {known}."
            raise InputError(msg)
        merged = _merge_tables(merged, presets[name])
    return merged


def _merge_tables(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Tables merge key by key; anything else is replaced. Another loss, optimiser or schedule does not inherit options of the first."""
    out = dict(base)
    if "loss" in over and over["loss"] != base.get("loss"):
        out.pop("options", None)
    for key, value in over.items():
        old = out.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping) and not _is_renamed(key, old, value):
            out[key] = _merge_tables(old, value)
        else:
            out[key] = value
    return out


def _is_renamed(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a table chooses another optimiser or schedule than before."""
    return key in _NAMED and "name" in new and new["name"] != old.get("name")


# ---------------------------------------------------------------- what files may write shorter

_NAMED: Mapping[str, type] = {"optimizer": OptimizerSettings, "schedule": ScheduleSettings}
_LIKE = ("epochs", "batch", "optimizer", "schedule")


def _expand(document: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The document with `like` of a phase followed and the options of optimisers and schedules put into `options`."""
    phases = document.get("phases")
    if not isinstance(phases, Mapping):
        return dict(document)
    return {**document, "phases": {name: _expand_phase(phase, phases, where) for name, phase in phases.items()}}


def _expand_phase(phase: Any, phases: Mapping[str, Any], where: str) -> Any:
    if not isinstance(phase, Mapping):
        return phase
    own = {k: v for k, v in phase.items() if k != "like"}
    other = phases.get(phase["like"]) if isinstance(phase.get("like"), str) else None
    if "like" in phase and (not isinstance(other, Mapping) or "like" in other):
        hint = did_you_mean(phase["like"], phases)
        msg = (
            f"{where}: `like` must name a phase that is like no other, not {phase['like']!r}.{hint}"
            f" Phases: {', '.join(phases)}."
        )
        raise InputError(msg)
    shared = {k: other[k] for k in _LIKE if k in other} if isinstance(other, Mapping) else {}
    return _gather_options({**shared, **own})


def _gather_options(table: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(table)
    for key, kind in _NAMED.items():
        if isinstance(out.get(key), Mapping):
            known = {f.name for f in fields(kind)}
            options = {k: v for k, v in out[key].items() if k not in known}
            kept = {k: v for k, v in out[key].items() if k in known}
            inner = kept.get("options", {})
            mixed = options and isinstance(inner, Mapping)
            out[key] = {**kept, "options": {**inner, **options}} if mixed else kept
    if isinstance(out.get("groups"), Mapping):
        out["groups"] = {k: _gather_options(v) if isinstance(v, Mapping) else v for k, v in out["groups"].items()}
    return out
