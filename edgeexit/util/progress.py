"""Progress of long work: a plain callable, so that a library call, a test and the command line can each watch in their own way."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how many units are done, and of how many. The last call of a piece has done == total."""

_WIDTH = 60


def show_nothing(what: str, done: int, total: int) -> None:
    """Report no progress."""


def show_in_notebooks(what: str, done: int, total: int) -> None:
    """Show a progress line in a Jupyter notebook and nothing elsewhere; the default of long calls."""
    if _is_notebook():
        count_on_one_line(what, done, total)


def count_on_one_line(what: str, done: int, total: int) -> None:
    """Write `what: 30 %` over the line before, a hundred times at most, and a new line at the end."""
    percent = 100 * done // max(1, total)
    if done < total and done > 0 and percent == 100 * (done - 1) // max(1, total):
        return
    end = "\n" if done >= total else ""
    sys.stdout.write(f"\r{f'{what}: {percent} %'.ljust(_WIDTH)}{end}")
    sys.stdout.flush()


def _is_notebook() -> bool:
    """Whether a Jupyter kernel runs this; IPython on a terminal is none."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell"
