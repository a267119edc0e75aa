"""`python -m edgeexit.data mnist cifar10`: fetch public sets into $EDGEEXIT_DATA or ~/.cache/edgeexit."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from edgeexit.data.download import find_data_folder
from edgeexit.data.named import DOWNLOADS, fetch_set


def main(words: Sequence[str] | None = None) -> int:
    """Fetch what is named; what is there already, with the right hash, is left alone."""
    parser = argparse.ArgumentParser(prog="python -m edgeexit.data", description=__doc__)
    parser.add_argument("sets", nargs="+", choices=sorted(DOWNLOADS))
    sets = parser.parse_args(words).sets
    for name in sets:
        fetch_set(name, _show)
    sys.stdout.write(f"{find_data_folder()}\n")
    return 0


def _show(what: str, done: int, total: int) -> None:
    end = "\n" if done == total else ""
    sys.stderr.write(f"\r{what}: {done / 2**20:.1f} of {total / 2**20:.1f} MiB{end}")


if __name__ == "__main__":
    from edgeexit.cli.failures import run_guarded

    sys.exit(run_guarded(main))
