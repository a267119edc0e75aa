"""The best candidate of every setup that was timed: thresholds by the exact search on the choose part, for each criterion and subset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from edgeexit.calibration import Policy, Target, optimise
from edgeexit.calibration.margins import TimingErrors, tighten_target
from edgeexit.calibration.replay import ReplayTable
from edgeexit.calibration.solver.problem import build_problem
from edgeexit.calibration.solver.search import QUICK, Effort
from edgeexit.errors import TargetNotMet
from edgeexit.tuning.answers import Judged
from edgeexit.tuning.space import DecisionRule, TuningCandidate, search_subsets
from edgeexit.tuning.store import SetupTiming
from edgeexit.util.units import format_count


@dataclass(frozen=True)
class FoundPolicy:
    """One candidate with the best thresholds that were found for it.

    Attributes:
        candidate: how it runs, what it keeps, by which rule it leaves.
        policy: thresholds and what they do on the choose part; None where none meet the target.
        nearest: then the nearest target that can be met, where one was found.
        key: higher is better; candidates that do not meet the target come last.
    """

    candidate: TuningCandidate
    policy: Policy | None
    nearest: str | None
    key: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Chooser:
    """What every choice of a session shares.

    Attributes:
        target: what to tune for; a relative limit is a multiple of the reference's mean.
        choose: answers of the choose part.
        samples: number of samples that bounds are judged on in the end: those of all parts.
    """

    target: Target
    choose: Judged
    samples: int

    def find(
        self, timing: SetupTiming, rule: DecisionRule, kept: tuple[int, ...], effort: Effort = QUICK
    ) -> FoundPolicy:
        """The best thresholds of one candidate; every bound is kept by the half width with which it will be judged, where that can be."""
        candidate = TuningCandidate(timing.setup, rule, kept)
        table = self.choose.build_table(candidate, timing.costs, timing.reference_s)
        errors = TimingErrors(timing.costs.error, timing.costs.ratio_error)
        wanted = tighten_target(build_problem(table, self.target), errors, self.samples)
        try:
            policy = optimise(table, wanted, effort=effort)
        except TargetNotMet as refusal:
            return FoundPolicy(candidate, None, refusal.nearest, (0.0, *_rate_unmet(table)))
        return FoundPolicy(candidate, policy, None, (1.0, *self._rate(policy)))

    def _rate(self, policy: Policy) -> tuple[float, ...]:
        if self.target.minimises_mean:
            return (-policy.mean_s, policy.quality)
        return (policy.quality, -policy.mean_s)

    def find_all(self, timing: SetupTiming, rules: Sequence[DecisionRule]) -> Iterator[FoundPolicy]:
        """The best thresholds of every rule and subset of exits on one setup."""
        early = len(timing.costs.cost_s) - 1
        for rule in rules:
            found: dict[tuple[int, ...], FoundPolicy] = {}  # search_subsets looks at what was found so far
            for kept in search_subsets(early, found):
                found[kept] = self.find(timing, rule, kept)
                if found[kept].candidate.final_setup is not None:
                    yield found[kept]


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


def pick_finalists(found: Sequence[FoundPolicy]) -> tuple[FoundPolicy, ...]:
    """The best candidate, and the best of those that run otherwise or decide otherwise."""
    ranked = sorted((one for one in found if one.policy is not None), key=lambda one: one.key, reverse=True)
    if not ranked:
        return ()
    first = ranked[0].candidate
    others = (one for one in ranked[1:] if one.candidate.setup != first.setup or not _decides_alike(one, ranked[0]))
    return (ranked[0], *islice(others, 1))


def _decides_alike(one: FoundPolicy, other: FoundPolicy) -> bool:
    """Whether two policies do the same to the choose part, as entropy and its normalised form do."""
    assert one.policy is not None
    assert other.policy is not None
    return (one.policy.exit_rates, one.policy.quality) == (other.policy.exit_rates, other.policy.quality)


def make_not_met_error(target: Target, found: Sequence[FoundPolicy]) -> TargetNotMet:
    """The error where no candidate meets the target: the nearest target that can be met, and by which candidate."""
    near = max((one for one in found if one.nearest), key=lambda one: one.key, default=None)
    message = f"none of {format_count(len(found), 'candidate')} meets '{target}'."
    if near is None:
        return TargetNotMet(f"{message} No looser target of this kind was found either.")
    return TargetNotMet(
        f"{message} The nearest that can be met is '{near.nearest}', by {near.candidate}.", near.nearest
    )
