"""`python -m edgeexit` is `edgeexit`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. Ctrl-C while it is still being imported ends it as Ctrl-C later does."""
    try:
        from edgeexit.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was there before is unchanged\n")
        sys.exit(130)
    except Exception as error:  # only imports can fail here: the installation is not complete
        sys.stderr.write(f"error: edgeexit cannot start: {type(error).__name__}: {error}. Install it again.\n")
        sys.exit(3)


if __name__ == "__main__":
    main()
