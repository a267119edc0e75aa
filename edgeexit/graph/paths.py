"""Paths of a model's files: inside its folder, or, as in the cache of a model hub, where all its links lead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnx import TensorProto

from edgeexit.errors import ModelError


def follow_links(weights: Sequence[TensorProto], path: Path) -> Path:
    """The folder in which a model's outside weights lie, their locations written as names there where they are links.

    A link is followed only where it leads beside the file that the model's own link leads to, as ONNX Runtime decides it.
    """
    if not path.is_symlink():
        return path.parent
    real = path.resolve().parent
    entries = [
        e for t in weights if t.data_location == TensorProto.EXTERNAL for e in t.external_data if e.key == "location"
    ]
    names = [_name_in(real, path.parent / e.value) for e in entries]
    if not entries or None in names:
        return path.parent
    for entry, name in zip(entries, names, strict=True):
        entry.value = name
    return real


def _name_in(real: Path, file: Path) -> str | None:
    try:
        target = file.resolve()
        return target.name if target.parent == real and not Path(file.name).is_absolute() else None
    except (OSError, RuntimeError, ValueError):  # a circle of links, a name with a zero byte
        return None


def join_safely(folder: Path, location: str, name: str) -> Path:
    """The file `location` inside `folder`.

    Raises:
        ModelError: it would lie outside the folder, by `..`, an absolute path or a link.
    """
    file = folder / location
    if not location or Path(location).is_absolute() or not is_inside(folder, file):
        msg = (
            f"weight {name!r} names the file {location!r}, which lies outside the model's folder {folder}: refused. Where it is a link that"
            " you trust, compile a copy of the folder that holds the files themselves (cp -rL FOLDER COPY)."
        )
        raise ModelError(msg)
    return file


def is_inside(folder: Path, file: Path) -> bool:
    """Whether a path, links followed, lies in a folder."""
    try:
        return folder.resolve() in file.resolve().parents
    except (OSError, RuntimeError, ValueError):  # a circle of links, a name with a zero byte
        return False


def is_file(path: Path) -> bool:
    """Whether a path that comes from a file is one of a file; names too long for the system are not."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
