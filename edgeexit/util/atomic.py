"""Files that appear whole or not at all, also after a power cut.

    replace_atomically, write_bytes, write_text    files of the user, through a scratch folder beside them; faults are InputErrors
    write_whole                                    a small file in a folder that has one writer at a time; faults are OSErrors
    create_temporary, move_into_place              its two halves, for what is written piece by piece
    write_new                                      a file that must not exist yet

New files are created with O_EXCL and O_NOFOLLOW, since a folder may come from an untrusted source with links in it.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgeexit.errors import InputError
from edgeexit.util.arguments import make_printable
from edgeexit.util.scratch import make_scratch_folder


def make_output_folder(path: Path) -> None:
    """Make a folder that the user named, with those above it; one that is there already stays as it is.

    Raises:
        InputError: it cannot be made, or it is a bundle, to whose files none may be added.
    """
    if _is_bundle(path):
        msg = f"{path} is a bundle: choose another folder to write into."
        raise InputError(msg)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"cannot make the folder {path}: {error.strerror or error}"
        raise InputError(msg) from error


def _is_bundle(path: Path) -> bool:
    try:
        return b'"edgeexit.bundle/' in (path / "manifest.json").read_bytes()
    except OSError:
        return False


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
                move_into_place(file, target.parent / file.name)
    except OSError as error:
        raise _make_write_error(target, error) from error


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file whole or not at all; see `replace_atomically`."""
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


def move_into_place(unfinished: Path, final: Path) -> None:
    """Make a finished file appear under its name, whole, also after a power cut."""
    _sync(unfinished)
    unfinished.replace(final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_TEMPORARY = ".tmp-"
_LONGEST_NAME = 100  # of the readable part of a temporary name
_OPEN_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def create_temporary(folder: Path, name: str) -> Path:
    """Create an empty file under a new random name in `folder`, which its next writer removes if it is left unfinished."""
    path = folder / f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}-{name[-_LONGEST_NAME:]}"
    os.close(os.open(path, _OPEN_NEW, 0o666))
    return path


def is_temporary(path: Path) -> bool:
    """Whether a file was left unfinished."""
    return path.name.startswith(_TEMPORARY)


def write_whole(final: Path, content: bytes) -> None:
    """Write a small file so that its name holds the old content or the new one, never part of it."""
    unfinished = create_temporary(final.parent, final.name)
    try:
        unfinished.write_bytes(content)
        move_into_place(unfinished, final)
    finally:
        with suppress(OSError):
            unfinished.unlink()


def write_new(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file where nothing is yet; a file that cannot be written to its end is removed.

    Raises:
        OSError: it cannot be written; FileExistsError where something has the name.
    """
    handle = os.open(path, _OPEN_NEW, mode)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
    except OSError:
        path.unlink()
        raise
