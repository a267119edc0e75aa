"""The per-user cache of files that a runtime makes of a bundle's stages: private, outside bundles, and never taken from anywhere else.

Who can write into such a folder can have this user run any code, so that it must belong to this user alone.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edgeexit.errors import InputError
from edgeexit.util.atomic import write_whole

CACHE_VARIABLE = "EDGEEXIT_CACHE"


def find_cache_root() -> Path:
    """`$EDGEEXIT_CACHE`, else `$XDG_CACHE_HOME/edgeexit`, else `~/.cache/edgeexit`."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeexit"


def make_cache_folder(*names: str, root: Path | None = None) -> Path:
    """The folder `<root>/<name>/...`, made where needed; each named part is this user's alone.

    Args:
        names: names of the folders below the root, outermost first.
        root: root of the cache; None for `find_cache_root`.

    Raises:
        InputError: a folder belongs to someone else, others may use it, or it cannot be made.
    """
    folder = root or find_cache_root()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            folder = _make_private_folder(folder / name)
    except OSError as error:
        msg = f"engines cannot be kept in {folder} ({error.strerror}): give another folder in {CACHE_VARIABLE}."
        raise InputError(msg) from error
    return folder


def read_own_file(file: Path) -> bytes:
    """The bytes of a file that is ours and no link; nothing where it is someone else's.

    Raises:
        OSError: it is not there, or it is a link.
    """
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as stream:
        if os.fstat(handle).st_uid != os.getuid():
            return b""
        return stream.read()


def keep_file(file: Path, content: bytes) -> None:
    """Write a file of the cache whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    try:
        write_whole(file, content)  # readable by no one else: the folder is closed to them
    except OSError as error:
        msg = f"{file} cannot be written ({error.strerror}): make room, or give another folder in {CACHE_VARIABLE}."
        raise InputError(msg) from error


def _make_private_folder(folder: Path) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        msg = (
            f"{folder} holds native code and must be a folder of this user alone (it has mode {stat.S_IMODE(found.st_mode):o}):"
            f" chmod 700 {folder}, or give another folder in {CACHE_VARIABLE}."
        )
        raise InputError(msg)
    return folder
