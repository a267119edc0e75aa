"""The `edgeexit` command: every sub-command in one table, errors turned into one message and an exit code."""

from __future__ import annotations

import os
import sys
import warnings
from functools import partial
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import typer

import edgeexit
from edgeexit.cli.commands import ABOUT, COMMANDS
from edgeexit.cli.common import VERBOSITY
from edgeexit.cli.failures import run_guarded
from edgeexit.cli.help import Group, add_command
from edgeexit.cli.interrupts import allow_interrupts
from edgeexit.cli.printing import print_warning
from edgeexit.errors import InputError
from edgeexit.util.scratch import remove_own, remove_stale


class _InOrder(Group):
    """Commands and groups of commands in one order."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names as `COMMANDS` has them."""
        names = (*COMMANDS, *ABOUT)
        return sorted(super().list_commands(ctx), key=names.index)


app = typer.Typer(
    help="Split, compile, calibrate and measure early-exit networks on the device they will run on.",
    epilog="Start with: edgeexit demo",
    cls=_InOrder,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # usage errors look like all others; `help` draws the rest
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"edgeexit {edgeexit.__version__}")
        raise typer.Exit


@app.callback()
def _set_common_options(
    _version: bool = typer.Option(
        False, "--version", "-V", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="As -q of the command.", hidden=True),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="As -v of the command.", hidden=True),
) -> None:
    """Options before the command."""
    VERBOSITY.set(-1 if quiet else int(verbose))


for _name in (*COMMANDS, *ABOUT):
    _module = _name.replace("-", "_")
    _command = getattr(import_module(f"edgeexit.cli.cmd_{_module}"), f"{_module}_command")
    if isinstance(_command, typer.Typer):
        app.add_typer(_command, name=_name, rich_help_panel="Commands")
    else:
        add_command(app, _name, _command)


def _show_warning(message: Warning | str, category: type[Warning], *_place: object, **_more: object) -> None:
    if not issubclass(category, DeprecationWarning):
        print_warning(str(message))


def _prepare_streams() -> None:
    """Make streams robust: unencodable characters are escaped, and output to a closed stream is dropped."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - to the end of the process
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


_COMPLETION = {"--install-completion", "--show-completion"}


def _run(options: list[str]) -> Any:
    """Run the command that the arguments name.

    Raises:
        InputError: completion is asked for, and the shell cannot be found out.
    """
    if _COMPLETION & set(options) and not _is_in_shell():
        msg = (
            "cannot find out which shell runs this, so there is no completion to show or install. Run it in bash, zsh, fish or PowerShell,"
            " or print a script for one: _EDGEEXIT_COMPLETE=source_bash edgeexit"
        )
        raise InputError(msg)
    return app(prog_name="edgeexit", standalone_mode=False)


def _is_in_shell() -> bool:
    import shellingham

    try:
        shellingham.detect_shell()
    except shellingham.ShellDetectionFailure:
        return False
    return True


def main() -> None:
    """Run the command line; whatever goes wrong is one message on stderr and an exit code, never a traceback."""
    warnings.showwarning = _show_warning  # where it was raised is of no use to a user
    _prepare_streams()
    remove_stale()  # what killed commands left among the temporary files
    given = sys.argv[1:]
    options = given[: given.index("--")] if "--" in given else given
    with allow_interrupts():
        code = run_guarded(partial(_run, options), as_json="--json" in options)
    remove_own()
    sys.exit(code)
