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


def _list_criteria() -> Iterable[str]:
    from edgeexit.criteria import CRITERIA

    return CRITERIA


def _fallbacks() -> Iterable[str]:
    from edgeexit.fallbacks import FALLBACKS

    return FALLBACKS


def _list_backends() -> Iterable[str]:
    from edgeexit.backends import list_backends

    return list_backends()


def _list_modes() -> Iterable[str]:
    return ("staged", "fused")


def _list_precisions() -> Iterable[str]:
    from edgeexit.choices import PRECISIONS

    return PRECISIONS


def _list_presets() -> Iterable[str]:
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


def _list_named_sets() -> Iterable[str]:
    from edgeexit.data.named import PARTS, SETS

    return (f"{name}:{part}" for name in SETS for part in PARTS)


def _list_verdicts() -> Iterable[str]:
    return ("slower", "ambiguous", "not-faster")


def _list_commands() -> Iterable[str]:
    from edgeexit.cli.app import COMMANDS

    return COMMANDS


@dataclass(frozen=True)
class SharedOption:
    """What an option of one name is in every command that has it, or in the command that stands before it in the table."""

    group: str
    value: str = ""
    values: Values | None = None


OPTIONS: dict[str, SharedOption] = {
    "--data": SharedOption(DATA, "DATA", _list_named_sets),
    "--limit": SharedOption(DATA, "N"),
    "--preprocess": SharedOption(DATA, "FILE"),
    "--classes": SharedOption(DATA, "FILE"),
    "--target": SharedOption(TARGET, "BOUNDS"),
    "--recipe": SharedOption(TARGET, "NAME", _list_recipes),
    "--confidence": SharedOption(TARGET, "SHARE"),
    "--strict": SharedOption(TARGET),
    "--force": SharedOption(TARGET),
    "--name": SharedOption(TARGET, "NAME"),
    "--dry-run": SharedOption(TARGET),
    "--from-curve": SharedOption(MEASURING),
    "--method": SharedOption(MEASURING, "NAME", _list_methods),
    "--preset": SharedOption(MEASURING, "NAME", _list_presets),
    "--seconds": SharedOption(MEASURING, "S"),
    "--seed": SharedOption(MEASURING, "N"),
    "--audit": SharedOption(MEASURING),
    "--thresholds": SharedOption(POLICY, "T1,T2,..."),
    "--exit": SharedOption(POLICY, "K"),
    "--deadline-ms": SharedOption(POLICY, "MS"),
    "--rate": SharedOption(LOAD, "HZ"),
    "--arrivals": SharedOption(LOAD, "KIND", lambda: ("fixed", "poisson")),
    "--against": SharedOption(AGAINST, "BUNDLE"),
    "--against-thresholds": SharedOption(AGAINST, "T1,T2,..."),
    "--against-mode": SharedOption(AGAINST, "MODE", _list_modes),
    "--energy": SharedOption(COSTS),
    "--power-log": SharedOption(COSTS, "CSV"),
    "--cache": SharedOption(COSTS),
    "--cache-device": SharedOption(COSTS, "NAME", _list_devices),
    "bench --deadline-ms": SharedOption(LOAD, "MS"),
    "train --preset": SharedOption(TRAINING, "NAME"),
    "train --seed": SharedOption(TRAINING, "N"),
    "train --epochs": SharedOption(TRAINING, "N"),
    "train --resume": SharedOption(TRAINING),
    "train --plain": SharedOption(TRAINING),
    "train --download": SharedOption(DATA),
    "train --write-data": SharedOption(DATA),
    "export --input": SharedOption(NETWORK, "SHAPE"),
    "export --checkpoint": SharedOption(NETWORK),
    "export --option": SharedOption(NETWORK, "NAME=VALUE"),
    "export --names": SharedOption(NETWORK, "NAME,..."),
    "export --read": SharedOption(NETWORK),
    "export --training-forward": SharedOption(NETWORK),
    "export --batch-1": SharedOption(NETWORK),
    "export --opset": SharedOption(NETWORK, "N"),
    "sign --key": SharedOption("Signing"),
    "sign --new-key": SharedOption("Signing"),
    "sign --network-only": SharedOption("Signing"),
    "sign --verify": SharedOption("Signing", "FILE"),
    "demo --keep": SharedOption(OUTPUT, "PATH"),
    "doctor --quick": SharedOption(RUNTIME),
    "compile --seconds": SharedOption(RUNTIME, "S"),
    "--criterion": SharedOption(NETWORK, "NAME", _list_criteria),
    "--fallback": SharedOption(NETWORK, "NAME", _fallbacks),
    "--exits": SharedOption(NETWORK, "Z1,Z2,..."),
    "--scores": SharedOption(NETWORK, "H1,H2,..."),
    "--precision": SharedOption(RUNTIME, "NAME", _list_precisions),
    "--mode": SharedOption(RUNTIME, "MODE", _list_modes),
    "--backend": SharedOption(RUNTIME, "NAME", _list_backends),
    "--threads": SharedOption(RUNTIME, "N"),
    "--spin": SharedOption(RUNTIME),
    "--options": SharedOption(RUNTIME, "A=1,B=2"),
    "--accept-device": SharedOption(RUNTIME),
    "--verify": SharedOption(RUNTIME, "FILE"),
    "--vary": SharedOption("Comparison", "KEY"),
    "--fail-on": SharedOption(OUTPUT, "VERDICT", _list_verdicts),
    "--json": SharedOption(OUTPUT),
    "--output": SharedOption(OUTPUT, "PATH"),
}

ARGUMENTS: dict[tuple[str, str], Values] = {
    ("train", "recipe"): _list_training_recipes,
    ("export", "target"): _list_networks,
    ("devices", "name"): _list_devices,
    ("help", "command"): _list_commands,
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


def complete_option_info(command: str, name: str, info: typer.models.ParameterInfo) -> None:
    """Give one option or argument its group, its word for the value, its completion and its other names."""
    if not isinstance(info, typer.models.OptionInfo):
        info.autocompletion = info.autocompletion or _make_completer(ARGUMENTS.get((command, name)))
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
        info.autocompletion = info.autocompletion or _make_completer(shared.values)


def _make_completer(values: Values | None) -> Callable[[str], list[str]] | None:
    if values is None:
        return None

    def complete(incomplete: str) -> list[str]:
        return [value for value in values() if value.startswith(incomplete)]

    return complete


def list_shown_names(param: Any) -> list[str]:
    """The names of an option that the help shows: short ones first, without those of earlier versions."""
    names = [name for name in param.opts if name not in OLD_NAMES or "--output" not in OLD_NAMES[name]]
    return [*sorted(names, key=lambda name: name.startswith("--")), *param.secondary_opts]
