"""Files that are whole or absent: content names, atomic replacement, one writer at a time."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgeexit.errors import BundleError

LOCK = ".lock"
_TEMPORARY = ".tmp-"
_CHUNK = 1 << 22


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    hasher = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def temporary(folder: Path, name: str) -> Path:
    """A name in `folder` for a file that is not finished; such files are swept away by the next writer."""
    return folder / f"{_TEMPORARY}{os.getpid()}-{name}"


def is_temporary(path: Path) -> bool:
    """Whether a file was left unfinished."""
    return path.name.startswith(_TEMPORARY)


def move_into_place(unfinished: Path, final: Path) -> None:
    """Make a finished file appear under its name, whole, also after a power cut."""
    with unfinished.open("rb") as stream:
        os.fsync(stream.fileno())
    unfinished.replace(final)
    handle = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(final: Path, content: bytes) -> None:
    """Write a small file so that its name holds the old content or the new one, never part of it."""
    unfinished = temporary(final.parent, final.name)
    try:
        unfinished.write_bytes(content)
        move_into_place(unfinished, final)
    finally:
        with suppress(OSError):
            unfinished.unlink()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the bundle's lock; the system gives it back however the process ends.

    Raises:
        BundleError: another process writes this bundle, or the folder cannot be written.
    """
    with writing(folder), (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            msg = f"another process is writing {folder}; wait until it is done, or end it."
            raise BundleError(msg) from error
        if not os.fstat(lock.fileno()).st_nlink:  # the writer before failed and took its new folder away, lock and all
            msg = f"another process has just removed {folder}; try again."
            raise BundleError(msg)
        yield


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn the system's refusals into what to do about them; the bundle's last manifest stays in force."""
    try:
        yield
    except PermissionError as error:
        msg = f"{folder} cannot be written ({error.strerror}): give write permission, or another path."
        raise BundleError(msg) from error
    except OSError as error:
        if error.errno not in (
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EROFS,
            errno.EFBIG,
            errno.ENAMETOOLONG,
            errno.ENOTDIR,
            errno.ENOENT,
        ):
            raise
        msg = f"writing {folder} failed: {error.strerror}. What was there before is unchanged; make room, or choose another path."
        raise BundleError(msg) from error
