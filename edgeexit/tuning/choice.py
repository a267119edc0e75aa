"""The best candidate of every setup that was timed: thresholds by the exact search on the choose part, for each criterion and subset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeexit.calibration import Policy, Target
from edgeexit.calibration.margins import TimingErrors, tighten_by_search
from edgeexit.calibration.replay import ReplayTable
from edgeexit.calibration.solver.optimum import find_best_policy
from edgeexit.calibration.solver.problem import Problem, build_problem
from edgeexit.calibration.solver.quick_search import QuickSearch
from edgeexit.calibration.solver.ranks import Boundaries
from edgeexit.calibration.solver.search import QUICK
from edgeexit.calibration.uncertainty import compute_tail
from edgeexit.errors import TargetNotMet
from edgeexit.tuning.answers import Judged
from edgeexit.tuning.multiplicity import count_independent_candidates
from edgeexit.tuning.space import DecisionRule, TuningCandidate, search_subsets
from edgeexit.tuning.store import SetupTiming
from edgeexit.util.units import format_count

FAR = 0.25
"""What is predicted to take longer than the best by more than this, relative, cannot be the faster one."""


@dataclass(frozen=True)
class FoundPolicy:
    """One candidate with the best thresholds that were found for it.

    Attributes:
        candidate: how it runs, what it keeps, by which rule it leaves.
        policy: thresholds and what they do on the choose part; None where none meet the target.
        nearest: then the nearest target that can be met, where one was found.
        key: higher is better; candidates that do not meet the target come last.
        lost: of each sample of the choose part, 1 where only the network answers it right, -1 where only the policy does, else 0;
            int8 [n]. Right means as the label says, or without labels as the network answers. None where none meet the target.
    """

    candidate: TuningCandidate
    policy: Policy | None
    nearest: str | None
    key: tuple[float, ...]
    lost: NDArray[np.int8] | None = field(default=None, compare=False, repr=False)

    @property
    def mean_s(self) -> float:
        """Predicted mean latency, seconds; infinite where nothing meets the target."""
        return float("inf") if self.policy is None else self.policy.mean_s


@dataclass(frozen=True, eq=False)
class Chooser:
    """What every choice of a session shares.

    Attributes:
        target: what to tune for; a relative limit is a multiple of the reference's mean.
        choose: answers of the choose part.
        samples: number of samples that bounds are judged on in the end: those of all parts.
        candidates: as how many independent candidates those count of which one is chosen; see `multiplicity`.
    """

    target: Target
    choose: Judged
    samples: int
    candidates: float = 1.0

    def find(self, timing: SetupTiming, rule: DecisionRule, kept: tuple[int, ...]) -> FoundPolicy:
        """The best thresholds of one candidate; every bound is kept by the half width with which it will be judged, where that can be."""
        search = QuickSearch(self.pose(timing, rule, kept))
        errors = TimingErrors(timing.costs.error, timing.costs.ratio_error)
        closer = tighten_by_search(search, errors, self.samples, self.candidates)
        return self._solve(TuningCandidate(timing.setup, rule, kept), search.pose(closer), search.find(closer))

    def find_without_room(self, timing: SetupTiming, rule: DecisionRule, kept: tuple[int, ...]) -> FoundPolicy:
        """The same at the bounds themselves: no thresholds that keep them by any room have a better key."""
        return self._solve(TuningCandidate(timing.setup, rule, kept), self.pose(timing, rule, kept))

    def pose(self, timing: SetupTiming, rule: DecisionRule, kept: tuple[int, ...]) -> Problem:
        """The problem that the target asks of a setup, a rule and the early exits that are kept."""
        table = self.choose.build_table(TuningCandidate(timing.setup, rule, kept), timing.costs, timing.reference_s)
        return build_problem(table, self.target)

    def _solve(self, candidate: TuningCandidate, problem: Problem, found: Boundaries | None = None) -> FoundPolicy:
        table = problem.table
        try:
            policy = find_best_policy(problem, QUICK, found)
        except TargetNotMet as refusal:
            return FoundPolicy(candidate, None, refusal.nearest, (0.0, *_rate_unmet(table)))
        return FoundPolicy(candidate, policy, None, (1.0, *self._rate(policy)), _find_lost(table, policy))

    def _rate(self, policy: Policy) -> tuple[float, ...]:
        if self.target.minimises_mean:
            return (-policy.mean_s, policy.quality)
        return (policy.quality, -policy.mean_s)

    def find_all(
        self, timing: SetupTiming, rules: Sequence[DecisionRule], find: Find | None = None
    ) -> Iterator[FoundPolicy]:
        """The best thresholds of every rule and subset of exits on one setup, as `find` finds those of one."""
        early, find = len(timing.costs.cost_s) - 1, find or self.find
        for rule in rules:
            found: dict[tuple[int, ...], FoundPolicy] = {}  # search_subsets looks at what was found so far
            for kept in search_subsets(early, found):
                found[kept] = find(timing, rule, kept)
                if found[kept].candidate.final_setup is not None:
                    yield found[kept]

    def find_all_without_room(
        self, timings: Sequence[SetupTiming], rules: Sequence[DecisionRule]
    ) -> tuple[FoundPolicy, ...]:
        """Every rule and subset of exits on these setups, with bounds kept by no room: the most that each candidate could bring."""
        return tuple(one for timing in timings for one in self.find_all(timing, rules, self.find_without_room))

    def account_for_candidates(self, every: Sequence[FoundPolicy], timings: Sequence[SetupTiming]) -> Chooser:
        """The same with the number of independent candidates that those found without room count as.

        Only those count that can become the result. Chance can make a candidate the winner that beats the best one with room for all of
        them where it keeps no room at all, which is the most that chance could bring it; where latency decides, another measurement can
        bring forward those that are predicted to take no more than `FAR` longer.
        """
        if all(one.policy is None for one in every):
            return self
        best = max(every, key=lambda one: one.key)
        sure = replace(self, candidates=float(len(every))).find_again(best, timings)
        reach_s = (1 + FAR) * sure.mean_s if self.target.minimises_mean else 0.0
        lost = [one.lost for one in every if one.lost is not None and (one.key >= sure.key or one.mean_s <= reach_s)]
        tail = compute_tail(len(timings[0].costs.cost_s))
        return replace(self, candidates=count_independent_candidates(np.stack(lost, axis=1), tail) if lost else 1.0)

    def find_again(self, one: FoundPolicy, timings: Sequence[SetupTiming]) -> FoundPolicy:
        """A candidate that was found without room, with room."""
        timing = next(timing for timing in timings if timing.setup == one.candidate.setup)
        return self.find(timing, one.candidate.rule, one.candidate.kept)


Find: TypeAlias = Callable[[SetupTiming, DecisionRule, "tuple[int, ...]"], FoundPolicy]
"""Finds the best thresholds of a setup, a rule and the early exits that are kept."""


def _find_lost(table: ReplayTable, policy: Policy) -> NDArray[np.int8]:
    """See `FoundPolicy.lost`."""
    leaves, everyone = table.leaves_at(policy.thresholds), np.arange(len(table))
    if table.correct is not None:
        return table.backbone_right.astype(np.int8) - table.correct[everyone, leaves].astype(np.int8)
    assert table.agreement is not None, "replayed answers are compared with the network's"
    return 1 - table.agreement[everyone, leaves].astype(np.int8)


def _rate_unmet(table: ReplayTable) -> tuple[float, float]:
    """Candidates that meet nothing are ordered by the cost of the exit that all could leave at."""
    return (-float(table.mean_cost[0]), 0.0)


def make_absolute(target: Target, reference_s: float) -> Target:
    """The target with limits in seconds in place of multiples of the reference's mean, which a bundle in another precision has not."""
    found = target
    for bound in target.bounds:
        if bound.relative:
            limit = float(f"{bound.limit * reference_s:.4g}")
            found = found.replace_bound(bound, replace(bound, limit=limit, relative=False))
    return found


def make_not_met_error(target: Target, found: Sequence[FoundPolicy]) -> TargetNotMet:
    """The error where no candidate meets the target: the nearest target that can be met, and by which candidate."""
    near = max((one for one in found if one.nearest), key=lambda one: one.key, default=None)
    message = f"none of {format_count(len(found), 'candidate')} meets '{target}'."
    if near is None:
        return TargetNotMet(f"{message} No looser target of this kind was found either.")
    return TargetNotMet(
        f"{message} The nearest that can be met is '{near.nearest}', by {near.candidate}.", near.nearest
    )
