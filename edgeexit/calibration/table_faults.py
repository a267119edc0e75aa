"""What is wrong with a replay table: every fault of its shapes and values, found at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgeexit.calibration.replay import ReplayTable

NO_SECONDS = (
    "this table has multiply-accumulates and no seconds, so that nothing about time can be bounded or computed. Bound macs<= instead, or "
    "give cost_s=, the measured latency of leaving at each exit."
)
_SECONDS = ("head_s", "typical_s", "backbone_s")


def find_table_faults(table: ReplayTable) -> list[str]:
    """Faults of a table, as parts of a sentence; empty where it is consistent."""
    if table.cost_s:
        exits, named = len(table.cost_s), "cost_s"
    elif table.macs is not None:
        exits, named = table.macs.size, "macs"
    else:
        return ["it needs the cost of leaving at each exit: cost_s in seconds, or macs"]
    faults = [*_find_score_faults(table, exits, named), *_find_cost_faults(table, exits)]
    return faults if table.scores.ndim != 2 else [*faults, *_find_flag_faults(table, exits)]


def _find_score_faults(table: ReplayTable, exits: int, named: str) -> Iterator[str]:
    if exits < 2:
        yield f"{named} has {exits} exits, at least 2 are needed"
    if table.scores.ndim != 2 or table.scores.shape[1] != exits - 1:
        shape = list(table.scores.shape)
        yield f"scores must be [M, N-1] = [M, {exits - 1}] for the {exits} exits of {named}, not {shape}"
    elif not len(table.scores):
        yield "there are no samples"
    if not np.isfinite(table.scores).all():
        yield f"{int((~np.isfinite(table.scores)).sum())} scores are NaN or infinite"


def _find_flag_faults(table: ReplayTable, exits: int) -> Iterator[str]:
    shape = (len(table.scores), exits)
    for name in ("correct", "agreement"):
        array = getattr(table, name)
        if array is not None and array.shape != shape:
            yield f"{name} must be [M, N] = {list(shape)}, not {list(array.shape)}"
    straight = table.backbone_correct
    if straight is not None and straight.shape != shape[:1]:
        yield f"backbone_correct must be [M] = [{shape[0]}], not {list(straight.shape)}"


def _find_cost_faults(table: ReplayTable, exits: int) -> Iterator[str]:
    if any(not s.size or not np.isfinite(s).all() or (s <= 0).any() for s in table.cost_s):
        yield "every exit needs finite costs in seconds greater than 0"
    if not table.cost_s and (given := [name for name in _SECONDS if getattr(table, name) is not None]):
        yield f"{', '.join(given)} are seconds, which need cost_s"
    for name, length in (("energy_j", exits), ("head_s", exits - 1), ("macs", exits), ("typical_s", exits)):
        array = getattr(table, name)
        if array is not None and (array.shape != (length,) or not np.isfinite(array).all() or (array < 0).any()):
            yield f"{name} must be {length} finite numbers of at least 0, not {array.tolist()}"
    if table.remote_from is not None and not 2 <= table.remote_from <= exits:
        yield f"remote_from must be an exit from 2 to {exits}, not {table.remote_from}"
    if table.backbone_s is not None and not 0 < table.backbone_s < float("inf"):
        yield f"backbone_s must be greater than 0, not {table.backbone_s}"
