"""Processes that edgeexit starts to measure in: how they find this very edgeexit, and that none outlives the process that started it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>


def make_child_command(code: str, *arguments: str) -> list[str]:
    """A command that runs `code` with `arguments` in `sys.argv[1:]`, on this very edgeexit; its variable `parent` is this process's number.

    Not `python -m`: that searches the working folder first, where a user's `random.py` would shadow the standard library's, and
    PYTHONSAFEPATH exists from Python 3.11 only.
    """
    begin = "import sys; sys.path[:] = [sys.argv.pop(1), *filter(None, sys.path)]; parent = int(sys.argv.pop(1)); "
    # The number is of a fixed width: the length of a command line moves the stack, and so what a simulated cache counts.
    return [
        sys.executable,
        "-c",
        begin + code,
        str(Path(__file__).resolve().parents[1]),
        f"{os.getpid():010}",
        *arguments,
    ]


def end_with_parent(parent: int) -> None:
    """End this process when the thread of process `parent` that started it ends, be it killed; at once where it has ended already.

    The kernel does so on Linux. Elsewhere the process ends when its work does.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
