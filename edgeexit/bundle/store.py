"""A bundle's folder on disk: hashes of files, folders inside it, one writer at a time.

A bundle may come from an untrusted source, so nothing here follows a link that lies in it: new files are created by `util.atomic`, folders
are checked to be folders, and the lock must be a plain file.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

from edgeexit.errors import BundleError
from edgeexit.util.atomic import create_temporary
from edgeexit.util.progress import Progress

LOCK = ".lock"
LONGEST_WAIT_S = 600.0
"""Longest time that a writer waits for another one."""
_CHUNK = 1 << 22
_POLL_S = 0.1
_OPEN_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CANNOT_WRITE = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EFBIG,
        errno.ENAMETOOLONG,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENOENT,
        errno.ENOTEMPTY,
        errno.ELOOP,
        errno.EIO,
    }
)


def compute_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    hasher = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def make_folder(root: Path, name: Path) -> Path:
    """Create the folder `name` below `root`, which must consist of folders: a link inside a bundle may lead anywhere.

    Raises:
        BundleError: part of it is a link or a file.
    """
    folder = root
    for part in name.parts:
        folder /= part
        with suppress(FileExistsError):
            folder.mkdir()
        if not stat.S_ISDIR(folder.lstat().st_mode):
            msg = f"{folder} is a link or a file where a bundle has a folder; nothing was written. Remove it, then try again."
            raise BundleError(msg)
    return folder


def check_room_to_write(folder: Path) -> None:
    """Create a file in a folder and remove it again; needs no lock, so a writer at work is not in the way.

    Raises:
        BundleError: no permission, no room, no such folder.
    """
    with translate_write_errors(folder):
        probe = create_temporary(folder, "probe")
        with suppress(FileNotFoundError):  # a writer at work has swept it up
            probe.unlink()


@contextmanager
def lock_folder(folder: Path, waiting: Progress | None = None) -> Iterator[None]:
    """Hold the bundle's lock; the operating system releases it when the process ends.

    Args:
        folder: folder of the bundle.
        waiting: called while another process holds the lock, which is then waited for, `LONGEST_WAIT_S` at most; None does not wait.

    Raises:
        BundleError: another process writes this bundle, or the folder cannot be written.
    """
    until_s = monotonic() + (LONGEST_WAIT_S if waiting else 0.0)
    with translate_write_errors(folder):
        handle = _open_lock(folder)
        try:
            while not _try_lock(handle):
                if waiting is None or monotonic() > until_s:
                    msg = f"another process is writing {folder}; wait until it is done, or end it."
                    raise BundleError(msg)
                waiting("waiting for another process that writes the bundle", 0, 1)
                sleep(_POLL_S)
            if not os.fstat(handle).st_nlink:  # the writer before failed and took its new folder away, lock and all
                msg = f"another process has just removed {folder}; try again."
                raise BundleError(msg)
            yield
        finally:
            os.close(handle)


def _open_lock(folder: Path) -> int:
    path = folder / LOCK
    try:
        handle = os.open(path, _OPEN_LOCK, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise
        handle = -1
    if handle < 0 or not stat.S_ISREG(os.fstat(handle).st_mode):
        if handle >= 0:
            os.close(handle)
        msg = f"{path} is not a regular file, so the bundle cannot be locked; nothing was written. Remove it, then try again."
        raise BundleError(msg)
    return handle


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def translate_write_errors(folder: Path) -> Iterator[None]:
    """Turn the system's refusals into what to do about them; the bundle's last manifest stays in force."""
    try:
        yield
    except PermissionError as error:
        msg = f"{folder} cannot be written ({error.strerror}): give write permission, or another path."
        raise BundleError(msg) from error
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        msg = f"writing {folder} failed: {error.strerror}. What was there before is unchanged; make room, or choose another path."
        raise BundleError(msg) from error
