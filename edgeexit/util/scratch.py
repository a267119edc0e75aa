"""Temporary folders that do not stay behind, however their process ends.

* It ends well, or an exception or Ctrl-C ends it: the folder is removed on the way out; where that happens while the folder is being made
  or removed, at the end of the process.
* SIGTERM or SIGHUP ends it: unless the user's program handles them, they are handled while there is such a folder.
* SIGKILL or a power cut: the next process that makes such a folder, or the next command, removes it. A live process holds a lock on its
  folders, and the kernel releases that however the process ends; a process number could belong to another container by then.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from types import FrameType

PREFIX = "edgeexit-"
_UNLOCKED, _LOCKED = "new-", "in-use-"
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_ABANDONED_S = 3600.0  # a folder that is still not locked after this is abandoned: locking it takes microseconds

_LIVE: set[Path] = set()
"""Names of scratch folders of this process, for the handler of signals that end it: there are folders of these names, or there were or
will be in a moment."""


@contextmanager
def make_scratch_folder(parent: Path | None = None, prefix: str = PREFIX) -> Iterator[Path]:
    """A new folder that only this user may read, removed with all that is in it when the body ends.

    Args:
        parent: where to make it; None for the system's place for temporary files.
        prefix: how its name begins. Folders of that prefix which killed processes left in `parent` are removed first.

    Raises:
        OSError: it cannot be made.
    """
    place = Path(tempfile.gettempdir()) if parent is None else parent
    remove_stale(place, prefix)
    names = _choose_names(place, prefix)
    owner, lock = os.getpid(), -1
    _LIVE.update(names)  # before there is anything that an interruption could leave
    try:
        folder, lock = _make_locked(*names)
        _handle_signals()
        yield folder
    finally:
        if os.getpid() == owner:  # not in a forked child, whose parent may still use it
            _remove(names)
        _LIVE.difference_update(names)
        _restore_signals()
        if lock >= 0:
            os.close(lock)


def remove_own() -> None:
    """Remove the scratch folders of this process at its end: those that an interruption left while they were being made or removed."""
    while _LIVE:
        _remove([_LIVE.pop()])


atexit.register(remove_own)
os.register_at_fork(after_in_child=_LIVE.clear)  # they are the parent's


def remove_stale(parent: Path | None = None, prefix: str = PREFIX) -> None:
    """Remove the scratch folders of that prefix which processes of this user left when they were killed."""
    with suppress(OSError):  # there is no such folder, or it cannot be listed: then there is nothing to do here
        place = Path(tempfile.gettempdir()) if parent is None else parent
        for path in list(place.iterdir()):
            if path.name.startswith(prefix):
                _remove_if_stale(path, path.name.removeprefix(prefix))


def _choose_names(place: Path, prefix: str) -> tuple[Path, Path]:
    """Unused names for the new folder and for the locked one."""
    chosen = secrets.token_urlsafe(9)
    return place / f"{prefix}{_UNLOCKED}{chosen}", place / f"{prefix}{_LOCKED}{chosen}"


def _make_locked(unlocked: Path, locked: Path) -> tuple[Path, int]:
    """A locked folder and its lock; `remove_stale` leaves the name alone under which it is locked."""
    unlocked.mkdir(mode=0o700)
    lock = os.open(unlocked, os.O_RDONLY | os.O_DIRECTORY)
    with suppress(OSError):  # a file system without locks: the folder is then never taken for a stale one
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return unlocked.rename(locked), lock
    return unlocked, lock


def _remove(folders: Iterable[Path]) -> None:
    for folder in folders:
        rmtree(folder, ignore_errors=True)


def _remove_if_stale(path: Path, kind: str) -> None:
    if not kind.startswith((_UNLOCKED, _LOCKED)):
        return
    with suppress(OSError):  # somebody else's, no folder, or removed meanwhile
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            facts = os.fstat(handle)
            fresh = kind.startswith(_UNLOCKED) and time.time() - facts.st_mtime < _ABANDONED_S
            if facts.st_uid != os.geteuid() or fresh:
                return
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an OSError where its process lives
            rmtree(path, ignore_errors=True)
        finally:
            os.close(handle)


def _remove_and_end(number: int, _frame: FrameType | None) -> None:
    """Remove what there is, then end as without a handler."""
    _remove(list(_LIVE))
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _handle_signals() -> None:
    """Only if the program does not handle them; only the main thread may install handlers."""
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _remove_and_end)


def _restore_signals() -> None:
    if threading.current_thread() is threading.main_thread() and not _LIVE:
        for number in _SIGNALS:
            if signal.getsignal(number) is _remove_and_end:
                signal.signal(number, signal.SIG_DFL)
