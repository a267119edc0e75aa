"""The named values that options take: enums made from the tables that the library checks them with.

Shells complete them, `--help` lists them, and an unknown one is a usage error with the nearest name. An enum is made when it is needed:
`edgeexit --help` does not read the recipes, nor import what solves for thresholds. Commands get the value as plain text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import typer

from edgeexit.choices import AUTO, BackendName, Mode, Precision, make_choices
from edgeexit.choices import SERVER_DEVICES as SERVED_ON
from edgeexit.choices import SERVERS as SERVED_BY
from edgeexit.choices import STAGE_RUNTIMES as STAGES_RUN_BY
from edgeexit.cli import commands
from edgeexit.errors import did_you_mean

FAILING_VERDICTS = {
    "slower": {"SLOWER", "INVALID"},
    "ambiguous": {"SLOWER", "INVALID", "AMBIGUOUS"},
    "not-faster": {"SLOWER", "INVALID", "AMBIGUOUS", "SAME"},
}
"""With --fail-on, the verdicts that end with exit code 1."""


@dataclass(frozen=True)
class Choices:
    """The values of one kind of option.

    Attributes:
        noun: what a value names, for messages: `criterion`.
        plural: plural of the noun.
        load: returns the enum of the values; called only where they are needed.
        other: what an option takes besides, such as a file, which the command checks itself; empty where it takes nothing else.
        listed: whether `--help` lists them.
        explain: returns what some values mean, by value, for `--help`.
    """

    noun: str
    plural: str
    load: Callable[[], type[Enum]]
    other: str = ""
    listed: bool = True
    explain: Callable[[], Mapping[str, str]] = dict

    @property
    def values(self) -> tuple[str, ...]:
        """The values, as users write them."""
        return tuple(str(member.value) for member in self.load())

    def parse(self, text: str) -> str:
        """The value that a text on the command line means; `most-confident` is `most_confident`.

        Raises:
            typer.BadParameter: none has that name.
        """
        if self.other:
            return text
        values = self.values
        found = next((value for value in values if value in (text, text.replace("-", "_"))), None)
        if found is None:
            msg = f"no {self.noun} named {text!r}.{did_you_mean(text, values)} {self.plural.capitalize()}: {', '.join(values)}."
            raise typer.BadParameter(msg)
        return found

    def complete(self, incomplete: str) -> list[str]:
        """The values that begin so, for a shell."""
        return [value for value in self.values if value.startswith(incomplete)]

    def describe(self) -> str:
        """`One of: staged, fused.` for the help; values with a meaning each on a line of their own."""
        if not self.listed:
            return ""
        meanings = self.explain()
        if meanings:
            return "\n".join(("One of:", *(f"- {value}: {meanings[value]}" for value in self.values), ""))
        return f"One of: {', '.join((*self.values, *filter(None, [self.other])))}."


@dataclass(frozen=True)
class StageChoices(Choices):
    """Values of an option that takes one for all stages, or one for each; the library checks the latter."""

    def parse(self, text: str) -> str:  # noqa: D102 - see base
        return text if set(text) & set(",=+") else super().parse(text)


def _make_criteria() -> type[Enum]:
    from edgeexit.criteria import list_criteria

    return make_choices("CriterionName", list_criteria())


def _explain_criteria() -> Mapping[str, str]:
    from edgeexit.criteria.lookup import describe_criteria

    return describe_criteria()


def _explain_fallbacks() -> Mapping[str, str]:
    from edgeexit.fallbacks import FALLBACKS

    return {name: fallback.answered_by for name, fallback in FALLBACKS.items()}


def _make_fallbacks() -> type[Enum]:
    from edgeexit.fallbacks import FallbackName

    return FallbackName


def _make_suites() -> type[Enum]:
    from edgeexit.measure.suites import list_suites

    return make_choices("SuiteName", list_suites())


def _make_methods() -> type[Enum]:
    from edgeexit.calibration.solver.cross_validation import METHODS

    return make_choices("MethodName", METHODS)


def _make_recipes() -> type[Enum]:
    from edgeexit.calibration.recipes import list_recipes

    return make_choices("RecipeName", list_recipes())


def _make_training_recipes() -> type[Enum]:
    """By the files' names: importing the training itself would import torch."""
    files = Path(__file__).parent.parent.glob("training/recipes/*.toml")
    return make_choices("TrainingRecipeName", sorted(path.stem for path in files))


def _make_networks() -> type[Enum]:
    from edgeexit.errors import MissingExtra

    try:
        from edgeexit.nets import NETS
    except MissingExtra:  # then nothing can be exported either
        return make_choices("NetworkName", ())
    return make_choices("NetworkName", NETS)


def _make_devices() -> type[Enum]:
    from edgeexit.hardware import load_profiles

    return make_choices("DeviceName", load_profiles())


def _make_arrivals() -> type[Enum]:
    from edgeexit.measure.scenarios import ARRIVALS

    return make_choices("Arrivals", ARRIVALS)


def _make_named_sets() -> type[Enum]:
    from edgeexit.data.named import PARTS, SETS

    return make_choices("NamedSet", (f"{name}:{part}" for name in SETS for part in PARTS))


def _make_failing_verdicts() -> type[Enum]:
    return make_choices("FailingVerdict", FAILING_VERDICTS)


def _make_commands() -> type[Enum]:
    return make_choices("CommandName", commands.COMMANDS)


CRITERIA = Choices("criterion", "criteria", _make_criteria, explain=_explain_criteria)
FALLBACKS = Choices("fallback", "fallbacks", _make_fallbacks, explain=_explain_fallbacks)
BACKENDS = StageChoices("backend", "backends", lambda: BackendName)
COMPILE_BACKENDS = StageChoices(
    "backend", "backends", lambda: make_choices("CompileBackend", (*(b.value for b in BackendName), AUTO))
)
MODES = Choices("mode", "modes", lambda: Mode)
PRECISIONS = StageChoices("precision", "precisions", lambda: Precision)
SUITES = Choices("preset", "presets", _make_suites, other="or a .toml file with the same keys")
METHODS = Choices("method", "methods", _make_methods)
RECIPES = Choices("recipe", "recipes", _make_recipes)
TRAINING_RECIPES = Choices("recipe", "recipes", _make_training_recipes, other="or a .toml file")
NETWORKS = Choices("network", "networks", _make_networks, other="code of your own", listed=False)
DEVICES = Choices("device profile", "profiles", _make_devices)
ARRIVALS = Choices("kind of arrivals", "kinds", _make_arrivals)
NAMED_SETS = Choices("data set", "data sets", _make_named_sets, other="a file or folder", listed=False)
SERVERS = Choices("server", "servers", lambda: make_choices("ServerName", SERVED_BY))
SERVER_DEVICES = Choices("device", "devices", lambda: make_choices("ServerDevice", SERVED_ON))
STAGE_RUNTIMES = Choices("stage backend", "stage backends", lambda: make_choices("StageRuntime", STAGES_RUN_BY))
FAIL_ON = Choices("verdict to fail on", "verdicts", _make_failing_verdicts)
COMMANDS = Choices("command", "commands", _make_commands, other="a sub-command", listed=False)
