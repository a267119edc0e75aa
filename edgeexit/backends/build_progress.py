"""Progress of builds that take minutes: the caller sets a callback, the backend that builds calls it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from edgeexit.util.progress import Progress, show_nothing

_WATCHER: ContextVar[Progress] = ContextVar("who watches builds", default=show_nothing)


@contextmanager
def report_builds_to(progress: Progress) -> Iterator[None]:
    """Report the progress of builds started inside the block to `progress`."""
    token = _WATCHER.set(progress)
    try:
        yield
    finally:
        _WATCHER.reset(token)


def get_build_progress() -> Progress:
    """The current progress callback for builds."""
    return _WATCHER.get()
