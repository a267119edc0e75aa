"""What the commands share: options, progress on stderr, one way to print a result as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any, TypeAlias

import typer

from edgeexit.progress import Progress

Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]

Spin: TypeAlias = Annotated[
    bool, typer.Option("--spin", help="Burn a core while waiting for worker threads or the GPU.")
]
BackendOptions: TypeAlias = Annotated[
    str,
    typer.Option(
        "--options",
        metavar="A=1,B=2",
        help="Of the backend, as optimization_level=5 of tensorrt; see devices/README.md.",
    ),
]


JSON_PRINTED: ContextVar[bool] = ContextVar("whether the command has printed its JSON object", default=False)


def emit(document: Mapping[str, Any], table: Callable[[], None], *, as_json: bool) -> None:
    """Print `document` as JSON, or call `table` to print it for people."""
    if as_json:
        text = json.dumps(document, indent=2, allow_nan=False)
        JSON_PRINTED.set(True)
        typer.echo(text)
    else:
        table()


INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class Interrupted(SystemExit):
    """Ends a command that Ctrl-C cut short and that has told what became of its work."""

    def __init__(self) -> None:
        super().__init__(INTERRUPTED)


_CONTROL = {c: f"\\x{c:02x}" for c in (*range(0x20), *range(0x7F, 0xA0)) if chr(c) not in "\n\t"}


def plain(text: str) -> str:
    """Text as a terminal may have it: control characters, with which a name in a file could steer it, are written as numbers."""
    return text.translate(_CONTROL)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A progress display on stderr, where that is a terminal; each distinct `what` is one line."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield advance


@contextmanager
def builds_shown() -> Iterator[None]:
    """A progress display for what opening a bundle may have to build first, such as engines of TensorRT: that takes minutes."""
    from edgeexit.backends.watch import watching

    with progress_bar() as progress, watching(progress):
        yield


def numbers(option: str, text: str) -> list[float]:
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
