"""Recipes: what to tune for, per kind of application, as TOML files that travel with edgeexit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeexit.calibration.targets import Target, parse_target
from edgeexit.errors import InputError, did_you_mean
from edgeexit.hardware import find_data_dir, read_toml


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
    document = read_toml(path)
    faults = _find_faults(document)
    if faults:
        msg = f"{path}: {'; '.join(faults)}."
        raise InputError(msg)
    targets = tuple(parse_target(text) for text in document["targets"])
    return CalibrationRecipe(
        name, document["title"], document["why"], targets, document.get("confidence"), document.get("seconds")
    )


def _find_faults(document: dict[str, Any]) -> list[str]:
    known = ("title", "why", "targets", "confidence", "seconds")
    faults = [f"unknown key {key!r}.{did_you_mean(key, known)}".rstrip(".") for key in document if key not in known]
    faults += [f"{key} must be text" for key in ("title", "why") if not isinstance(document.get(key), str)]
    targets = document.get("targets")
    if not isinstance(targets, list) or not targets or not all(isinstance(t, str) for t in targets):
        return [*faults, "targets must be a list of one or more targets"]
    for text in targets:
        fault = _find_target_fault(text)
        faults += [fault] if fault else []
    faults += [
        f"{key} must be a positive number"
        for key in ("confidence", "seconds")
        if key in document and not (isinstance(document[key], (int, float)) and document[key] > 0)
    ]
    return faults


def _find_target_fault(text: str) -> str | None:
    try:
        parse_target(text)
    except InputError as fault:
        return str(fault).rstrip(".")
    return None
