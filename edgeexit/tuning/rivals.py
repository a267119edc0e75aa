"""Which setups may still win: ranked by what is known of them, without those that cannot, whatever their thresholds; see `bounds`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from edgeexit.calibration import Target
from edgeexit.criteria import criterion
from edgeexit.tuning.bounds import bound_goal
from edgeexit.tuning.choice import Chooser
from edgeexit.tuning.space import EXHAUSTIVE, DecisionRule, search_subsets
from edgeexit.tuning.store import SetupTiming, make_equal_timing


@dataclass(frozen=True, eq=False)
class SetupJudge:
    """Judges setups by recorded answers and by how long they took.

    Attributes:
        chooser: searches thresholds on the choose part.
        rules: the rules that the network can leave by.
        early: number of its early exits.
    """

    chooser: Chooser
    rules: Sequence[DecisionRule]
    early: int

    def rate(self, timing: SetupTiming) -> tuple[float, ...]:
        """A key to rank setups by, higher is better: the first rule with all exits."""
        return self.chooser.find_without_room(timing, self.rules[0], self._every_exit).key

    def pick_rivals(self, ranked: Sequence[SetupTiming], most: int) -> tuple[SetupTiming, ...]:
        """Of setups ranked best first, the first few that may still win.

        One may not where no thresholds of any rule and subset make it better than the best, within the intervals of their times: it stands
        at the lower end of its interval and at its optimistic bound, the best at the upper end, with the usual rule, all exits and room for
        noise, which it can do at least.
        """
        least = self._find_least(ranked[0])
        rivals = [ranked[0]]
        for one in ranked[1:]:
            if len(rivals) < most and not (least is not None and self._bound(one) < least):
                rivals.append(one)
        return tuple(rivals)

    def can_meet_answers(self, precision: str) -> bool:
        """Whether the answers recorded in a precision leave any way to keep the target's bounds on answers, with any thresholds.

        Judged before anything of that precision is timed: bounds on answers do not depend on times. With more early exits than every subset
        is tried of, it is taken to be so.
        """
        bounds = self.chooser.target.answer_bounds
        if not bounds or self.early > EXHAUSTIVE:
            return True
        alone, timing = replace(self.chooser, target=Target(bounds)), make_equal_timing(precision, self.early)
        return any(bound_goal(alone.pose(timing, *one)) is not None for one in self._answers)

    def _find_least(self, best: SetupTiming) -> float | None:
        """What a setup reaches at least; None where it meets no target so, or there are too many exits for bounds."""
        slow = best.scale(1 + best.costs.ratio_error)
        found = self.chooser.find(slow, self.rules[0], self._every_exit)
        return None if found.policy is None or self.early > EXHAUSTIVE else found.key[1]

    def _bound(self, one: SetupTiming) -> float:
        """What a setup reaches at most, in the unit of a key's second place."""
        if one.costs.ratio_error >= 1:  # too noisy to say anything
            return float("inf")
        fast = one.scale(1 - one.costs.ratio_error)
        found = [bound_goal(self.chooser.pose(fast, *answers)) for answers in self._answers]
        sums = [bound for bound in found if bound is not None]
        return max(sums) / len(self.chooser.choose.reference) if sums else -float("inf")

    @property
    def _every_exit(self) -> tuple[int, ...]:
        return tuple(range(1, self.early + 1))

    @cached_property
    def _answers(self) -> tuple[tuple[DecisionRule, tuple[int, ...]], ...]:
        return tuple(_list_answers(self.rules, self.early))


def _list_answers(rules: Sequence[DecisionRule], early: int) -> Iterator[tuple[DecisionRule, tuple[int, ...]]]:
    """Rules and subsets of exits whose answers differ: with most rules exits answer by their own logits."""
    plain = [rule for rule in rules if not criterion(rule.criterion).changes_answers]
    others = [rule for rule in rules if rule not in plain]
    for kept in search_subsets(early, {}):
        yield from ((rule, kept) for rule in (*plain[:1], *others))
