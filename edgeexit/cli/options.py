"""What the options of all commands have in common: their group in the help, the word for their value, and the values that it takes.

One table by the option's name, so that `--backend` is the same everywhere. An option that is not in it stands under "Options".

Options that several commands have together are a block: a frozen dataclass whose fields are the options. A command's function has one
keyword-only parameter of that class; `expand_blocks` puts the options in its place, and `gather_blocks` makes the value from them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import typer.models

from edgeexit.cli import choices
from edgeexit.cli.choices import Choices
from edgeexit.cli.common import (
    AcceptDevice,
    BackendOptions,
    Cores,
    Mode,
    RunBackend,
    RunThreads,
    Spin,
    Verify,
    join_options,
)
from edgeexit.cli.data import ClassNames, Preprocessing, read_bundle_info

if TYPE_CHECKING:
    from edgeexit.data import ModelInfo

DATA, TARGET, POLICY, MEASURING = "Data", "Target", "Policy", "Measurement"
LOAD, AGAINST, COSTS, RUNTIME, OUTPUT = (
    "Requests at a fixed rate",
    "Second bundle",
    "Energy and caches",
    "Runtime",
    "Output",
)
NETWORK, TRAINING, SERVER, REMOTE = "Network", "Training", "Server", "Stages on another machine"
RAY = "Workers"


@dataclass(frozen=True)
class SharedOption:
    """Properties of an option in every command that has it, or in the command that stands before it in the table."""

    group: str
    value: str = ""
    choices: Choices | None = None


OPTIONS: dict[str, SharedOption] = {
    "--data": SharedOption(DATA, "DATA", choices.NAMED_SETS),
    "--limit": SharedOption(DATA, "N"),
    "--choose-on": SharedOption(DATA, "DATA", choices.NAMED_SETS),
    "analyse --seed": SharedOption(DATA, "N"),
    "compare-criteria --seed": SharedOption(DATA, "N"),
    "compare-criteria --criteria": SharedOption(POLICY, "NAME,..."),
    "compare-criteria --budgets": SharedOption(POLICY, "N"),
    "analyse --html": SharedOption(OUTPUT, "PAGE"),
    "replay --rows": SharedOption(DATA, "N"),
    "--replay": SharedOption(DATA, "FOLDER"),
    "--engine": SharedOption(RAY, "NAME"),
    "--workers": SharedOption(RAY, "N"),
    "--column": SharedOption(RAY, "NAME"),
    "--labels": SharedOption(RAY, "NAME"),
    "--preprocess": SharedOption(DATA, "FILE"),
    "--classes": SharedOption(DATA, "FILE"),
    "--target": SharedOption(TARGET, "BOUNDS"),
    "--recipe": SharedOption(TARGET, "NAME", choices.RECIPES),
    "--confidence": SharedOption(TARGET, "SHARE"),
    "--strict": SharedOption(TARGET),
    "--force": SharedOption(TARGET),
    "--name": SharedOption(TARGET, "NAME"),
    "--dry-run": SharedOption(TARGET),
    "--from-curve": SharedOption(MEASURING),
    "--method": SharedOption(MEASURING, "NAME", choices.METHODS),
    "--remote": SharedOption(REMOTE, "K=URL"),
    "--remote-timeout": SharedOption(REMOTE, "S"),
    "--remote-send": SharedOption(REMOTE, "WHAT"),
    "--remote-wire": SharedOption(REMOTE, "NAME"),
    "--preset": SharedOption(MEASURING, "NAME", choices.SUITES),
    "--seconds": SharedOption(MEASURING, "S"),
    "--seed": SharedOption(MEASURING, "N"),
    "--audit": SharedOption(MEASURING),
    "--thresholds": SharedOption(POLICY, "T1,T2,..."),
    "--exit": SharedOption(POLICY, "K"),
    "--deadline-ms": SharedOption(POLICY, "MS"),
    "--rate": SharedOption(LOAD, "HZ"),
    "--arrivals": SharedOption(LOAD, "KIND", choices.ARRIVALS),
    "--against": SharedOption(AGAINST, "BUNDLE"),
    "--against-thresholds": SharedOption(AGAINST, "T1,T2,..."),
    "--against-mode": SharedOption(AGAINST, "MODE", choices.MODES),
    "--energy": SharedOption(COSTS),
    "--power-log": SharedOption(COSTS, "CSV"),
    "--cache": SharedOption(COSTS),
    "--cache-device": SharedOption(COSTS, "NAME", choices.DEVICES),
    "bench --deadline-ms": SharedOption(LOAD, "MS"),
    "train --preset": SharedOption(TRAINING, "NAME"),
    "train --seed": SharedOption(TRAINING, "N"),
    "train --epochs": SharedOption(TRAINING, "N"),
    "train --resume": SharedOption(TRAINING),
    "train --plain": SharedOption(TRAINING),
    "train --download": SharedOption(DATA),
    "train --write-data": SharedOption(DATA),
    "adopt --checkpoint": SharedOption(NETWORK),
    "adopt --option": SharedOption(NETWORK, "NAME=VALUE"),
    "adopt --read": SharedOption(NETWORK),
    "adopt --after": SharedOption(NETWORK, "PART,..."),
    "adopt --exits": SharedOption(NETWORK, "N"),
    "adopt --head": SharedOption(NETWORK, "NAME"),
    "adopt --epochs": SharedOption(TRAINING, "N"),
    "adopt --loss": SharedOption(TRAINING, "NAME"),
    "adopt --fine-tune": SharedOption(TRAINING),
    "adopt --seed": SharedOption(TRAINING, "N"),
    "adopt --threads": SharedOption(TRAINING, "N"),
    "adopt --resume": SharedOption(TRAINING),
    "tune --backends": SharedOption(POLICY, "NAME,..."),
    "tune --precisions": SharedOption(POLICY, "NAME,..."),
    "tune --modes": SharedOption(POLICY, "MODE,..."),
    "tune --threads": SharedOption(POLICY, "N,..."),
    "tune --criteria": SharedOption(POLICY, "NAME,..."),
    "tune --temperatures": SharedOption(POLICY, "WAY,..."),
    "tune --from-tune": SharedOption(MEASURING, "FOLDER"),
    "tune --mixed": SharedOption(POLICY),
    "tune --budget": SharedOption(MEASURING, "TIME"),
    "tune --resume": SharedOption(MEASURING),
    "export --input": SharedOption(NETWORK, "SHAPE"),
    "export --checkpoint": SharedOption(NETWORK),
    "export --checkout": SharedOption(NETWORK, "FOLDER"),
    "export --option": SharedOption(NETWORK, "NAME=VALUE"),
    "export --names": SharedOption(NETWORK, "NAME,..."),
    "export --read": SharedOption(NETWORK),
    "export --training-forward": SharedOption(NETWORK),
    "export --thresholds": SharedOption(NETWORK, "T1,T2,..."),
    "export --batch-1": SharedOption(NETWORK),
    "export --opset": SharedOption(NETWORK, "N"),
    "serve --stages": SharedOption(SERVER),
    "serve --host": SharedOption(SERVER, "HOST"),
    "serve --port": SharedOption(SERVER, "N"),
    "serve --name": SharedOption(SERVER, "NAME"),
    "serve --workers": SharedOption(SERVER, "N"),
    "serve --most-waiting": SharedOption(SERVER, "N"),
    "serve --max-batch": SharedOption(SERVER, "N"),
    "serve --drain-s": SharedOption(SERVER, "S"),
    "serve --certificate": SharedOption(SERVER),
    "serve --certificate-key": SharedOption(SERVER),
    "serve-export --for": SharedOption(SERVER, "NAME", choices.SERVERS),
    "serve-export --storage-uri": SharedOption(SERVER, "URI"),
    "serve-export --stage-backend": SharedOption(SERVER, "NAME", choices.STAGE_RUNTIMES),
    "serve-export --name": SharedOption(SERVER, "NAME"),
    "serve-export --calibration": SharedOption(POLICY),
    "serve-export --max-batch": SharedOption(SERVER, "N"),
    "serve-export --max-delay-us": SharedOption(SERVER, "US"),
    "serve-export --instances": SharedOption(SERVER, "N"),
    "serve-export --device": SharedOption(SERVER, "NAME", choices.SERVER_DEVICES),
    "sign --key": SharedOption("Signing"),
    "sign --new-key": SharedOption("Signing"),
    "sign --network-only": SharedOption("Signing"),
    "sign --verify": SharedOption("Signing", "FILE"),
    "demo --keep": SharedOption(OUTPUT, "PATH"),
    "doctor --quick": SharedOption(RUNTIME),
    "compile --backend": SharedOption(RUNTIME, "NAME", choices.COMPILE_BACKENDS),
    "compile --seconds": SharedOption(RUNTIME, "S"),
    "--criterion": SharedOption(NETWORK, "NAME", choices.CRITERIA),
    "--fallback": SharedOption(NETWORK, "NAME", choices.FALLBACKS),
    "--exits": SharedOption(NETWORK, "Z1,Z2,..."),
    "--scores": SharedOption(NETWORK, "H1,H2,..."),
    "--temperatures": SharedOption(NETWORK, "fit|T1,..."),
    "--precision": SharedOption(RUNTIME, "NAME", choices.PRECISIONS),
    "--mode": SharedOption(RUNTIME, "MODE", choices.MODES),
    "--backend": SharedOption(RUNTIME, "NAME", choices.BACKENDS),
    "--threads": SharedOption(RUNTIME, "N"),
    "--spin": SharedOption(RUNTIME),
    "--options": SharedOption(RUNTIME, "A=1,B=2"),
    "--cores": SharedOption(RUNTIME, "big|little|0-3"),
    "--accept-device": SharedOption(RUNTIME),
    "--verify": SharedOption(RUNTIME, "FILE"),
    "--vary": SharedOption("Comparison", "KEY"),
    "--fail-on": SharedOption(OUTPUT, "VERDICT", choices.FAIL_ON),
    "--json": SharedOption(OUTPUT),
    "--output": SharedOption(OUTPUT, "PATH"),
}

ARGUMENTS: dict[tuple[str, str], Choices] = {
    ("train", "recipe"): choices.TRAINING_RECIPES,
    ("export", "target"): choices.NETWORKS,
    ("devices", "name"): choices.DEVICES,
    ("help", "command"): choices.COMMANDS,
}
"""The values of an argument, by command and name."""

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
        _set_choices(info, ARGUMENTS.get((command, name)))
        return
    declared = (info.default, *(info.param_decls or ()))  # inside Annotated the first name stands where a default would
    known = tuple(one for one in declared if isinstance(one, str)) or (f"--{name.replace('_', '-')}",)
    others = tuple(new for old in known for new in OLD_NAMES.get(old, ()) if new not in known)
    info.default, info.param_decls = ..., (*known, *others)
    shared = _find_shared(command, [one.partition("/")[0] for one in info.param_decls])
    if shared is not None:
        info.rich_help_panel = info.rich_help_panel or shared.group
        info.metavar = info.metavar or shared.value or None
        _set_choices(info, shared.choices)


def _find_shared(command: str, names: Iterable[str]) -> SharedOption | None:
    """The table's entry for an option of a command, by any of its names."""
    keys = (key for name in names for key in (f"{command} {name}", name))
    return next((OPTIONS[key] for key in keys if key in OPTIONS), None)


def find_choices(command: str, param: Any) -> Choices | None:
    """The named values of a parameter as typer has it; None where it takes none."""
    if param.param_type_name == "argument":
        return ARGUMENTS.get((command, param.name))
    shared = _find_shared(command, param.opts)
    return None if shared is None else shared.choices


def _set_choices(info: typer.models.ParameterInfo, found: Choices | None) -> None:
    if found is not None:
        info.parser = info.parser or found.parse
        info.autocompletion = info.autocompletion or found.complete


def list_shown_names(param: Any) -> list[str]:
    """The names of an option that the help shows: short ones first, without those of earlier versions."""
    names = [name for name in param.opts if name not in OLD_NAMES or "--output" not in OLD_NAMES[name]]
    return [*sorted(names, key=lambda name: name.startswith("--")), *param.secondary_opts]


@dataclass(frozen=True)
class PreparationOptions:
    """How data are prepared for a bundle's network; both default to what the bundle records."""

    preprocess: Preprocessing = None
    classes: ClassNames = None

    def read_info(self, bundle: Path) -> ModelInfo:
        """Data that the bundle's network expects, with these changes.

        Raises:
            BundleError: there is no readable manifest.
            InputError: the preprocessing or the class names do not fit it.
        """
        return read_bundle_info(bundle, self.preprocess, self.classes)


@dataclass(frozen=True)
class RuntimeOptions:
    """How the stages of a bundle are run."""

    mode: Mode = None
    backend: RunBackend = None
    threads: RunThreads = None
    spin: Spin = False
    options: BackendOptions = None
    cores: Cores = None

    def make_arguments(self) -> dict[str, Any]:
        """As keyword arguments of `edgeexit.load`."""
        return {
            "mode": self.mode,
            "backend": self.backend,
            "threads": self.threads,
            "spin": self.spin,
            "options": join_options(self.options),
            "cores": self.cores,
        }


@dataclass(frozen=True)
class LoadOptions(RuntimeOptions):
    """How a bundle is loaded and run with its calibration."""

    accept_device: AcceptDevice = False
    verify: Verify = None

    def make_arguments(self) -> dict[str, Any]:
        """As keyword arguments of `edgeexit.load`."""
        return {**super().make_arguments(), "accept_device": self.accept_device, "verify": self.verify}


def expand_blocks(function: Callable[..., None]) -> Iterator[inspect.Parameter]:
    """The parameters of a command's function, with the options of a block in place of the block."""
    for parameter in _list_parameters(function):
        block = parameter.annotation
        yield from _list_parameters(block) if _is_block(block) else (parameter,)


def gather_blocks(function: Callable[..., None], given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a command's function, from the value of every option.

    Args:
        function: the command.
        given: value of each parameter that `expand_blocks` names.
    """
    found = dict(given)
    for parameter in _list_parameters(function):
        block = parameter.annotation
        if _is_block(block):
            found[parameter.name] = block(**{option.name: found.pop(option.name) for option in _list_parameters(block)})
    return found


def _list_parameters(function: Callable[..., Any]) -> Iterable[inspect.Parameter]:
    return inspect.signature(function, eval_str=True).parameters.values()


def _is_block(kind: Any) -> TypeGuard[Callable[..., Any]]:
    return isinstance(kind, type) and is_dataclass(kind)
