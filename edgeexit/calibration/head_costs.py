"""What leaving costs once some heads are gone: a network recompiled without them runs everything else as before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeexit.errors import InputError

Floats = NDArray[np.float64]


def drop_head_costs(
    cost_s: Sequence[Floats], typical_s: Floats | None, head_s: Floats, dropped: Sequence[int]
) -> tuple[tuple[Floats, ...], Floats | None]:
    """The costs of the exits that stay.

    Args:
        cost_s: per exit, the measured latencies of leaving there, seconds; N arrays.
        typical_s: [N], their typical means; None where they are not known better than from `cost_s`.
        head_s: [N-1], the part of them that each early head takes.
        dropped: numbers of the early exits that go, from 1.

    Returns:
        the same two of the exits that stay. Costs of heads are estimates, so no latency falls below the fastest that was measured.

    Raises:
        InputError: an exit is not an early one.
    """
    early = len(head_s)
    if not set(dropped) <= set(range(1, early + 1)):
        msg = f"cannot drop the heads of exits {list(dropped)}: early exits are 1 to {early}."
        raise InputError(msg)
    goes = np.array([k + 1 in dropped for k in range(early)])
    saved = np.concatenate([[0.0], np.cumsum(np.where(goes, head_s, 0.0))])
    least = float(cost_s[0].min())

    def reduce_cost(cost: Floats, by: Floats | float) -> Floats:
        return np.maximum(cost - by, np.minimum(cost, least))

    stays = np.concatenate([~goes, [True]])
    costs = tuple(reduce_cost(samples, saved[k]) for k, samples in enumerate(cost_s) if stays[k])
    return costs, None if typical_s is None else reduce_cost(typical_s, saved)[stays]
