"""Read a program's answer: made once for each program, so that nothing is looked up on the way of an inference."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from edgeexit.backends import Program
from edgeexit.errors import InputError
from edgeexit.runtime.prediction import Prediction

Reader: TypeAlias = Callable[..., Prediction]
"""Called with the exit that the last run left at, from 1, and whether a deadline has passed."""


def explain_nan(exit: int, sample: int | None = None) -> str:
    """Message that the network gave NaN at an exit, of many samples with the number of the sample."""
    where = "" if sample is None else f" for sample {sample}"
    return f"the network gave NaN at exit {exit}{where}; its weights or its precision overflow on this input."


def make_reader(program: Program, sign: int, *, shown: int = 0, reuse: bool = False) -> Reader:
    """A function that reads the answer of a program's last run.

    An engine leaves little of Python in the caches, so each function and each look-up less on this way is about 0.2 µs.

    Args:
        program: the program.
        sign: of the criterion, from inner scores to its own unit.
        shown: exit that a prediction names; 0 names the one that was left at.
        reuse: give the logits as a read-only view that the next run overwrites, and not as a copy.
    """
    parts = [_list_reads(program, exit, reuse) for exit in range(1, program.exits + 1)]
    make, isnan = tuple.__new__, math.isnan

    def read(exit: int, late: bool = False) -> Prediction:
        row, copy, argmax, item, read_score = parts[exit - 1]
        label = int(argmax())
        if isnan(item(label)):  # argmax finds NaN before any number
            raise InputError(explain_nan(exit))
        logits = row if copy is None else copy()
        return make(Prediction, (label, shown or exit, sign * read_score(), logits, late))

    return read


def _list_reads(program: Program, exit: int, reuse: bool) -> tuple[Any, ...]:
    """The row of an exit's logits, and what is called for each answer."""
    row = program.logits(exit)[0]
    if reuse:
        row.flags.writeable = False  # of this view; the engine has its own
    return row, None if reuse else row.copy, row.argmax, row.item, program.make_score_reader(exit)
