"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeexit.errors import InputError
from edgeexit.util.arguments import make_printable
from edgeexit.util.scratch import make_scratch_folder


@contextmanager
def replace_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A scratch path beside `path` to write into; when the body ends well it takes the place of `path`, else `path` stays as it was.

    Files that the body writes beside the scratch path (the weights of a large ONNX model) move with it, before it.

    Raises:
        InputError: the folder does not exist or cannot be written, the disk is full, or `path` is a pipe or a device, whose place no file
            may take.
    """
    target = Path(path)
    try:
        if target.exists() and not (target.is_file() or target.is_dir()):
            msg = f"cannot write {target}: it is a pipe or a device, not a file."
            raise InputError(msg)
        with make_scratch_folder(target.parent, f".{target.name}.") as folder:
            yield folder / target.name
            for file in sorted(folder.iterdir(), key=lambda f: f.name == target.name):
                _sync(file)
                file.replace(target.parent / file.name)
            _sync(target.parent)
    except OSError as error:
        raise _make_write_error(target, error) from error


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file whole or not at all; see `replacing`."""
    with replace_atomically(path) as scratch:
        scratch.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text as UTF-8, whole or not at all.

    Control characters, which a page must not contain and a terminal would obey, are written as by `make_printable`.
    """
    write_bytes(path, _UNPRINTABLE.sub(lambda found: make_printable(found[0]), text).encode())


_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")  # all but tabs and ends of lines


def _make_write_error(target: Path, error: OSError) -> InputError:
    return InputError(f"cannot write {target}: {error.strerror or error}")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
