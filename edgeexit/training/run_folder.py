"""The folder of a run: begun once, gone on with by the recipe that began it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeexit.errors import InputError
from edgeexit.training.checkpoint import Checkpoint
from edgeexit.training.recipe import SCHEMA, TrainingRecipe, parse_recipe
from edgeexit.util.atomic import make_output_folder, write_bytes

CHECKPOINT = "checkpoint.pt"
RECIPE = "recipe.json"


def open_checkpoint(recipe: TrainingRecipe, out: Path, *, resume: bool, leads: bool) -> Checkpoint:
    """The state of the folder's run, or a new one. The leading process checks the folder before it writes.

    Raises:
        InputError: the folder holds a run and is not resumed, there is none to resume, or one of another recipe.
    """
    path = out / CHECKPOINT
    if not resume:
        if leads:
            _refuse_a_run(out)
        return Checkpoint(recipe.sha256)
    if not path.exists():
        msg = f"there is nothing to resume in {out}: it has no {CHECKPOINT}; leave out --resume to begin"
        raise InputError(msg)
    checkpoint = Checkpoint.load(path)
    if checkpoint.recipe_sha256 != recipe.sha256 and (changed := describe_differences(recipe, out)):
        msg = f"{out} was begun with another recipe: {changed}; use the same recipe and options, or another --out"
        raise InputError(msg)
    return checkpoint


def _refuse_a_run(out: Path) -> None:
    if (out / CHECKPOINT).exists():
        old = Checkpoint.load(out / CHECKPOINT)
        where = f"epoch {old.epoch} of {old.phase}" if old.phase else f"finished: {', '.join(old.finished)}"
        msg = f"{out} already holds a run ({where}); go on with --resume, or choose another folder with --out"
        raise InputError(msg)


_INPUTS = {"train": "other training data", "network": "another network"}


def check_inputs(old: Mapping[str, str], new: Mapping[str, str], out: Path) -> None:
    """Raise an error where a run had other training data or another network than there are now.

    Raises:
        InputError: with which of them.
    """
    changed = [what for key, what in _INPUTS.items() if old.get(key) and new.get(key) and old[key] != new[key]]
    if changed:
        msg = f"{out} was trained with {' and '.join(changed)}; use the same, or begin anew in another folder"
        raise InputError(msg)


def begin_run(recipe: TrainingRecipe, out: Path) -> None:
    """Make the folder, with the recipe in it.

    Raises:
        InputError: it cannot be made.
    """
    make_output_folder(out)
    write_bytes(out / RECIPE, json.dumps({"schema": SCHEMA, **asdict(recipe)}, indent=2).encode())


def read_run_recipe(out: Path) -> TrainingRecipe:
    """The recipe that a run carries out; also of runs of earlier versions, whose recipe.json has no schema.

    Raises:
        InputError: the folder is not one of a run.
    """
    try:
        raw = json.loads((out / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{out} is not a run of edgeexit train: its {RECIPE} is missing or damaged"
        raise InputError(msg) from error
    return parse_recipe({"schema": "edgeexit.recipe/1", **raw}, where=str(out / RECIPE))


def describe_differences(recipe: TrainingRecipe, out: Path, *, ignore: tuple[str, ...] = ()) -> str:
    """What a folder's recipe had otherwise, as text; empty where nothing that the result depends on differs."""
    try:
        old = read_run_recipe(out)
    except InputError:
        return f"its {RECIPE} is missing"
    return list_differences(asdict(old), asdict(recipe), ignore=ignore)


def list_differences(old: Mapping[str, Any], new: Mapping[str, Any], *, ignore: tuple[str, ...] = ()) -> str:
    """Leaves of two nested tables that are not the same, as text."""
    was, now = (dict(_list_leaves("", json.loads(json.dumps(table)))) for table in (old, new))
    keys = [k for k in {**was, **now} if not (ignore and k.startswith(ignore)) and was.get(k) != now.get(k)]
    return ", ".join(f"{k} was {was.get(k)!r} and is {now.get(k)!r}" for k in keys)


def _list_leaves(prefix: str, table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _list_leaves(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value
