"""`python -m edgeexit.data mnist cifar10`: fetch public sets into $EDGEEXIT_DATA or ~/.cache/edgeexit; --images writes PNGs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeexit.data.download import find_data_folder
from edgeexit.data.image_export import IMAGE_SETS, write_image_folder
from edgeexit.data.named import DOWNLOADS, fetch_set
from edgeexit.errors import InputError


def main(words: Sequence[str] | None = None) -> int:
    """Fetch what is named; what is there already, with the right hash, is left alone."""
    parser = argparse.ArgumentParser(prog="python -m edgeexit.data", description=__doc__)
    parser.add_argument("sets", nargs="+", choices=sorted(DOWNLOADS))
    parser.add_argument(
        "--images", type=Path, metavar="FOLDER", help="write FOLDER/<part>/<class>/<number>.png as well"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="the first N images of each part only")
    arguments = parser.parse_args(words)
    if arguments.images is not None and len(arguments.sets) > 1:
        msg = "--images writes one set into its folder; name one set"
        raise InputError(msg)
    if arguments.limit is not None and arguments.limit < 1:
        msg = f"--limit is {arguments.limit}; a number from 1 is needed"
        raise InputError(msg)
    for name in arguments.sets:
        fetch_set(name, _show_bytes)
    sys.stdout.write(f"{find_data_folder()}\n")
    if arguments.images is not None:
        (name,) = arguments.sets
        count = write_image_folder(name, arguments.images, limit=arguments.limit, progress=_show_images)
        sys.stdout.write(f"{count:,} images in {arguments.images}; prepared for edgeexit's networks by\n")
        sys.stdout.write(f"  --preprocess {IMAGE_SETS[name].preprocess}\n")
    return 0


def _show_bytes(what: str, done: int, total: int) -> None:
    end = "\n" if done == total else ""
    sys.stderr.write(f"\r{what}: {done / 2**20:.1f} of {total / 2**20:.1f} MiB{end}")


def _show_images(what: str, done: int, total: int) -> None:
    end = "\n" if done == total else ""
    sys.stderr.write(f"\r{what}: {done:,} of {total:,} images{end}")


if __name__ == "__main__":
    from edgeexit.cli.failures import run_guarded

    sys.exit(run_guarded(main))
