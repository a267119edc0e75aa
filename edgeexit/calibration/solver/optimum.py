"""The best policy for a target, or the nearest target that can be met."""

from __future__ import annotations

from edgeexit.calibration.replay import ReplayTable
from edgeexit.calibration.solver.nearest_target import make_not_met_error
from edgeexit.calibration.solver.problem import Problem, build_problem
from edgeexit.calibration.solver.ranks import Boundaries
from edgeexit.calibration.solver.search import (
    NORMAL,
    Effort,
    Policy,
    certify_boundaries,
    find_best_boundaries,
    make_policy,
)
from edgeexit.calibration.targets import Target, parse_target


def optimise(table: ReplayTable, target: str | Target, *, effort: Effort = NORMAL) -> Policy:
    """The best policy for a target; the same table and target always give the same one.

    With a bound on cost accuracy (agreement, without labels) is as high as it can be and ties go to the lower mean latency; with bounds on
    the answers only, the mean latency is as low as it can be. Proved for two and three exits; with more, within `Policy.gap`, and a
    tie goes to the lowest mean that the search met.

    Raises:
        InputError: the target cannot be read, or needs what the table lacks.
        TargetNotMet: no thresholds meet it; names the nearest target that some do.

    Example:
        >>> import edgeexit
        >>> table = edgeexit.ReplayTable.from_arrays(
        ...     scores=[[0.9], [0.8], [0.3], [0.2]], correct=[[1, 1], [1, 1], [0, 1], [1, 1]], cost_s=[0.001, 0.003]
        ... )
        >>> policy = edgeexit.optimise(table, "mean<=2ms")
        >>> policy.accuracy, policy.mean_s, policy.exit_rates
        (1.0, 0.002, (0.5, 0.5))
    """
    return find_best_policy(build_problem(table, parse_target(target)), effort)


def find_best_policy(problem: Problem, effort: Effort = NORMAL, found: Boundaries | None = None) -> Policy:
    """The best policy of a problem; see `optimise`.

    Args:
        problem: table and target.
        effort: of the search.
        found: the best boundaries, where they have been searched with this effort already.

    Raises:
        TargetNotMet: nothing keeps its limits.
    """
    found = find_best_boundaries(problem, effort) if found is None else found
    if not problem.is_kept_by(found):
        raise make_not_met_error(problem)
    return make_policy(problem, *certify_boundaries(problem, found, effort))
