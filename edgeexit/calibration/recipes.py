"""Recipes: what to tune for, per kind of application, as TOML files that travel with edgeexit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeexit.calibration.targets import Target, parse_target
from edgeexit.errors import InputError, did_you_mean
from edgeexit.hardware import find_data_dir, read_toml
from edgeexit.util.documents import parse_document


@dataclass(frozen=True)
class CalibrationRecipe:
    """One recipe.

    Attributes:
        name: name of its file, without the suffix.
        title, why: title and purpose, as shown by the command line.
        targets: tried in order; a later one where this machine cannot measure what an earlier one bounds.
        confidence: confidence of the certificate, or None.
        seconds: seconds of timing, or None for the default.
    """

    name: str
    title: str
    why: str
    targets: tuple[Target, ...]
    confidence: float | None = None
    seconds: float | None = None


def list_recipes() -> list[str]:
    """The names of all recipes."""
    return sorted(path.stem for path in find_data_dir("recipes").glob("*.toml"))


def load_calibration_recipe(name: str) -> CalibrationRecipe:
    """The recipe of that name.

    Raises:
        InputError: there is none, or its file has faults; all of them in one message.
    """
    names = list_recipes()
    if name not in names:
        msg = f"no recipe named {name!r}.{did_you_mean(name, names)} Recipes: {', '.join(names)}."
        raise InputError(msg)
    path = find_data_dir("recipes") / f"{name}.toml"
    return _check(parse_document(_RecipeFile, read_toml(path), str(path)), path)


@dataclass(frozen=True)
class _RecipeFile:
    """The fields of a recipe as its file has them."""

    title: str
    why: str
    targets: tuple[str, ...]
    confidence: float | None = None
    seconds: float | None = None


def _check(found: _RecipeFile, path: Path) -> CalibrationRecipe:
    """The recipe of a file, whose values are held against what they mean."""
    faults = [] if found.targets else ["targets must name at least one target"]
    numbers = {"confidence": found.confidence, "seconds": found.seconds}
    faults += [f"{key} must be greater than 0" for key, value in numbers.items() if value is not None and value <= 0]
    faults += [fault for fault in map(_find_target_fault, found.targets) if fault]
    if faults:
        msg = f"{path}: {'; '.join(faults)}."
        raise InputError(msg)
    targets = tuple(map(parse_target, found.targets))
    return CalibrationRecipe(path.stem, found.title, found.why, targets, found.confidence, found.seconds)


def _find_target_fault(text: str) -> str | None:
    try:
        parse_target(text)
    except InputError as fault:
        return str(fault).rstrip(".")
    return None
