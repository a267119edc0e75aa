"""The quick search for several targets on one table, each target searched once."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeexit.calibration.solver.problem import Problem
from edgeexit.calibration.solver.ranks import Boundaries
from edgeexit.calibration.solver.search import QUICK, find_best_boundaries
from edgeexit.calibration.targets import Target


@dataclass(frozen=True, eq=False)
class QuickSearch:
    """Finds the best boundaries for targets on the table of a problem, and keeps them.

    Attributes:
        problem: the table, and the target as given.
    """

    problem: Problem
    _found: dict[Target, Boundaries] = field(default_factory=dict, init=False, repr=False)

    def pose(self, target: Target) -> Problem:
        """The problem that a target asks of the table."""
        return self.problem if target == self.problem.target else self.problem.with_target(target)

    def find(self, target: Target) -> Boundaries:
        """The best boundaries found for a target, feasible if any are found to be."""
        if target not in self._found:
            self._found[target] = find_best_boundaries(self.pose(target), QUICK)
        return self._found[target]

    def is_met(self, target: Target) -> bool:
        """Whether they keep every bound."""
        return self.pose(target).is_kept_by(self.find(target))
