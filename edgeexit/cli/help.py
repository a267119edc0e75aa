"""`--help` that reads well at 80 columns: options in groups, their names never cut, the text wrapped at words.

    Usage, summary, example     from the function's docstring; a paragraph that begins with "Example:" is a command, never broken
    Arguments, groups           an option's `rich_help_panel` is its group; one without a group stands under "Options"

Every command also has -h, -q and -v.
"""

from __future__ import annotations

import copy
import functools
import inspect
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NamedTuple, get_args

import typer
from typer.core import TyperCommand, TyperGroup

from edgeexit.cli.choices import Choices
from edgeexit.cli.common import VERBOSITY
from edgeexit.cli.options import (
    OUTPUT,
    complete_option_info,
    expand_blocks,
    find_choices,
    gather_blocks,
    list_shown_names,
)
from edgeexit.cli.wrapping import wrap

_WIDEST = 100  # longer lines are hard to read
_NAMES = 26  # columns for the names of options; a longer one has a line of its own
_QUIET = "Print only results, warnings and errors: no progress, no remarks."
_VERBOSE = "Print more: every step, every table, the traceback of an unexpected error."


class Command(TyperCommand):
    """A command with edgeexit's help."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What follows the command's name in its usage."""
        return _format_usage(self, ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        formatter.write(_render(self, ctx))


class Group(TyperGroup):
    """A group of commands with edgeexit's help."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What follows the group's name in its usage."""
        return _format_usage(self, ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        formatter.write(_render(self, ctx))


def add_command(to: typer.Typer, name: str, function: Callable[..., None], *, group: str = "Commands") -> None:
    """Make a function a command with edgeexit's help, with what `options` says of its parameters, and with -q and -v.

    Args:
        to: the application or the group of commands.
        name: name of the command.
        function: its parameters are the options, or blocks of them (see `options`).
        group: under which the command is listed.
    """

    @functools.wraps(function)
    def run(*, quiet: bool = False, verbose: bool = False, **given: Any) -> None:
        if quiet or verbose:
            VERBOSITY.set(-1 if quiet else 1)
        function(**gather_blocks(function, given))

    parameters = [*_list_described_parameters(name, function), *_make_verbosity_parameters()]
    run.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    to.command(name, cls=Command, rich_help_panel=group)(run)


def _list_described_parameters(command: str, function: Callable[..., None]) -> Iterator[inspect.Parameter]:
    """The parameters of a command's function, each as `options` describes it."""
    for parameter in expand_blocks(function):
        hint, *text = get_args(parameter.annotation)
        info = copy.copy(text[0])  # an alias may be in several commands
        complete_option_info(command, parameter.name, info)
        yield parameter.replace(annotation=Annotated[hint, info], kind=inspect.Parameter.KEYWORD_ONLY)


def _make_verbosity_parameters() -> Iterator[inspect.Parameter]:
    for name, text in (("quiet", _QUIET), ("verbose", _VERBOSE)):
        info = typer.Option(f"--{name}", f"-{name[0]}", help=text, rich_help_panel=OUTPUT)
        hint = Annotated[bool, info]
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=hint)


_VALUES = {"path": "PATH", "file": "PATH", "int": "N", "float": "X"}
"""What stands for a value in the help, by a part of the framework's name of its type."""


class _Styles(NamedTuple):
    """Escape codes, empty where there is no colour."""

    heading: str = ""
    name: str = ""
    end: str = ""


def _render(command: Any, ctx: typer.Context) -> str:
    """The whole help of a command or group."""
    width, styles = _find_width_and_styles(ctx)
    usage = " ".join((ctx.command_path, *command.collect_usage_pieces(ctx)))
    parts = [wrap(f"Usage: {usage}", width, hanging=7), *_wrap_prose(command.help or "", width, styles)]
    parts += [_format_section(title, rows, width, styles) for title, rows in _group_parameters(command, ctx).items()]
    if command.epilog:
        parts.append(wrap(inspect.cleandoc(command.epilog), width))
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _format_usage(command: Any, ctx: typer.Context) -> list[str]:
    """Arguments and the options that must be given."""
    if isinstance(command, TyperGroup):
        return ["COMMAND", "..."]
    params = command.get_params(ctx)
    arguments = [p for p in params if p.param_type_name == "argument"]
    needed = [p for p in params if p.required and p not in arguments]
    named = [_format_argument_name(p) if p.required else f"[{_format_argument_name(p)}]" for p in arguments]
    return [*named, *(_format_names(p, p.opts[0]).split(", ")[-1] for p in needed), "[OPTIONS]"]


def _find_width_and_styles(ctx: typer.Context) -> tuple[int, _Styles]:
    from edgeexit.cli.printing import make_console

    shown = make_console()
    ctx.color = shown.is_terminal and not shown.no_color
    width = min(_WIDEST, shutil.get_terminal_size().columns)
    return width, _Styles("\x1b[1m", "\x1b[36m", "\x1b[0m") if ctx.color else _Styles()


def _wrap_prose(text: str, width: int, styles: _Styles) -> Iterator[list[str]]:
    """The paragraphs of a docstring, rewrapped; examples as commands on lines of their own."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text.split("\f", maxsplit=1)[0])):
        before, example, command = paragraph.partition("Example:")
        if before.strip():
            yield wrap(" ".join(before.split()), width)
        if example:
            yield [
                f"{styles.heading}Example:{styles.end}",
                *(f"  {line.strip()}" for line in _extract_commands(command)),
            ]


def _extract_commands(text: str) -> list[str]:
    """The commands of an example, each on one line however it was broken in the source."""
    return [f"edgeexit{part}" for part in " ".join(text.split()).split("edgeexit")[1:]]


def _group_parameters(command: Any, ctx: typer.Context) -> dict[str, list[tuple[str, str]]]:
    """Names and texts of arguments, options and sub-commands, by group; the common options last."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for name in command.list_commands(ctx) if isinstance(command, TyperGroup) else ():
        sub = command.get_command(ctx, name)
        if sub is not None and not sub.hidden:
            title = getattr(sub, "rich_help_panel", None)
            groups.setdefault(title if isinstance(title, str) else "Commands", []).append((name, _extract_summary(sub)))
    for param in command.get_params(ctx):
        record = None if getattr(param, "hidden", False) else param.get_help_record(ctx)
        if record is not None:
            row = (_format_names(param, record[0]), _format_help(record[1], find_choices(command.name, param)))
            groups.setdefault(_find_group(param), []).append(row)
    output = groups.pop(OUTPUT, None)
    return groups if output is None else {**groups, OUTPUT: output}


def _find_group(param: Any) -> str:
    text = getattr(param, "rich_help_panel", None)
    if isinstance(text, str):
        return text
    if param.param_type_name == "argument":
        return "Arguments"
    return OUTPUT if set(param.opts) & {"--json", "--help", "--version"} else "Options"


def _format_names(param: Any, shown: str) -> str:
    """`-o, --output PATH`: short names first. `shown` is how the framework would write it."""
    if param.param_type_name == "argument":
        return _format_argument_name(param)
    names = ", ".join(list_shown_names(param))
    if param.is_flag:
        return names
    kind = shown.rpartition("--")[2].partition(" ")[2].lower()
    value = param.metavar or next((word for part, word in _VALUES.items() if part in kind), "TEXT")
    return f"{names} {value}"


def _format_argument_name(param: Any) -> str:
    name = str(param.metavar or param.name).upper()
    return f"{name} ..." if param.nargs == -1 else name


def _format_help(shown: str, choices: Choices | None) -> str:
    """An option's help with the values that it takes, `[default: ...]` last; the framework's `[x>=0]` as text."""
    text = re.sub(r"x>=(-?[\d.]+)", r"at least \1", " ".join(shown.split()))
    text = text.replace("; required", "").replace("] [at", "; at")
    if choices is None or not choices.listed:
        return text
    text, bracket, default = text.partition("[default")
    return "\n".join(
        line.strip() for line in f"{text.strip()} {choices.describe()} {bracket}{default}".strip().split("\n")
    )


def _extract_summary(command: Any) -> str:
    """The first sentence of a command's help."""
    first = inspect.cleandoc(command.help or "").split("\n\n")[0]
    return " ".join(first.split()).partition(". ")[0].removesuffix(".")


def _format_section(title: str, rows: list[tuple[str, str]], width: int, styles: _Styles) -> list[str]:
    room = min(_NAMES, max(len(names) for names, _ in rows) + 4)
    lines = [f"{styles.heading}{title}:{styles.end}"]
    for names, text in rows:
        wrapped = wrap(text, width - room)
        head = f"  {styles.name}{names}{styles.end}"
        if len(names) + 4 > room:
            lines.append(head)
        else:
            lines.append((head + " " * (room - 2 - len(names)) + wrapped.pop(0)).rstrip())
        lines += [" " * room + line for line in wrapped if line]
    return lines
