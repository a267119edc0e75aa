"""What may come out of damaged files: errors of edgeexit with a message, bad usage, refusals of the system. Anything else is a finding."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

import typer

from edgeexit.cli.app import app
from edgeexit.errors import EdgeExitError, InternalError

_BAD_USAGE: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def check_message(error: EdgeExitError) -> None:
    """One message for a person: not empty, no traceback, not a page long."""
    text = str(error)
    if not text.strip() or "Traceback" in text or len(text) > 4000:
        msg = f"not a message for a person: {text[:200]!r} ... ({len(text)} characters)"
        raise AssertionError(msg)


@contextlib.contextmanager
def only_edgeexit_errors() -> Iterator[None]:
    """Errors of edgeexit end the body; an internal one is a finding."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InternalError:
        raise
    except EdgeExitError as error:
        check_message(error)


def run_edgeexit(*words: object) -> str:
    """Run a command in this process, as its main function does, and return what it printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()), only_edgeexit_errors():
        try:
            app([str(word) for word in words], standalone_mode=False)
        except OSError as error:
            if error.errno is None:
                raise
        except _BAD_USAGE:
            pass
    text = out.getvalue()
    assert "\x1b" not in text, "a name from a file may not steer the terminal"
    return text
