"""`edgeexit help`: the help of a command, as `edgeexit COMMAND --help` prints it."""

from __future__ import annotations

from typing import Annotated

import typer


def help_command(
    command: Annotated[list[str] | None, typer.Argument(help="A command; without one, all are listed.")] = None,
) -> None:
    """Show the help of a command.

    Example: edgeexit help calibrate
    """
    from edgeexit.cli.app import app

    app([*(command or ()), "--help"], prog_name="edgeexit", standalone_mode=False)
