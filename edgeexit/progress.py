"""Progress of long work: a plain callable, so that a library call, a test and the command line can each watch in their own way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how many units are done, and of how many. The last call of a piece has done == total."""


def silent(what: str, done: int, total: int) -> None:
    """Watch nothing."""
