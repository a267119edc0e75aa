"""What tuning leaves out by a bound: never the winner, on random answers and latencies."""

from __future__ import annotations

import pytest

from tests.tuning.made_up import RULES, make_chooser, make_timing

TARGETS = ("drop<=8", "agreement>=0.9", "mean<=0.6x", "accuracy>=0.7, p99<=3ms")


@pytest.mark.parametrize(("seed", "target"), list(enumerate(TARGETS)))
def test_the_best_candidate_is_found_without_a_search_of_all(seed: int, target: str) -> None:
    """Keys without room bound those with room from above."""
    chooser = make_chooser(seed, target, samples=60)
    timings = [make_timing(10 * seed + k, p) for k, p in enumerate(("float32", "int8"))]
    every = chooser.find_all_without_room(timings, RULES)
    counted = chooser.account_for_candidates(every, timings)
    assert 1 <= counted.candidates <= len(every)
    searched = [one for timing in timings for one in counted.find_all(timing, RULES)]
    assert counted.find_best(every, timings).key == max(one.key for one in searched)
