"""The named values that options take: each from the table that the library checks them with, read only when it is needed.

Shells complete them, `--help` lists them, and an unknown one is refused with the nearest name. They are not typer's enums, since an enum
has its members when the command line is imported: `edgeexit --help` would load ONNX to know the names of the backends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import typer

from edgeexit.errors import did_you_mean


@dataclass(frozen=True)
class Choices:
    """The values of one kind of option.

    Attributes:
        noun: what a value names, for messages: `criterion`.
        plural: of the noun.
        load: lists the values; called only where they are needed.
        other: what an option takes besides, such as a file, which the command checks itself; empty where it takes nothing else.
        listed: whether `--help` lists them.
    """

    noun: str
    plural: str
    load: Callable[[], Iterable[str]]
    other: str = ""
    listed: bool = True

    def parse(self, text: str) -> str:
        """The value that a text on the command line means; `most-confident` is `most_confident`.

        Raises:
            typer.BadParameter: none has that name.
        """
        if self.other:
            return text
        values = tuple(self.load())
        found = next((value for value in values if value in (text, text.replace("-", "_"))), None)
        if found is None:
            msg = f"no {self.noun} named {text!r}.{did_you_mean(text, values)} {self.plural.capitalize()}: {', '.join(values)}."
            raise typer.BadParameter(msg)
        return found

    def complete(self, incomplete: str) -> list[str]:
        """The values that begin so, for a shell."""
        return [value for value in self.load() if value.startswith(incomplete)]

    def describe(self) -> str:
        """`One of: staged, fused.` for the help."""
        if not self.listed:
            return ""
        return f"One of: {', '.join((*self.load(), *filter(None, [self.other])))}."


def _list_criteria() -> Iterable[str]:
    from edgeexit.criteria import CRITERIA

    return CRITERIA


def _list_fallbacks() -> Iterable[str]:
    from edgeexit.fallbacks import FALLBACKS

    return FALLBACKS


def _list_backends() -> Iterable[str]:
    from edgeexit.backends import list_backends

    return list_backends()


def _list_modes() -> Iterable[str]:
    from edgeexit.backends.base import MODES

    return MODES


def _list_precisions() -> Iterable[str]:
    from edgeexit.hardware.profiles import PRECISIONS

    return PRECISIONS


def _list_suites() -> Iterable[str]:
    from edgeexit.measure.suites import list_suites

    return list_suites()


def _list_methods() -> Iterable[str]:
    from edgeexit.calibration.solver.cross_validation import METHODS

    return METHODS


def _list_recipes() -> Iterable[str]:
    from edgeexit.calibration.recipes import list_recipes

    return list_recipes()


def _list_training_recipes() -> Iterable[str]:
    """By the files' names: importing the training itself would import torch."""
    return sorted(path.stem for path in Path(__file__).parent.parent.glob("training/recipes/*.toml"))


def _list_networks() -> Iterable[str]:
    from edgeexit.errors import MissingExtra

    try:
        from edgeexit.nets import NETS
    except MissingExtra:  # then nothing can be exported either
        return ()
    return NETS


def _list_devices() -> Iterable[str]:
    from edgeexit.hardware import load_profiles

    return load_profiles()


def _list_arrivals() -> Iterable[str]:
    from edgeexit.measure.scenarios import ARRIVALS

    return ARRIVALS


def _list_named_sets() -> Iterable[str]:
    from edgeexit.data.named import PARTS, SETS

    return (f"{name}:{part}" for name in SETS for part in PARTS)


def _list_failing_verdicts() -> Iterable[str]:
    from edgeexit.cli.cmd_compare import FAILING_VERDICTS

    return FAILING_VERDICTS


def _list_commands() -> Iterable[str]:
    from edgeexit.cli.app import COMMANDS

    return COMMANDS


CRITERIA = Choices("criterion", "criteria", _list_criteria)
FALLBACKS = Choices("fallback", "fallbacks", _list_fallbacks)
BACKENDS = Choices("backend", "backends", _list_backends)
MODES = Choices("mode", "modes", _list_modes)
PRECISIONS = Choices("precision", "precisions", _list_precisions)
SUITES = Choices("preset", "presets", _list_suites, other="or a .toml file with the same keys")
METHODS = Choices("method", "methods", _list_methods)
RECIPES = Choices("recipe", "recipes", _list_recipes)
TRAINING_RECIPES = Choices("recipe", "recipes", _list_training_recipes, other="or a .toml file")
NETWORKS = Choices("network", "networks", _list_networks, other="code of your own", listed=False)
DEVICES = Choices("device profile", "profiles", _list_devices)
ARRIVALS = Choices("kind of arrivals", "kinds", _list_arrivals)
NAMED_SETS = Choices("data set", "data sets", _list_named_sets, other="a file or folder", listed=False)
FAILING_VERDICTS = Choices("verdict to fail on", "verdicts", _list_failing_verdicts)
COMMANDS = Choices("command", "commands", _list_commands, other="a sub-command", listed=False)
