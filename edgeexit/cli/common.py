"""Shared by the commands: options, and one way to print a result as a table or as JSON."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

VERBOSITY: ContextVar[int] = ContextVar("how much is printed", default=0)
"""-1 with --quiet, 1 with --verbose; set by every command."""

Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]

Mode: TypeAlias = Annotated[str | None, typer.Option(help="How stages run. [default: the faster one here]")]
Backend: TypeAlias = Annotated[
    str,
    typer.Option(
        help="What runs the stages, or single ones of them (onnxruntime,2=openvino); auto: the fastest one here, or the fastest mix."
    ),
]
Threads: TypeAlias = Annotated[int, typer.Option(help="Worker threads.")]
RunBackend: TypeAlias = Annotated[
    str | None,
    typer.Option(help="What runs the stages, or one of them (2=openvino). [default: as chosen here, else onnxruntime]"),
]
RunThreads: TypeAlias = Annotated[int | None, typer.Option(help="Worker threads. [default: as tuned here, else 1]")]
Thresholds: TypeAlias = Annotated[
    str | None, typer.Option(metavar="T1,T2,...", help="In the criterion's unit. [default: calibrated]")
]
BundlePath: TypeAlias = Annotated[Path, typer.Argument(help="Bundle made by edgeexit compile.")]
Vary: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY",
        help="What compared results may differ in, such as threads or thresholds; criterion allows other thresholds and another mode too."
        " Repeatable.",
    ),
]
Spin: TypeAlias = Annotated[
    bool, typer.Option("--spin", help="Burn a core while waiting for worker threads or the GPU.")
]
Cores: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--cores",
        metavar="big|little|0-3",
        help="Pin threads to the big cores, the little ones, or those of a list. [default: the system chooses]",
    ),
]
BackendOptions: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--options",
        metavar="A=1,B=2",
        help="Options of the backend, such as optimization_level=5 for tensorrt; may be repeated.",
    ),
]

AcceptDevice: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--accept-device",
        help="Without a calibration of this device, use the nearest of another one if its times hold here; measured for 5 s.",
    ),
]
Verify: TypeAlias = Annotated[
    Path | None,
    typer.Option("--verify", metavar="KEY", help="Public key that the bundle must be signed with; see edgeexit sign."),
]


def join_options(options: list[str] | None) -> str:
    """The options of a backend as the library takes them, however often the option was given."""
    return ",".join(options or ())


JSON_PRINTED: ContextVar[bool] = ContextVar("whether the command has printed its JSON object", default=False)


def emit(document: Mapping[str, Any], table: Callable[[], None], *, as_json: bool) -> None:
    """Print `document` as JSON, or call `table` to print it as tables."""
    if as_json:
        text = json.dumps(document, indent=2, allow_nan=False)
        JSON_PRINTED.set(True)
        typer.echo(text)
    else:
        table()


INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class CommandInterrupted(SystemExit):
    """Ends a command that Ctrl-C interrupted, after it has reported the state of its work."""

    def __init__(self) -> None:
        super().__init__(INTERRUPTED)


def make_resume_command() -> str:
    """The command that goes on with this one after an interruption."""
    words = ["edgeexit", *sys.argv[1:]]
    return shlex.join(words if "--resume" in words else [*words, "--resume"])


_CONTROL = {c: f"\\x{c:02x}" for c in (*range(0x20), *range(0x7F, 0xA0)) if chr(c) not in "\n\t"}


def escape_control_characters(text: str) -> str:
    """Text as a terminal may have it: control characters, with which a name in a file could steer it, are written as numbers."""
    return text.translate(_CONTROL)


@contextmanager
def redirect_user_output() -> Iterator[None]:
    """Whatever the user's own code prints in the body goes to stderr, so that stdout holds the command's result alone."""
    sys.stdout.flush()
    kept = None
    with suppress(OSError, ValueError):  # there may be no file behind stdout
        kept = os.dup(1)
        os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stderr.flush()
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


def parse_numbers(option: str, text: str) -> list[float]:
    """Numbers with commas between, as an option takes them.

    Raises:
        InputError: something else.
    """
    from edgeexit.errors import InputError

    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        msg = f"{option} must be numbers with commas between, such as 0.1,0.25; got {text!r}."
        raise InputError(msg) from error
