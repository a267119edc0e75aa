"""Published checkpoints: the network of a repository, built from the user's checkout of it as a recipe says, with its weights.

recipe (TOML) ─► options from the checkpoint's shapes ─► import from the checkout ─► build ─► load weights ─► its exits, listed
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import nn

from edgeexit.errors import InputError, ModelError, did_you_mean
from edgeexit.exporter.published.checkout import import_name, open_checkout
from edgeexit.exporter.published.listing import list_exits
from edgeexit.exporter.published.recipe import CALLS, BuildStep, Repository, freeze, list_repositories, read_repository
from edgeexit.exporter.published.shapes import Shapes, derive_option, read_shapes
from edgeexit.nets.users_code import translate_user_errors
from edgeexit.nets.weights import WeightsLocation, load_weights

__all__ = ["Published", "Repository", "list_repositories", "open_published", "read_repository"]


@dataclass(frozen=True)
class Published:
    """A network of a published repository.

    Attributes:
        module: forward returns every exit.
        weights: where in the checkpoint its weights were.
        options: what it was built with, by option.
    """

    module: nn.Module
    weights: WeightsLocation
    options: Mapping[str, Any]


@contextmanager
def open_published(
    recipe: Repository, checkout: Path, checkpoint: Path | None, options: Mapping[str, Any] | None = None
) -> Iterator[Published]:
    """Build the network; in the body its code may import from the checkout.

    Args:
        recipe: how.
        checkout: folder of the user's checkout of the repository.
        checkpoint: its weights; None leaves it as it is built.
        options: arguments in the place of those that the recipe has or the checkpoint tells.

    Raises:
        InputError: no checkout, no such option, a checkpoint that cannot be read or does not fit.
        ModelError: the repository's code fails, with its file and line.
    """
    hint = f"Get it with: git clone {recipe.url}, and name the folder: --checkout FOLDER."
    folder = _find_folder(recipe, checkout, hint)
    shapes: Shapes = {} if checkpoint is None else read_shapes(checkpoint)
    given = dict(options or {})
    _check_options(recipe, given)
    with open_checkout(folder):
        used: dict[str, Any] = {}
        module: Any = None
        for step in recipe.build:
            chosen = _choose_options(step, shapes, given)
            used |= chosen
            module = _run_step(step, chosen, module, folder, hint)
        if not isinstance(module, nn.Module):
            raise ModelError(f"{recipe.build[-1].factory} gave a {type(module).__name__}; a torch.nn.Module is needed")
        found = WeightsLocation() if checkpoint is None else _load(module, checkpoint, used)
        yield Published(list_exits(module, recipe.exits), found, used)


def _find_folder(recipe: Repository, checkout: Path, hint: str) -> Path:
    if not checkout.is_dir():
        raise InputError(f"no folder {checkout}: {recipe.name} is built from your checkout of its repository. {hint}")
    inside = checkout / recipe.checkout
    return inside if inside.is_dir() else checkout


def _check_options(recipe: Repository, given: Mapping[str, Any]) -> None:
    known = {name for step in recipe.build for name in (*step.options, *step.derive)}
    unknown = [f"{name!r}.{did_you_mean(name, known)}" for name in given if name not in known]
    if unknown:
        raise InputError(f"{recipe.name} has no option {' '.join(unknown)} Options: {', '.join(sorted(known))}.")


def _choose_options(step: BuildStep, shapes: Shapes, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those given, else those that the checkpoint tells, else the recipe's."""
    told = {name: derive_option(shapes, how) for name, how in step.derive.items()}
    known = {name: value for name, value in told.items() if value is not None}
    chosen = {name: freeze(value) for name, value in step.options.items()} | known
    chosen |= {name: freeze(value) for name, value in given.items() if name in {*step.options, *step.derive}}
    missing = sorted(step.derive.keys() - chosen.keys())
    if missing:
        msg = (
            f"the checkpoint does not tell {', '.join(missing)} of {step.factory}: it is of another kind of network, or these options have"
            " to be given, such as --option NAME=VALUE."
        )
        raise InputError(msg)
    return chosen


def _run_step(step: BuildStep, chosen: Mapping[str, Any], before: Any, folder: Path, hint: str) -> Any:
    in_name = {name for name in chosen if f"{{{name}}}" in step.factory}
    factory = import_name(step.factory.format_map(chosen), folder, hint)
    arguments = {name: value for name, value in chosen.items() if name not in in_name}
    taken = {step.takes: before} if step.takes else {}
    configuration = None if step.call in CALLS else import_name(step.call, folder, hint)
    shown = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    with translate_user_errors(f"{step.factory} failed with {shown or 'no options'}"):
        if step.call == "keywords":
            return factory(**taken, **arguments)
        if step.call == "namespace":
            return factory(SimpleNamespace(**arguments), **taken)
        return factory(arguments if configuration is None else configuration(**arguments), **taken)


def _load(module: nn.Module, checkpoint: Path, used: Mapping[str, Any]) -> WeightsLocation:
    try:
        return load_weights(module, checkpoint)
    except InputError as error:
        shown = ", ".join(f"{name}={value!r}" for name, value in used.items())
        msg = f"{str(error).rstrip('.')}. The network was built with {shown}: give what it was trained with, --option NAME=VALUE."
        raise InputError(msg) from error
