"""What tuning leaves out by a bound: never the winner, on random answers and latencies."""

from __future__ import annotations

import pytest

from edgeexit.tuning.bounds import bound_goal
from edgeexit.tuning.finalists import pick_contenders, pick_finalists, search_contenders
from edgeexit.tuning.rivals import SetupJudge
from tests.tuning.made_up import RULES, make_chooser, make_timing

TARGETS = ("drop<=8", "agreement>=0.9", "mean<=0.6x", "accuracy>=0.7, p99<=3ms")


@pytest.mark.parametrize(("seed", "target"), list(enumerate(TARGETS)))
def test_what_may_be_among_the_last_is_found_without_a_search_of_all(seed: int, target: str) -> None:
    """Keys without room bound those with room from above: the same candidates are picked, in the same order, from a search of fewer."""
    chooser = make_chooser(seed, target, samples=60)
    timings = [make_timing(10 * seed + k, p) for k, p in enumerate(("float32", "int8"))]
    every = chooser.find_all_without_room(timings, RULES)
    counted = chooser.account_for_candidates(every, timings)
    assert 1 <= counted.candidates <= len(every)
    searched = [one for timing in timings for one in counted.find_all(timing, RULES)]
    searched.sort(key=lambda one: one.key, reverse=True)
    found = search_contenders(counted, every, timings)
    assert len(found) < len(every)
    assert pick_finalists(found) == pick_finalists(searched)
    if counted.target.minimises_mean:
        assert pick_contenders(found) == pick_contenders(searched)


def test_the_bound_is_never_below_what_thresholds_reach() -> None:
    """For goals of latency and of quality, with one bound and with several, and None only where nothing is found."""
    for seed, target in enumerate((*TARGETS, "mean<=0.1x", "drop<=8, agreement>=0.8, mean<=0.9x")):
        chooser, timing = make_chooser(seed, target, samples=60), make_timing(seed, "int8")
        for rule in RULES:
            bound = bound_goal(chooser.pose(timing, rule, (1, 2)))
            found = chooser.find_without_room(timing, rule, (1, 2))
            assert found.policy is None or (bound is not None and found.key[1] <= bound / 60 + 1e-9)


def test_pruning_never_removes_the_winner() -> None:
    """The setup of the best candidate of a search of everything is among the rivals, whatever is pruned; and much is."""
    pruned, rules = 0, (RULES[0], RULES[2])
    for seed, target in enumerate(TARGETS[:3]):
        chooser = make_chooser(seed, target, samples=60)
        timings = [make_timing(7 * seed + k, ("float32", "int8")[k % 2], ("staged", "fused")[k // 2]) for k in range(4)]
        judge = SetupJudge(chooser, rules, 2)
        rivals = judge.pick_rivals(sorted(timings, key=judge.rate, reverse=True), len(timings))
        best = search_contenders(chooser, chooser.find_all_without_room(timings, rules), timings)[0]
        assert best.candidate.setup in [one.setup for one in rivals] or best.policy is None
        pruned += len(timings) - len(rivals)
    assert pruned > 2


def test_a_precision_whose_answers_cannot_keep_the_target_is_not_timed() -> None:
    """Where it is called hopeless, no thresholds are found for it, whatever they cost; one that is like the model's own is not."""
    for seed in range(3):
        chooser = make_chooser(seed, "agreement>=0.99", samples=60, harm=4.0)
        judge = SetupJudge(chooser, RULES, 2)
        assert judge.can_meet_answers("float32")
        assert not judge.can_meet_answers("int8")
        found = chooser.find_all_without_room([make_timing(seed, "int8")], RULES)
        assert all(one.policy is None for one in found)
