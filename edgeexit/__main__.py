"""`python -m edgeexit` is `edgeexit`."""

from __future__ import annotations

import sys
from collections.abc import Callable


def main() -> None:
    """Run the command line. Ctrl-C while it is still being imported ends it as Ctrl-C later does."""
    try:
        _import_command_line()()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was there before is unchanged\n")
        sys.exit(130)


def _import_command_line() -> Callable[[], None]:
    try:
        from edgeexit.cli.app import main as run
    except Exception as error:  # of an incomplete or damaged installation, whose modules may fail in any way
        sys.stderr.write(f"error: edgeexit cannot start: {type(error).__name__}: {error}. Install it again.\n")
        sys.exit(3)
    return run


if __name__ == "__main__":
    main()
