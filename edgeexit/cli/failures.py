"""Failures of a command: one message on stderr, an exit code and, with `--json`, one JSON object on stdout.

* 2: bad usage or input, or a file that the system refuses to read or write.
* 3: hardware or a package is missing, or an unexpected error; its traceback goes to a file that the message names.
* 130: Ctrl-C. SIGTERM (143) and SIGHUP (129) end a command in the same way, so that no temporary file and no process is left behind.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

import typer

import edgeexit
from edgeexit.cli.common import INTERRUPTED, JSON_PRINTED, VERBOSITY, CommandInterrupted, escape_control_characters
from edgeexit.cli.interrupts import raise_on_termination
from edgeexit.cli.printing import print_error
from edgeexit.errors import EdgeExitError, InputError, InternalError

SURPRISE = InternalError.exit_code
_SIGNALLED = 128  # a process that a signal ended: exit code 128 + its number, as shells have it
_BAD_USAGE: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""The base of typer's usage errors. Typer brings its own copy of click from 0.29 on, so it cannot be imported by one name."""


_GOOD_ENDS = (None, 0, 2)
"""Codes of a SystemExit that pass: argparse of a script ends with 2 and has printed what is wrong."""


def run_guarded(command: Callable[[], object], *, as_json: bool = False) -> int:
    """Run a command to its end; its exit code. Whatever it raises ends here, as one message.

    Args:
        command: returns its exit code, or None for 0, as a typer application with `standalone_mode=False` does.
        as_json: whether an error is also printed as a JSON object, where the command has printed none.
    """
    JSON_PRINTED.set(False)
    with raise_on_termination() as came:
        code = _run_to_exit_code(command, as_json=as_json)
        return _SIGNALLED + came[0].number if came and code == INTERRUPTED else code


def _run_to_exit_code(command: Callable[[], object], *, as_json: bool) -> int:
    try:
        result = command()
        sys.stdout.flush()
    except CommandInterrupted:
        return INTERRUPTED
    except KeyboardInterrupt:
        return _report_interrupt()
    except BaseException as error:  # the last one to catch it
        if isinstance(error, ImportError) and isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            return _report_interrupt()  # it came while an extension module was being imported, which makes this of it
        return _report(_find_closed_pipe(error) or error, as_json=as_json)
    code = result if isinstance(result, int) else 0
    return _report_interrupt() if code == INTERRUPTED else code


def _find_closed_pipe(error: BaseException) -> BrokenPipeError | None:
    """The closed pipe behind a SystemExit: typer and rich end a process with exit code 1 where a reader such as `head` is done."""
    if isinstance(error, SystemExit) and error.code == 1 and isinstance(error.__context__, BrokenPipeError):
        return error.__context__
    return None


def _report_interrupt() -> int:
    _print_line(sys.stderr, "interrupted; what was there before is unchanged")
    return INTERRUPTED


def _report(error: BaseException, *, as_json: bool) -> int:
    if isinstance(error, SystemExit) and error.code in _GOOD_ENDS:
        return error.code or 0
    if isinstance(error, OSError):
        _drop_unwritten(sys.stdout)
    message, code = _describe(error)
    if code == SURPRISE and _is_surprise(error):
        message = f"{message} {_write_traceback(error)}"
        if VERBOSITY.get() > 0:
            _print_line(sys.stderr, escape_control_characters("".join(traceback.format_exception(error)).rstrip()))
    if isinstance(error, _BAD_USAGE):
        _show_usage(error)
    else:
        _print_error(message)
    if as_json and not JSON_PRINTED.get():
        document = {"schema": "edgeexit.error/1", "kind": type(error).__name__, "message": message, "exit_code": code}
        _print_line(sys.stdout, json.dumps(document, indent=2))
    return code


def _describe(error: BaseException) -> tuple[str, int]:
    """Message for the user, and exit code."""
    if isinstance(error, EdgeExitError):
        return str(error), error.exit_code
    if isinstance(error, _BAD_USAGE):
        return error.format_message(), error.exit_code
    if isinstance(error, BrokenPipeError):
        return "the program that reads the output closed the pipe before everything was printed.", SURPRISE
    if isinstance(error, OSError) and error.errno is not None:  # the system refused something
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return f"{where}{error.strerror or error}", InputError.exit_code
    if isinstance(error, MemoryError):
        return "out of memory: give fewer samples (--limit) or a smaller network.", SURPRISE
    text = " ".join(str(error).split())
    return f"unexpected {type(error).__name__}{f': {text[:500]}' if text else ''}.", SURPRISE


def _is_surprise(error: BaseException) -> bool:
    """Whether it may be a fault of edgeexit, so that a report needs the traceback."""
    return isinstance(error, InternalError) or not isinstance(error, EdgeExitError | BrokenPipeError)


def _write_traceback(error: BaseException) -> str:
    """Write it to a new file among the temporary ones; the sentence that names the file, or says that there is none."""
    try:
        handle, path = tempfile.mkstemp(prefix="edgeexit-error-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"edgeexit {edgeexit.__version__}, Python {platform.python_version()}, {platform.platform()}\n")
            file.write(f"command: {sys.argv!r}\n\n")
            file.writelines(traceback.format_exception(error))
    except (OSError, MemoryError, RecursionError) as fault:
        return f"Its traceback could not be written ({type(fault).__name__})."
    return f"Please report it with the traceback in {path}"


def _show_usage(error: Any) -> None:
    """What is wrong, how the command is used, and where the help is; the help itself where nothing was given."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        _print_line(sys.stderr, error.format_message())
        return
    _print_error(error.format_message())
    if context is not None:
        _print_line(sys.stderr, context.get_usage())
        _print_line(sys.stderr, f"Help: {context.command_path} --help")


def _print_error(message: str) -> None:
    with suppress(OSError, ValueError):
        print_error(message)


def _print_line(stream: TextIO | None, text: str) -> None:
    """Print a line where somebody may still read it."""
    with suppress(OSError, ValueError):  # ValueError: the stream is closed
        typer.echo(text, file=stream)


def _drop_unwritten(stream: TextIO | None) -> None:
    """Send what a closed pipe or a full disk did not take to nowhere, so that the interpreter does not try it again when it ends."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            stream.flush()
