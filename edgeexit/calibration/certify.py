"""Thresholds that keep every bound of a target with a stated confidence, on data that chose nothing.

    choose part     a path of policies, in the order in which this part itself would prove them     learns anything it likes
    certify part    along that path, a p-value per bound; the first failure ends it                 learns nothing but where to stop

Fixed-sequence testing (Pareto Testing, Laufer-Goldshtein et al. 2023; Learn then Test, Angelopoulos et al. 2021): the path was fixed before
the certify part was seen, a policy passes when the largest of its p-values is at most δ, and the first failure ends the walk. With
probability 1 - δ all policies that passed keep all their bounds, for any number of exits and any finite number of samples; the best of them
is returned. Samples must be exchangeable with those to come, and the device must stay in the state in which its latencies were measured.
Latencies are samples too: where both parts have the same ones, each part of a proof about a tail gets half of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np

from edgeexit.calibration.metrics import UNPROVABLE
from edgeexit.calibration.replay import Floats, ReplayTable
from edgeexit.calibration.solver.nearest_target import make_not_met_error
from edgeexit.calibration.solver.pairs import refine
from edgeexit.calibration.solver.problem import Problem, build_problem
from edgeexit.calibration.solver.search import (
    QUICK,
    Policy,
    find_best_boundaries,
    find_best_single_boundary,
    make_policy,
)
from edgeexit.calibration.targets import Target, parse_target
from edgeexit.errors import InputError, TargetNotMet
from edgeexit.util.arguments import as_whole

PATH_POINTS = 48
_TIGHTEST = 0.25
_LEVELS = 128


@dataclass(frozen=True)
class Certificate:
    """What a certificate states about a policy.

    Attributes:
        confidence: 1 - δ, of all bounds together.
        samples: number of samples in the certify part.
        tested: policies of the path that were tested, the first failure included.
        p_values: p-values of the returned policy, per bound as written; each at most δ / rounds.
        needed: minimum number of samples for each bound, as from `samples_needed`.
    """

    confidence: float
    samples: int
    tested: int
    p_values: dict[str, float]
    needed: dict[str, int]


def samples_needed(target: str | Target, confidence: float = 0.95, *, rounds: int = 1) -> dict[str, int]:
    """How many certify samples each bound needs at the very least: the number that is enough when no sample violates the bound.

    A mean needs more the nearer it comes to its limit: about (1.6·cv/slack)² samples for a relative slack. `rounds` as for `certify`.

    Example:
        >>> import edgeexit
        >>> edgeexit.samples_needed("p99<=5ms", confidence=0.95)
        {'p99<=5ms': 299}
    """
    delta = _compute_delta(confidence, rounds)
    return {str(b): b.kind.count_needed_samples(b, delta) for b in parse_target(target).bounds}


def certify(
    choose: ReplayTable,
    test: ReplayTable,
    target: str | Target,
    *,
    confidence: float = 0.95,
    seed: int = 0,
    rounds: int = 1,
) -> tuple[Policy, Certificate]:
    """The best policy of the path from `choose` that `test` proves to keep the target.

    Args:
        choose: samples that the path is learnt from.
        test: other samples of the same costs, in random order, which prove it. A bound on a tail needs latencies of its own; where an exit
            has the same ones in both tables, `choose` gets every other one and `test` those between.
        target: what must hold.
        confidence: 1 - δ, of all bounds together.
        seed: random seed of the latencies drawn for tails.
        rounds: how often `test` may be asked altogether, as with new costs; each time may spend δ / rounds, so that all hold together.

    Raises:
        InputError: confidence out of (0, 1), or too few samples for any proof; says how many are needed.
        TargetNotMet: not even the safest policy can be proved to keep the target.
    """
    parsed = parse_target(target)
    _refuse_too_few(test, samples_needed(parsed, confidence, rounds=rounds), confidence)
    choose, test = separate_latencies(choose, test, parsed)
    path = build_safe_path(build_problem(choose, parsed))
    return prove(path, choose, test, parsed, confidence=confidence, seed=seed, rounds=rounds)


def separate_latencies(choose: ReplayTable, test: ReplayTable, target: Target) -> tuple[ReplayTable, ReplayTable]:
    """Both tables with latencies of their own, where a tail is bounded and an exit has the same ones in both: every other one each.

    Means stay those of all latencies. A cost known only as its mean stays in both.
    """
    shared = [
        len(ours) > 1 and np.array_equal(ours, theirs) for ours, theirs in zip(choose.cost_s, test.cost_s, strict=False)
    ]
    if not any(shared) or all(bound.kind.tail is None for bound in target.bounds):
        return choose, test

    def every_other(table: ReplayTable, first: int) -> ReplayTable:
        costs = [c[first::2] if halve else c for c, halve in zip(table.cost_s, shared, strict=False)]
        return table.with_costs(costs, typical_s=table.mean_cost_s)

    return every_other(choose, 0), every_other(test, 1)


def prove(
    path: Sequence[Policy],
    choose: ReplayTable,
    test: ReplayTable,
    target: str | Target,
    *,
    confidence: float = 0.95,
    seed: int = 0,
    rounds: int = 1,
) -> tuple[Policy, Certificate]:
    """The best policy of a path learnt without `test` that `test` proves to keep the target; `choose` says in which order to try.

    A path learnt from measured latencies has seen those of `test` unless the tables were taken `apart` before. Args and errors as for
    `certify`.
    """
    parsed, delta = parse_target(target), _compute_delta(confidence, rounds)
    needed = samples_needed(parsed, confidence, rounds=rounds)
    _refuse_too_few(test, needed, confidence)
    choose, test = separate_latencies(choose, test, parsed)
    foreseen = _compute_worst_p_values(_compute_all_p_values(choose, parsed, path, delta, seed))
    path = [path[i] for i in np.argsort(foreseen, kind="stable")]
    per_bound = _compute_all_p_values(test, parsed, path, delta, seed)
    failures = np.flatnonzero(_compute_worst_p_values(per_bound) > delta)
    passed = int(failures[0]) if len(failures) else len(path)
    if not passed:
        raise _make_unproved_error(per_bound, test, confidence, delta)
    best = max(range(passed), key=lambda i: _compute_goal(parsed, path[i]))
    shown = {name: float(values[best]) for name, values in per_bound.items()}
    return path[best], Certificate(confidence, len(test), min(passed + 1, len(path)), shown, needed)


def _compute_goal(target: Target, policy: Policy) -> tuple[float, float]:
    """Quality of a certified policy: larger is better."""
    return (-policy.mean_cost, policy.quality) if target.minimises_mean else (policy.quality, -policy.mean_cost)


def _compute_all_p_values(
    table: ReplayTable, target: Target, path: Sequence[Policy], delta: float, seed: int
) -> dict[str, Floats]:
    leaves = [table.leaves_at(p.thresholds) for p in path]
    return {str(b): b.kind.compute_p_values(table, b, leaves, delta, seed) for b in target.bounds}


def _compute_worst_p_values(per_bound: dict[str, Floats]) -> Floats:
    return np.asarray(np.max(list(per_bound.values()), axis=0), np.float64)


def build_safe_path(problem: Problem, points: int = PATH_POINTS) -> list[Policy]:
    """Policies from the safest to the boldest: the best with every bound tightened, less and less, down to the bounds themselves.

    Raises:
        TargetNotMet: nothing meets the target on the samples themselves.
    """
    boldest = find_best_boundaries(problem, QUICK)
    if not problem.is_kept_by(boldest):
        raise make_not_met_error(problem)
    made = [boldest]
    for tightness in _TIGHTEST * np.linspace(0, 1, points)[1:] ** 2:
        tightened = _tighten_limits(problem, float(tightness))
        point = (
            find_best_single_boundary(tightened)
            if problem.table.exits == 2
            else refine(tightened, made[-1], _LEVELS, rounds=3)
        )
        if problem.is_kept_by(point) and point not in made:
            made.append(point)
    return [make_policy(problem, point, None) for point in reversed(made)]


def _tighten_limits(problem: Problem, tightness: float) -> Problem:
    """The problem with every limit moved inwards."""
    samples = len(problem.table)
    limits = (
        replace(s, limit=bound.kind.tighten_sum(s, bound, samples, tightness))
        for s, bound in zip(problem.limits, problem.target.bounds, strict=True)
    )
    return replace(problem, limits=tuple(limits))


def _compute_delta(confidence: object, rounds: int) -> float:
    if not isinstance(confidence, Real) or not 0 < float(confidence) < 1:
        msg = f"the confidence must lie between 0 and 1, as in 0.95; got {confidence!r}."
        raise InputError(msg)
    return (1 - float(confidence)) / as_whole("rounds", rounds, 1, 1000)


def _refuse_too_few(test: ReplayTable, needed: dict[str, int], confidence: float) -> None:
    short = {name: n for name, n in needed.items() if n > len(test)}
    if short:
        lines = ", ".join(f"{name} needs {n if n < UNPROVABLE else 'infinitely many'}" for name, n in short.items())
        msg = f"{len(test)} samples cannot prove this at {confidence:g} confidence: {lines}. Give more data, or a looser target."
        raise InputError(msg)


def _make_unproved_error(
    per_bound: dict[str, Floats], test: ReplayTable, confidence: float, delta: float
) -> TargetNotMet:
    failed = [f"{name} (p = {values[0]:.3g})" for name, values in per_bound.items() if values[0] > delta]
    msg = (
        f"not even the safest policy found can be proved to keep {', '.join(failed)} at {confidence:g} confidence "
        f"with {len(test)} samples. Give more data, or a looser target."
    )
    return TargetNotMet(msg)
