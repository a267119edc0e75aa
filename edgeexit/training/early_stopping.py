"""When a phase has stopped improving, read from its history, so that a resumed phase decides as an uninterrupted one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgeexit.training.phases import EarlyStopping


def find_best_epoch(stop: EarlyStopping, history: Sequence[Mapping[str, Any]]) -> int:
    """The number of the epoch, from 1, at which the watched figure last improved; 0 where it was never measured.

    Example:
        >>> rule = EarlyStopping("loss", min_change=0.1)
        >>> find_best_epoch(rule, [{"loss": 1.0}, {"loss": 0.5}, {"loss": 0.45}])
        2
    """
    best, epoch = math.inf, 0
    for number, record in enumerate(history, 1):
        value = _read_watched(stop, record)
        if value is not None and (value < best - stop.min_change or epoch == 0):
            best, epoch = value, number
    return epoch


def has_stopped_improving(stop: EarlyStopping, history: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last improvement was `patience` epochs ago or more."""
    best = find_best_epoch(stop, history)
    return best > 0 and len(history) - best >= stop.patience


def _read_watched(stop: EarlyStopping, record: Mapping[str, Any]) -> float | None:
    """The figure, smaller for better; None in epochs without it."""
    if stop.watch not in record:
        return None
    value = record[stop.watch]
    return -float(value[-1]) if stop.watch == "calibration_accuracy" else float(value)
