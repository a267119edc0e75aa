"""The exact best of two thresholds, over all distinct scores, in about M·√M steps. For three exits this is the global optimum.

The first threshold rises past one sample at a time; the sums as functions of the second threshold are kept as lists of steps in blocks.

It needs costs that rise with the exits (then, for one first threshold, the feasible seconds are all those up to one, and that one only
falls), and bounds on answers of one kind at most. Where that does not hold, `optimize_pair` says so by None.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeexit.calibration.replay import Indices
from edgeexit.calibration.solver.pairs import ThresholdPair
from edgeexit.calibration.solver.problem import Problem
from edgeexit.calibration.solver.ranks import Boundaries
from edgeexit.calibration.sums import SampleSum


class StepFunction:
    """A function on places 0..top, changed by adding a constant from a place on; knows the best of a first part of it."""

    def __init__(self, places: int) -> None:
        self.width = max(8, int(places**0.5))
        blocks = -(-places // self.width)
        self.values = np.full((blocks, self.width), -np.inf)
        self.values.ravel()[:places] = 0.0
        self.raised = np.zeros(blocks)
        self.best = np.zeros(blocks)

    def add_from(self, place: int, value: float) -> None:
        """Add `value` to every place from `place` on."""
        block, inside = divmod(place, self.width)
        row = self.values[block]
        row[inside:] += value
        self.best[block] = np.maximum.reduce(row) + self.raised[block]
        self.raised[block + 1 :] += value
        self.best[block + 1 :] += value

    def most_up_to(self, place: int) -> float:
        """The largest value among places 0..place."""
        block, inside = divmod(place, self.width)
        most = np.maximum.reduce(self.values[block, : inside + 1]) + self.raised[block]
        return float(max(most, np.maximum.reduce(self.best[:block]))) if block else float(most)

    def first_reaching(self, value: float, upto: int) -> int | None:
        """The first of the places 0..upto whose value is at least `value`."""
        block = int((self.best >= value).argmax())
        if self.best[block] < value:
            return None
        place = block * self.width + int((self.values[block] + self.raised[block] >= value).argmax())
        return place if place <= upto else None


@dataclass(frozen=True, eq=False)
class OrderedSamples:
    """The samples that reach j, in the order in which a rising threshold lets them pass.

    Attributes:
        order: indices of the samples.
        rank_j: their ranks at exit j.
        place: their places at exit k among the distinct ranks there; -1 for samples that do not reach k.
        ranks_k: the rank at exit k of each place.
    """

    order: Indices
    rank_j: Indices
    place: Indices
    at: Indices
    ranks_k: Indices

    @classmethod
    def from_pair(cls, problem: Problem, pair: ThresholdPair) -> OrderedSamples:
        """Line up the samples of a pair."""
        ranked = problem.ranked
        samples = np.concatenate([pair.held, pair.free])
        at = np.concatenate([pair.held_at, pair.free_at])
        ranks_k, places = np.unique(ranked.ranks[pair.k][pair.free], return_inverse=True)
        place = np.concatenate([np.full(len(pair.held), -1), places.ravel()])
        rank_j = ranked.ranks[pair.j][samples]
        order = np.argsort(rank_j, kind="stable")
        return cls(samples[order], rank_j[order].astype(np.int64), place[order], at[order], ranks_k.astype(np.int64))

    def steps(self, quantity: SampleSum, j: int, k: int) -> tuple[list[float], list[float]]:
        """Change of a sum by each sample that passes j, and, where it is free, that passes k too."""
        held = self.place < 0
        then = np.where(held, self.at, k)
        first = quantity.get_values(then, self.order) - quantity.get_values(np.full(len(then), j), self.order)
        second = np.where(
            held, 0.0, quantity.get_values(self.at, self.order) - quantity.get_values(np.full(len(then), k), self.order)
        )
        return np.asarray(first, np.float64).tolist(), np.asarray(second, np.float64).tolist()


def optimize_pair(problem: Problem, boundaries: Boundaries, j: int, k: int) -> Boundaries | None:
    """The best boundaries at exits j < k (from 0) with the others held, over every distinct score; None where this sweep does not apply.

    The boundaries come back unchanged where no pair keeps the limits.
    """
    if not can_optimize_pairs(problem):
        return None
    costs, answers = _sort_limits(problem)
    pair = ThresholdPair.from_boundaries(problem.ranked, boundaries, j, k)
    line = OrderedSamples.from_pair(problem, pair)
    if not len(line.order) or not len(line.ranks_k):
        return None
    found = _PairSweep(problem, pair, line, costs, answers).run()
    if found is None:
        return boundaries
    chosen_j, chosen_k = found
    return tuple(chosen_j if m == j else chosen_k if m == k else b for m, b in enumerate(boundaries))


def can_optimize_pairs(problem: Problem) -> bool:
    """Whether the sweep applies to the goal and the limits."""
    costs, answers = _sort_limits(problem)
    return all(s.rises_with_exits for s in costs) and _bounds_one_kind(problem, answers)


def _sort_limits(problem: Problem) -> tuple[list[SampleSum], list[SampleSum]]:
    """Limits on costs, and limits on answers."""
    return [s for s in problem.limits if s.per_exit is not None], [s for s in problem.limits if s.per_exit is None]


def _bounds_one_kind(problem: Problem, answers: list[SampleSum]) -> bool:
    """True where all bounds on answers bound the same answers, and these are the goal if the goal is one."""
    matrices = [s.per_sample for s in answers if s.per_sample is not None]
    if problem.goal.per_sample is not None:
        matrices = [m for m in matrices if not np.array_equal(m, -problem.goal.per_sample)]
        return not matrices
    falls = problem.goal.per_exit is not None and bool(np.all(np.diff(problem.goal.per_exit) <= 0))
    return falls and bool(matrices) and all(np.array_equal(m, matrices[0]) for m in matrices[1:])


class _PairSweep:
    """State of one sweep; see the module."""

    def __init__(
        self,
        problem: Problem,
        pair: ThresholdPair,
        line: OrderedSamples,
        costs: list[SampleSum],
        answers: list[SampleSum],
    ) -> None:
        self.line, self.costs = line, costs
        self.places = len(line.ranks_k)
        self.minimises = problem.goal.per_sample is None
        gain = problem.goal if not self.minimises else SampleSum(None, -answers[0].per_sample)  # type: ignore[operator]
        price = problem.tie if not self.minimises else SampleSum(-problem.goal.per_exit)  # type: ignore[operator]
        self.gain_first, self.gain_second = line.steps(gain, pair.j, pair.k)
        self.price_first, self.price_second = line.steps(price, pair.j, pair.k)
        self.cost_steps = [line.steps(c, pair.j, pair.k) for c in costs]
        self.room = [c.limit + c.slack - pair.base(c) for c in costs]
        self.needed = max((-a.limit - a.slack for a in answers), default=-np.inf) - pair.base(gain)
        self.gained = self.price = 0.0
        self.steps = StepFunction(self.places + 1)
        self.later_price = np.zeros(self.places)
        self.later_costs = [np.zeros(self.places) for _ in costs]
        self.most_place = self.places
        self.best: tuple[float, float] | None = None
        self.chosen: tuple[int, int] | None = None

    def run(self) -> tuple[int, int] | None:
        """Sweep; the boundaries (j, k) chosen, or None where nothing is feasible."""
        if not self._shrink():
            return None
        self._consider(0)
        ranks, count = self.line.rank_j.tolist(), len(self.line.order)
        for row in range(count):
            self._pass(row)
            if row + 1 < count and ranks[row + 1] == ranks[row]:
                continue  # no threshold stands between equal scores
            if not self._shrink() or self._is_beaten():
                break
            self._consider(ranks[row] + 1)
        return self.chosen

    def _pass(self, row: int) -> None:
        place = int(self.line.place[row])
        self.gained += self.gain_first[row]
        self.price += self.price_first[row]
        for c, (first, second) in enumerate(self.cost_steps):
            # Place p at k lets the places below p pass: a sample pays for passing k while the highest feasible place is above its own.
            self.room[c] -= first[row] + (second[row] if 0 <= place < self.most_place else 0.0)
            if place >= 0:
                self.later_costs[c][place] += second[row]
        if place >= 0:
            self.later_price[place] += self.price_second[row]
            # Any second boundary above the sample's own place lets it pass k.
            if self.gain_second[row]:
                self.steps.add_from(place + 1, self.gain_second[row])

    def _shrink(self) -> bool:
        """Lower the highest feasible place until all costs keep their limits; False where none does."""
        while any(room < 0 for room in self.room):
            if self.most_place == 0:
                return False
            self.most_place -= 1
            for c, later in enumerate(self.later_costs):
                self.room[c] += float(later[self.most_place])
        return True

    def _is_beaten(self) -> bool:
        """Whether no first boundary from here on can win: their mean is higher even where all that pass j leave at k."""
        return self.minimises and self.best is not None and -self.price < self.best[0]

    def _consider(self, boundary_j: int) -> None:
        """Take the best place for this first boundary where it beats the best so far."""
        if self.minimises:
            least = self.needed - self.gained
        else:
            least = self.steps.most_up_to(self.most_place)
            if least + self.gained < self.needed or (self.best and (least + self.gained, -self.price) <= self.best):
                return  # it cannot win: later places only cost more
        place = self.steps.first_reaching(least, self.most_place)
        if place is None:
            return
        price = self.price + float(np.add.reduce(self.later_price[:place]))
        worth = (-price, 0.0) if self.minimises else (least + self.gained, -price)
        if self.best is None or worth > self.best:
            self.best, self.chosen = worth, (boundary_j, self._boundary_k(place))

    def _boundary_k(self, place: int) -> int:
        ranks: NDArray[np.int64] = self.line.ranks_k
        return int(ranks[place]) if place < self.places else int(ranks[-1]) + 1
