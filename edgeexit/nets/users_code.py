"""Run the user's code; errors name its file and line."""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeexit.errors import EdgeExitError, ModelError

_NOT_THE_USERS = (
    f"{Path(__file__).parents[1]}{os.sep}",
    *(sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")),
    "<",  # frozen modules and generated code
)


def format_code_location(error: BaseException) -> str:
    """` (net.py, line 7)`: where the user's code raised it or called what did; empty where no frame is theirs."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if not f.filename.startswith(_NOT_THE_USERS)]
    return f" ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else ""


@contextmanager
def translate_user_errors(what_failed: str) -> Iterator[None]:
    """Turn whatever a user's code raises, and its `sys.exit`, into a ModelError that names its file and line."""
    try:
        yield
    except EdgeExitError:
        raise
    except (Exception, SystemExit) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        msg = f"{what_failed}: {type(error).__name__}: {reason or 'no message'}{format_code_location(error)}"
        raise ModelError(msg) from error
