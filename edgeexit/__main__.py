"""`python -m edgeexit` is `edgeexit`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

_INTERRUPTED = "interrupted; what was there before is unchanged\n"
_EXIT_CODE = 130


def main() -> None:
    """Run the command line. Ctrl-C while it is still being imported ends it as Ctrl-C later does."""
    try:
        run = _import_interruptibly()
        run()
    except KeyboardInterrupt:
        sys.stderr.write(_INTERRUPTED)
        sys.exit(_EXIT_CODE)


def _import_interruptibly() -> Callable[[], None]:
    handler = signal.getsignal(signal.SIGINT)
    if handler is not signal.default_int_handler:  # ignored, as in a job in the background
        return _import_command_line()
    signal.signal(signal.SIGINT, _end_at_once)
    run = _import_command_line()
    signal.signal(signal.SIGINT, handler)
    return run


def _end_at_once(_number: int, _frame: FrameType | None) -> None:
    """End the process: nothing has been written yet, and an exception might be lost inside an import.

    Callbacks of the import system swallow it, and guards round optional packages take it for a package that is not there.
    """
    os.write(2, _INTERRUPTED.encode())
    os._exit(_EXIT_CODE)


def _import_command_line() -> Callable[[], None]:
    try:
        from edgeexit.cli.app import main as run
    except Exception as error:  # of an incomplete or damaged installation, whose modules may fail in any way
        sys.stderr.write(f"error: edgeexit cannot start: {type(error).__name__}: {error}. Install it again.\n")
        sys.exit(3)
    return run


if __name__ == "__main__":
    main()
