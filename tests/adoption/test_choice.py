"""Places are chosen by what calibration would make of them, with the costs that were measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeexit.adoption.candidates import Candidate
from edgeexit.adoption.choice import LEAST_GAIN, Trial, choose_candidates
from edgeexit.calibration import parse_target
from edgeexit.nets.attach import ExitPlace

DROP = parse_target("drop<=1")


def make_trial(accuracy: list[float], *, head_s: float = 0.01, seed: int = 0) -> Trial:
    """Candidates evenly along a network of one second, each right on this share of 300 samples, and sure where it is right."""
    draws, n, count = np.random.default_rng(seed), 300, len(accuracy)
    labels = draws.integers(0, 3, n)
    logits = draws.normal(0, 0.3, (n, count + 1, 3)).astype(np.float32)
    for k, share in enumerate([*accuracy, 0.95]):
        right = draws.random(n) < share
        logits[np.arange(n)[right], k, labels[right]] += 4
    candidates = tuple(
        Candidate(ExitPlace(str(k), (4, 8, 8), "feature map", (k + 1) / (count + 1)), "pool") for k in range(count)
    )
    way_s = np.arange(1, count + 1) / (count + 1)
    return Trial(candidates, logits, labels, way_s, np.full(count, head_s), 1.0, "entropy")


def test_no_exit_is_chosen_where_no_head_can_tell_anything() -> None:
    """Heads that guess save nothing within the allowed drop."""
    choice = choose_candidates(make_trial([0.0, 0.0, 0.0]), DROP, 2)

    assert choice.chosen == ()
    assert choice.mean_s == 1.0


def test_the_earliest_of_equally_good_places_is_chosen() -> None:
    """It leaves most to save."""
    assert choose_candidates(make_trial([0.9, 0.9, 0.9]), DROP, 1).chosen == (0,)


def test_a_head_that_costs_more_than_it_saves_is_not_chosen() -> None:
    """Later exits pay for the heads before them."""
    dear = make_trial([0.3, 0.9], head_s=0.7)

    assert choose_candidates(dear, DROP, 2).chosen == ()


def test_no_two_exits_stand_at_one_place() -> None:
    """One place with two kinds of heads gives one exit."""
    trial = make_trial([0.8, 0.85])
    same = (trial.candidates[0], replace(trial.candidates[0], head="conv"))

    choice = choose_candidates(replace(trial, candidates=same, way_s=np.array([0.4, 0.4])), DROP, 2)

    assert len(choice.chosen) == 1


@settings(deadline=None, max_examples=20)
@given(accuracy=st.lists(st.floats(0, 1), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_a_larger_budget_is_never_worse_and_no_set_costs_more_than_the_network(
    accuracy: list[float], seed: int
) -> None:
    """Each further exit gains at least the least gain, or is not added."""
    trial = make_trial(accuracy, seed=seed)

    one, two = choose_candidates(trial, DROP, 1), choose_candidates(trial, DROP, 2)

    assert two.mean_s <= one.mean_s <= 1.0
    assert not one.chosen or one.mean_s <= 1 - LEAST_GAIN
    assert two.chosen == tuple(sorted(two.chosen))


def test_the_cost_of_a_set_is_the_way_and_all_heads_before() -> None:
    """Two exits: the last exit pays for both heads."""
    table = make_trial([0.5, 0.5], head_s=0.1).make_table((0, 1))

    assert table.mean_cost_s == pytest.approx([1 / 3 + 0.1, 2 / 3 + 0.2, 1.2])
    assert table.backbone_mean_s == 1.0
