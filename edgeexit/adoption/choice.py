"""Which candidates become exits: the set with the lowest expected latency whose accuracy falls no more than is allowed.

A set is valued by what calibration would make of it: a replay table of the candidates' answers on samples that no head was trained on, with
the cost of each exit measured on this device, and the best thresholds for the target on it. Exits are added one by one, each time the one
that gains most, as long as it gains at least `LEAST_GAIN`; then each is exchanged where another does better. That is a good set, not a
proof that no other is better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgeexit.adoption.candidates import Candidate
from edgeexit.calibration import ReplayTable, optimise, replay_table
from edgeexit.calibration.solver.search import QUICK
from edgeexit.calibration.targets import Target

LEAST_GAIN = 0.01
"""A further exit has to lower the mean latency by this share of the network's; less is within what the estimate can tell."""


@dataclass(frozen=True, eq=False)
class Trial:
    """What was found of candidates that were tried.

    Attributes:
        candidates: the candidates, from input to output.
        logits: float32 [n, candidates + 1, classes] on samples that no head was trained on; the network's own are the last.
        labels: int64 [n].
        way_s: seconds from the input to each place, [candidates].
        head_s: seconds that each head takes, [candidates].
        full_s: seconds of the network without exits.
        criterion: name of the exit criterion.
    """

    candidates: tuple[Candidate, ...]
    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    way_s: NDArray[np.float64]
    head_s: NDArray[np.float64]
    full_s: float
    criterion: str

    @cached_property
    def accuracy(self) -> list[float]:
        """Share of right answers of each candidate's head, and of the network."""
        return [float(a) for a in (self.logits.argmax(-1) == self.labels[:, None]).mean(0)]

    def make_table(self, chosen: Sequence[int]) -> ReplayTable:
        """The replay table of the network with these candidates as its exits; later exits pay for the heads before them."""
        places = list(chosen)
        heads = np.cumsum(self.head_s[places])
        cost_s = np.maximum.accumulate([*(self.way_s[places] + heads), self.full_s + heads[-1]])
        table = replay_table(self.logits[:, [*places, -1]], self.labels, self.criterion, cost_s=cost_s)
        return replace(table, backbone_s=self.full_s)

    def compute_mean_s(self, chosen: Sequence[int], target: Target) -> float:
        """Lowest mean latency that these exits allow within the target; that of the network where there are none."""
        return optimise(self.make_table(chosen), target, effort=QUICK).mean_s if chosen else self.full_s


@dataclass(frozen=True)
class Choice:
    """The candidates that were chosen.

    Attributes:
        chosen: their numbers, from input to output; empty where none gains enough.
        mean_s: expected mean latency with them.
    """

    chosen: tuple[int, ...]
    mean_s: float


def choose_candidates(trial: Trial, target: Target, budget: int) -> Choice:
    """At most `budget` candidates, no two at one place; see the module."""
    best = Choice((), trial.full_s)
    while len(best.chosen) < budget:
        found = _find_best(trial, target, _list_additions(trial, best.chosen))
        if found is None or found.mean_s > best.mean_s - LEAST_GAIN * trial.full_s:
            break
        best = found
    for place in range(len(best.chosen)):
        others = tuple(c for i, c in enumerate(best.chosen) if i != place)
        found = _find_best(trial, target, _list_additions(trial, others))
        best = found if found is not None and found.mean_s < best.mean_s and len(best.chosen) > 1 else best
    return best


def _list_additions(trial: Trial, chosen: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The set with each further candidate at a place that is still free."""
    taken = {trial.candidates[i].place.name for i in chosen}
    for i, candidate in enumerate(trial.candidates):
        if candidate.place.name not in taken:
            yield tuple(sorted((*chosen, i)))


def _find_best(trial: Trial, target: Target, sets: Iterator[tuple[int, ...]]) -> Choice | None:
    values = [Choice(chosen, trial.compute_mean_s(chosen, target)) for chosen in sets]
    return min(values, key=lambda choice: choice.mean_s, default=None)
