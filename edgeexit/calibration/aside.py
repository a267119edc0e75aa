"""Save a finished calibration elsewhere when its bundle cannot be written."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

from edgeexit.bundle.archive import SUFFIX
from edgeexit.util.atomic import write_new

_TRIES = 1000


def write_aside(name: str, content: bytes) -> Path | None:
    """Write a file to the first of these that takes it: the working folder, the home folder, the folder for temporary files.

    Nothing is overwritten: where the name is taken, `-2` is appended. Returns the file, or None where no folder takes it.
    """
    for folder in _list_folders():
        with suppress(OSError):
            return _write_new(folder, name, content)
    return None


def _list_folders() -> list[Path]:
    places = [Path(tempfile.gettempdir())]
    with suppress(RuntimeError):
        places.insert(0, Path.home())
    with suppress(OSError):  # the working folder was removed
        places.insert(0, Path.cwd())
    return places


def _write_new(folder: Path, name: str, content: bytes) -> Path:
    for attempt in range(1, _TRIES):
        path = folder / f"{name}{f'-{attempt}' if attempt > 1 else ''}{SUFFIX}"
        with suppress(FileExistsError):
            write_new(path, content)
            return path
    raise FileExistsError(str(folder / name))
