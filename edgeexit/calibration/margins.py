"""Targets with room: tightened, so that the thresholds chosen keep the target itself on data never seen; loosened, so that noise alone
does not make a target infeasible.

The best policy under a bound lies at the bound, and half of all measurements of it would then lie beyond. So the choice keeps each bound
by the half width with which it will be judged, wherever that leaves thresholds to choose from. A policy that gives fewer other answers
than the network can be judged more closely, so that the room for a bound on the answers is that of the policy it leads to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist

from edgeexit.calibration.solver.problem import Problem
from edgeexit.calibration.solver.quick_search import QuickSearch
from edgeexit.calibration.targets import Bound, Target
from edgeexit.calibration.uncertainty import FLOOR, ExitSample, compute_z
from edgeexit.errors import InputError

SAFETY = 1.1
"""Safety factor on half widths, since those of the tightened choice differ a little."""
LARGE_ROOM = 0.25
"""A room that takes more than this share of what the answers may lose is worth the search for a smaller one."""
_ROOMS: tuple[tuple[float | None, float], ...] = ((None, 0.4), (2.0, 0.4))
"""Rooms that are tried in turn: standard errors, or the half width that is judged with; and the share of what the answers may lose that the
room has to leave."""
_CONFIDENT = NormalDist().inv_cdf(0.95)
"""Standard errors of the choose part that are kept, whatever they leave, where no room leaves its share: one-sided 95 %."""
_LEAST_LOSSES = (0.0, 0.2)
"""Shares of what the answers may lose that are tried in turn where no room leaves its share."""
_HALVINGS = 3
_NEAR = 0.1
"""Rooms that differ by no more than this share are not told apart."""
NOISY_TIMES = 2.0
"""On a busy machine an inference may take this many times what it takes on a quiet one."""
NOISY_TAIL = 20.0
"""... and the slowest one of many this many times: whole time slices of the scheduler."""


@dataclass(frozen=True)
class TimingErrors:
    """Relative errors of measured times: `absolute`, and `ratio` to the backbone's; `bias` of the policy's mean above its exits'."""

    absolute: float
    ratio: float
    bias: float = 0.0

    def select(self, bound: Bound) -> float:
        """The one that a bound on time is judged by."""
        return self.ratio if bound.relative else self.absolute


def tighten_target(problem: Problem, errors: TimingErrors, samples: int, candidates: float = 1.0) -> Target:
    """The target with every bound kept by its half width; a bound stays as it is where that leaves nothing to choose.

    Args:
        problem: the choose part, with costs, and the target as given.
        errors: relative errors of the times in the table.
        samples: number of samples that the choice is validated on.
        candidates: number of independent candidates of which the choose part chooses one; see `uncertainty`.
    """
    return tighten_by_search(QuickSearch(problem), errors, samples, candidates)


def tighten_by_search(search: QuickSearch, errors: TimingErrors, samples: int, candidates: float = 1.0) -> Target:
    """The same by a search that keeps what it finds, so that its caller need not search the tightened target again."""
    found = search.problem.target
    sample = _sample_best_policy(search, found, candidates)
    for bound in (*found.cost_bounds, *found.answer_bounds):
        closer = _tighten_bound(bound, sample, errors, samples)
        if _takes_much(bound, closer):
            closer = _find_smaller_room(search, found, bound, (errors, samples, candidates)) or closer
        candidate = found if closer is None else _replace_bound(found, bound, closer)
        if candidate != found and search.is_met(candidate):
            found = candidate
    return found


def _sample_best_policy(search: QuickSearch, target: Target, candidates: float) -> ExitSample:
    """Who leaves where under the best policy within a target."""
    problem = search.problem
    thresholds = problem.ranked.compute_thresholds(search.find(target))
    return ExitSample.from_thresholds(problem.table, tuple(float(t) for t in thresholds), candidates)


def _takes_much(bound: Bound, closer: Bound | None) -> bool:
    """Whether a bound on the answers, kept by the room of the best policy within it, leaves little of what may be lost."""
    loss = bound.kind.compute_allowed_loss(bound)
    return loss is not None and loss > 0 and (closer is None or _compute_loss(closer) < (1 - LARGE_ROOM) * loss)


def _compute_loss(bound: Bound) -> float:
    return bound.kind.compute_allowed_loss(bound) or 0.0


def _find_smaller_room(
    search: QuickSearch, target: Target, bound: Bound, judged: tuple[TimingErrors, int, float]
) -> Bound | None:
    """The loosest bound of a few whose best policy keeps `bound` by the half width that this policy is judged with.

    Where that leaves too little, the room is two standard errors: the choice then keeps the bound on data never seen 39 times of 40,
    undecided though it may be. Where one of several candidates is chosen, as many standard errors as keep these shares for all of them
    together, or, where that leaves too little, as many as for one alone: never less. With fewer samples see `_find_confident_bound`.
    """
    errors, samples, candidates = judged
    for factor, least, counted in _list_rooms(search.problem.table.exits, candidates):
        lost, closer = least, None
        for step in range(_HALVINGS + 1):
            tried = bound.kind.scale_allowed_loss(bound, lost)
            sample = _sample_best_policy(search, _replace_bound(target, bound, tried), counted)
            needed = _tighten_bound(bound, sample, errors, samples, factor)
            enough = needed is not None and _compute_loss(tried) <= _compute_loss(needed)
            if not enough and closer is None:
                break
            closer = tried if enough else closer
            lost += (1 if enough else -1) * (1 - least) / 2 ** (step + 1)
        if closer is not None:
            return closer
    return _find_confident_bound(search, target, bound) or _find_least_loss(search, target, bound)


def _find_confident_bound(search: QuickSearch, target: Target, bound: Bound) -> Bound | None:
    """The loosest bound of a few whose best policy, early exits in it, keeps `bound` with 95 % confidence; None where there is none.

    The standard error is that of the policy on the samples that chose it, whose luck it has to make up for. It may be larger than what the
    answers may lose: then something has to be gained on these samples. The closer the bound, the fewer answers its policy changes and the
    less room it needs: what the policy at the bound itself needs is enough, and what the policy under that room needs is too little.
    """
    factor = _CONFIDENT / compute_z(search.problem.table.exits)
    inwards, furthest = (1, bound.kind.high) if bound.kind.sign == ">=" else (-1, bound.kind.low)

    def compute_room(tried: Bound) -> float | None:
        posed = _replace_bound(target, bound, tried)
        sample = _sample_best_policy(search, posed, 1.0)
        early = search.is_met(posed) and sample.rates[-1] < 1
        return factor * bound.kind.compute_half_width(bound, sample, 0.0) if early else None

    closer, least = None, 0.0
    room = most = min(compute_room(bound) or 0.0, abs(furthest - bound.limit))
    for _ in range(_HALVINGS + 1):
        tried = replace(bound, limit=bound.limit + inwards * room)
        needed = compute_room(tried)
        if needed is None:  # nothing leaves early with as much room
            most = room
        elif needed > room:
            least = room
        else:
            closer, least, most = tried, max(least, needed), room
        if most - least <= _NEAR * most:
            break
        room = (least + most) / 2
    return closer


def _find_least_loss(search: QuickSearch, target: Target, bound: Bound) -> Bound | None:
    """The bound under which least of the choose part may be lost while some of it leaves early; None where there is none.

    So few samples leave nothing to be confident of, and thresholds chosen at the bound itself, which chance favours, break it on data never
    seen more often than not.
    """
    for share in _LEAST_LOSSES:
        closer = bound.kind.scale_allowed_loss(bound, share)
        tried = _replace_bound(target, bound, closer)
        if search.is_met(tried) and _sample_best_policy(search, tried, 1.0).rates[-1] < 1:
            return closer
    return None


def _list_rooms(exits: int, candidates: float) -> Iterator[tuple[float, float, float]]:
    """The rooms that are tried in turn: parts of a half width, the share of what may be lost that they have to leave, and the number of
    candidates that the half width counts.
    """
    for errors_wide, least in _ROOMS:
        for counted in dict.fromkeys((candidates, 1.0)):
            judged = compute_z(exits, counted)
            yield SAFETY if errors_wide is None else _widen(errors_wide, counted) / judged, least, counted


def _widen(errors_wide: float, candidates: float) -> float:
    """Standard errors beyond which any of the candidates lies as seldom as one alone lies beyond `errors_wide`, at most."""
    normal = NormalDist()
    return -normal.inv_cdf(normal.cdf(-errors_wide) / candidates)


def _replace_bound(target: Target, old: Bound, new: Bound) -> Target:
    try:
        return target.replace_bound(old, replace(new, limit=float(f"{new.limit:.4g}")))
    except InputError:  # exit rates that would add up to more than all samples
        return target


def _tighten_bound(
    bound: Bound, sample: ExitSample, errors: TimingErrors, samples: int, factor: float = SAFETY
) -> Bound | None:
    """The tightened bound; None where the half width is as large as the bound, so that no choice would help."""
    fewer = (len(sample.leaves) / samples) ** 0.5  # half widths of all samples, from those of a part
    room = factor * bound.kind.compute_half_width(bound, sample, errors.select(bound))
    return bound.kind.tighten_bound(bound, sample, room, fewer, errors.bias)


def tighten_time_limits(target: Target, errors: TimingErrors) -> Target:
    """The target with only the limits on time tightened, by the error of the times: a proof takes times as exact."""

    def closer(bound: Bound) -> Bound:
        if not bound.kind.of_time:
            return bound
        limit = bound.limit / (1 + FLOOR + errors.select(bound) + max(0.0, errors.bias))
        return replace(bound, limit=float(f"{limit:.4g}"))

    return Target(tuple(closer(b) for b in target.bounds))


def loosen_time_limits(target: Target, errors: TimingErrors, *, noisy: bool) -> Target:
    """The target with the limits on time at the far end of the error of the times; on a noisy machine, of what noise can do."""

    def looser(bound: Bound) -> Bound:
        if not bound.kind.of_time:
            return bound
        factor = 1 + FLOOR + min(1.0, errors.select(bound))
        if noisy:
            factor *= NOISY_TIMES if bound.kind.tail is None else NOISY_TAIL
        return replace(bound, limit=bound.limit * factor)

    return Target(tuple(looser(b) for b in target.bounds))
