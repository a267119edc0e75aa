"""What the options of all commands have in common: their group in the help, the word for their value, and what completes it.

One table by the option's name, so that `--backend` is the same everywhere. An option that is not in it stands under "Options".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import typer.models

Values: TypeAlias = Callable[[], Iterable[str]]
"""The values that an option or argument can have, for completion."""

DATA, TARGET, POLICY, MEASURING = "Data", "Target", "Policy", "Measurement"
LOAD, AGAINST, COSTS, RUNTIME, OUTPUT = (
    "Requests at a fixed rate",
    "Second bundle",
    "Energy and caches",
    "Runtime",
    "Output",
)
NETWORK, TRAINING = "Network", "Training"


def _criteria() -> Iterable[str]:
    from edgeexit.criteria import CRITERIA

    return CRITERIA


def _fallbacks() -> Iterable[str]:
    from edgeexit.fallbacks import FALLBACKS

    return FALLBACKS


def _backends() -> Iterable[str]:
    from edgeexit.backends import backend_names

    return backend_names()


def _modes() -> Iterable[str]:
    return ("staged", "fused")


def _precisions() -> Iterable[str]:
    from edgeexit.hardware.profiles import PRECISIONS

    return PRECISIONS


def _presets() -> Iterable[str]:
    from edgeexit.measure.suites import suite_names

    return suite_names()


def _methods() -> Iterable[str]:
    from edgeexit.calibration.solver.cross_validation import METHODS

    return METHODS


def _recipes() -> Iterable[str]:
    from edgeexit.calibration.recipes import recipe_names

    return recipe_names()


def _training_recipes() -> Iterable[str]:
    """By the files' names: importing the training itself would import torch."""
    return sorted(path.stem for path in Path(__file__).parent.parent.glob("training/recipes/*.toml"))


def _networks() -> Iterable[str]:
    from edgeexit.errors import MissingExtra

    try:
        from edgeexit.nets import NETS
    except MissingExtra:  # then nothing can be exported either
        return ()
    return NETS


def _devices() -> Iterable[str]:
    from edgeexit.hardware import load_profiles

    return load_profiles()


def _named_sets() -> Iterable[str]:
    from edgeexit.data.named import PARTS, SETS

    return (f"{name}:{part}" for name in SETS for part in PARTS)


def _verdicts() -> Iterable[str]:
    return ("slower", "ambiguous", "not-faster")


def _commands() -> Iterable[str]:
    from edgeexit.cli.app import COMMANDS

    return COMMANDS


@dataclass(frozen=True)
class Shared:
    """What an option of one name is in every command that has it, or in the command that stands before it in the table."""

    group: str
    value: str = ""
    values: Values | None = None


OPTIONS: dict[str, Shared] = {
    "--data": Shared(DATA, "DATA", _named_sets),
    "--limit": Shared(DATA, "N"),
    "--preprocess": Shared(DATA, "FILE"),
    "--classes": Shared(DATA, "FILE"),
    "--target": Shared(TARGET, "BOUNDS"),
    "--recipe": Shared(TARGET, "NAME", _recipes),
    "--confidence": Shared(TARGET, "SHARE"),
    "--strict": Shared(TARGET),
    "--force": Shared(TARGET),
    "--name": Shared(TARGET, "NAME"),
    "--dry-run": Shared(TARGET),
    "--from-curve": Shared(MEASURING),
    "--method": Shared(MEASURING, "NAME", _methods),
    "--preset": Shared(MEASURING, "NAME", _presets),
    "--seconds": Shared(MEASURING, "S"),
    "--seed": Shared(MEASURING, "N"),
    "--audit": Shared(MEASURING),
    "--thresholds": Shared(POLICY, "T1,T2,..."),
    "--exit": Shared(POLICY, "K"),
    "--deadline-ms": Shared(POLICY, "MS"),
    "--rate": Shared(LOAD, "HZ"),
    "--arrivals": Shared(LOAD, "KIND", lambda: ("fixed", "poisson")),
    "--against": Shared(AGAINST, "BUNDLE"),
    "--against-thresholds": Shared(AGAINST, "T1,T2,..."),
    "--against-mode": Shared(AGAINST, "MODE", _modes),
    "--energy": Shared(COSTS),
    "--power-log": Shared(COSTS, "CSV"),
    "--cache": Shared(COSTS),
    "--cache-device": Shared(COSTS, "NAME", _devices),
    "bench --deadline-ms": Shared(LOAD, "MS"),
    "train --preset": Shared(TRAINING, "NAME"),
    "train --seed": Shared(TRAINING, "N"),
    "train --epochs": Shared(TRAINING, "N"),
    "train --resume": Shared(TRAINING),
    "train --plain": Shared(TRAINING),
    "train --download": Shared(DATA),
    "train --write-data": Shared(DATA),
    "export --input": Shared(NETWORK, "SHAPE"),
    "export --checkpoint": Shared(NETWORK),
    "export --option": Shared(NETWORK, "NAME=VALUE"),
    "export --names": Shared(NETWORK, "NAME,..."),
    "export --read": Shared(NETWORK),
    "export --training-forward": Shared(NETWORK),
    "export --batch-1": Shared(NETWORK),
    "export --opset": Shared(NETWORK, "N"),
    "sign --key": Shared("Signing"),
    "sign --new-key": Shared("Signing"),
    "sign --network-only": Shared("Signing"),
    "sign --verify": Shared("Signing", "FILE"),
    "demo --keep": Shared(OUTPUT, "PATH"),
    "doctor --quick": Shared(RUNTIME),
    "compile --seconds": Shared(RUNTIME, "S"),
    "--criterion": Shared(NETWORK, "NAME", _criteria),
    "--fallback": Shared(NETWORK, "NAME", _fallbacks),
    "--exits": Shared(NETWORK, "Z1,Z2,..."),
    "--scores": Shared(NETWORK, "H1,H2,..."),
    "--precision": Shared(RUNTIME, "NAME", _precisions),
    "--mode": Shared(RUNTIME, "MODE", _modes),
    "--backend": Shared(RUNTIME, "NAME", _backends),
    "--threads": Shared(RUNTIME, "N"),
    "--spin": Shared(RUNTIME),
    "--options": Shared(RUNTIME, "A=1,B=2"),
    "--accept-device": Shared(RUNTIME),
    "--verify": Shared(RUNTIME, "FILE"),
    "--vary": Shared("Comparison", "KEY"),
    "--fail-on": Shared(OUTPUT, "VERDICT", _verdicts),
    "--json": Shared(OUTPUT),
    "--output": Shared(OUTPUT, "PATH"),
}

ARGUMENTS: dict[tuple[str, str], Values] = {
    ("train", "recipe"): _training_recipes,
    ("export", "target"): _networks,
    ("devices", "name"): _devices,
    ("help", "command"): _commands,
}
"""What completes an argument, by command and name."""

OLD_NAMES: dict[str, tuple[str, ...]] = {
    "--out": ("--output", "-o"),
    "--keep": ("--output", "-o"),
    "--html": ("--output", "-o"),
    "--output": ("-o",),
    "--option": ("--options",),
    "--options": ("--option",),
}
"""Names that an option also has. Those of earlier versions, on the left, are still taken; the help shows the new ones."""


def describe(command: str, name: str, info: typer.models.ParameterInfo) -> None:
    """Give one option or argument its group, its word for the value, its completion and its other names."""
    if not isinstance(info, typer.models.OptionInfo):
        info.autocompletion = info.autocompletion or _completer(ARGUMENTS.get((command, name)))
        return
    told = (info.default, *(info.param_decls or ()))  # inside Annotated the first name stands where a default would
    known = tuple(one for one in told if isinstance(one, str)) or (f"--{name.replace('_', '-')}",)
    others = tuple(new for old in known for new in OLD_NAMES.get(old, ()) if new not in known)
    info.default, info.param_decls = ..., (*known, *others)
    keys = (key for one in info.param_decls for key in (f"{command} {one.partition('/')[0]}", one.partition("/")[0]))
    shared = next((OPTIONS[key] for key in keys if key in OPTIONS), None)
    if shared is not None:
        info.rich_help_panel = info.rich_help_panel or shared.group
        info.metavar = info.metavar or shared.value or None
        info.autocompletion = info.autocompletion or _completer(shared.values)


def _completer(values: Values | None) -> Callable[[str], list[str]] | None:
    if values is None:
        return None

    def complete(incomplete: str) -> list[str]:
        return [value for value in values() if value.startswith(incomplete)]

    return complete


def shown_names(param: Any) -> list[str]:
    """The names of an option that the help shows: short ones first, without those of earlier versions."""
    names = [name for name in param.opts if name not in OLD_NAMES or "--output" not in OLD_NAMES[name]]
    return [*sorted(names, key=lambda name: name.startswith("--")), *param.secondary_opts]
