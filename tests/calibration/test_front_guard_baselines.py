"""The front, the overfit guard, the baselines and the remarks."""

from __future__ import annotations

import numpy as np
import pytest

from edgeexit.calibration import (
    BASELINES,
    ReplayTable,
    choose_baseline_policy,
    choose_policy,
    find_remarks,
    front,
    optimise,
)
from edgeexit.calibration.solver.families import make_geometric_boundaries
from edgeexit.calibration.solver.ranks import RankedScores
from edgeexit.calibration.verdicts import compute_sampling_error, recommend_heads
from edgeexit.errors import InputError
from tests.calibration.worlds import budget, every_outcome, world


@pytest.mark.parametrize("exits", [2, 3, 4, 6])
def test_a_front_rises_in_both_mean_and_accuracy(exits: int) -> None:
    """No policy on it is beaten by another of it."""
    found = front(world(1, 1500, exits))

    assert (np.diff(found.means_s) > 0).all()
    assert (np.diff(found.qualities) > 0).all()


def test_the_front_of_two_exits_is_the_front_of_brute_force() -> None:
    """Every undominated threshold is on it."""
    table = world(4, 80, 2)
    quality, mean, _ = every_outcome(table)
    undominated = {
        (round(q, 9), round(m, 9))
        for q, m in zip(quality, mean, strict=True)
        if not ((mean <= m) & (quality > q) | (mean < m) & (quality >= q)).any()
    }

    assert undominated == {(round(p.quality, 9), round(p.mean_s, 9)) for p in front(table).policies}


def test_the_front_is_close_to_what_each_target_alone_finds() -> None:
    """Over a range of budgets the front loses little against the search."""
    table = world(6, 600, 4)
    found = front(table)
    for share in (0.2, 0.5, 0.8):
        limit = budget(table, share)
        assert optimise(table, f"mean<={limit!r}s").quality - found.find_within(limit).quality < 0.01


def test_a_budget_is_looked_up_and_one_below_the_cheapest_policy_is_refused() -> None:
    """The policy found costs no more than the budget on average."""
    table = world(6, 1500, 3)
    found, limit = front(table), budget(table, 0.5)

    assert found.find_within(limit).mean_s <= limit * (1 + 1e-9)
    with pytest.raises(InputError, match="below the cheapest"):
        found.find_within(1e-12)


@pytest.mark.parametrize("name", BASELINES)
def test_no_baseline_beats_the_search_on_its_own_samples(name: str) -> None:
    """Every baseline meets the target, and none is more accurate there than the optimum."""
    table = world(8, 1200, 3)
    target = f"mean<={budget(table, 0.5)!r}s"

    policy = choose_baseline_policy(name, table, target)

    assert policy.mean_s <= budget(table, 0.5) * (1 + 1e-9)
    assert policy.quality <= optimise(table, target).quality


def test_the_exit_distribution_gives_each_exit_its_share() -> None:
    """Algorithm 1: with q = 1 every exit gets an equal share of the samples (scores without ties)."""
    table = world(9, 3000, 3)
    ranked = RankedScores.from_scores(table.scores)

    counts = np.bincount(ranked.find_leaves(make_geometric_boundaries(ranked, 1.0)), minlength=3)

    assert all(abs(c - 1000) <= 3 for c in counts)


def test_an_unknown_baseline_or_method_is_refused_with_the_near_miss() -> None:
    """Names are suggested."""
    table = world(0, 100, 2)

    with pytest.raises(InputError, match="Did you mean 'genetic'"):
        choose_baseline_policy("genetik", table, "drop<=1")
    with pytest.raises(InputError, match="exact, bagged"):
        choose_policy(table, "drop<=1", method="best")


def test_few_samples_are_guarded_and_many_are_not() -> None:
    """Below 2,000 samples four ways are compared by folds; above, the optimum stands."""
    few, many = world(3, 300, 3), world(3, 2500, 3)

    _, guarded = choose_policy(few, f"mean<={budget(few, 0.5)!r}s")
    _, free = choose_policy(many, f"mean<={budget(many, 0.5)!r}s")

    assert {"exact", "bagged", "exit_distribution", "shared"} == set(guarded.scores)
    assert guarded.method == max(guarded.scores, key=lambda name: guarded.scores[name])
    assert ("exact", {}) == (free.method, free.scores)


def test_a_guarded_policy_still_meets_the_target_on_the_samples() -> None:
    """Whichever method wins, its bounds hold where it was chosen."""
    for seed in range(2):
        table = world(seed, 200, 3)
        limit = budget(table, 0.4)

        policy, _ = choose_policy(table, f"mean<={limit!r}s", seed=seed)

        assert policy.mean_s <= limit * (1 + 1e-9)


def codes(table: ReplayTable, target: str) -> set[str]:
    """The remarks on the best policy for a target."""
    return {v.code for v in find_remarks(table, optimise(table, target))}


def test_early_exit_that_does_not_pay_is_said() -> None:
    """Heads so costly that the backbone is faster than the policy."""
    table = world(1, 3000, 3)
    costly = ReplayTable.from_arrays(table.scores, table.correct, [1.0, 1.1, 1.2], backbone_s=0.9)

    assert "does_not_pay" in codes(costly, "drop<=0.5")
    assert "does_not_pay" not in codes(table, "drop<=3")


def test_useless_exits_and_scores_are_said() -> None:
    """All at one exit; an exit nobody uses; scores that are all alike; too few samples."""
    table = world(1, 3000, 3)
    flat = ReplayTable.from_arrays(
        np.hstack([table.scores[:, :1], np.zeros((3000, 1), np.float32)]), table.correct, table.cost_s
    )
    wrong = np.zeros((3000, 3), np.bool_)
    wrong[:, 0] = True
    bad = ReplayTable.from_arrays(table.scores, wrong, table.cost_s)

    assert "one_exit" in codes(bad, "mean<=1s")
    assert {"constant_scores", "unused_exit"} <= codes(flat, f"mean<={budget(flat, 0.6)!r}s")
    assert "few_samples" in codes(table.take(np.arange(200)), f"mean<={budget(table, 0.5)!r}s")


@pytest.mark.parametrize(("early", "told"), [(0, True), (10, True), (11, False), (990, True), (1000, True)])
def test_exits_have_collapsed_from_99_percent_of_the_samples_at_one(early: int, told: bool) -> None:
    """9,996 of 10,000 at one exit are as good as all; the remark says how many they are."""
    scores = np.arange(1000, dtype=np.float32)[:, None]
    right = np.column_stack([scores[:, 0] >= 1000 - early, np.ones(1000)]) > 0
    table = ReplayTable.from_arrays(scores, right, [1.0, 3.0])
    found = {v.code: v.text for v in find_remarks(table, optimise(table, "drop<=0"))}

    assert told == ("one_exit" in found)
    if early in (10, 990):
        assert "99.00 % of the samples leave at exit" in found["one_exit"]


def test_a_head_that_costs_more_than_it_gains_is_recommended_away() -> None:
    """Exit 2 is a copy of exit 1 that costs a lot: the remark names it and what dropping it gains."""
    table = world(5, 2000, 3)
    assert table.correct is not None
    scores = np.stack([table.scores[:, 0], table.scores[:, 0]], axis=1)
    correct = table.correct[:, [0, 0, 2]]
    costly = ReplayTable.from_arrays(scores, correct, [1.0, 2.0, 3.0], head_s=[0.1, 0.9])
    target = "mean<=1.8s"

    remark = recommend_heads(costly, target, optimise(costly, target))

    assert remark is not None
    assert "head of exit 2" in remark.text
    assert (
        recommend_heads(ReplayTable.from_arrays(scores, correct, [1.0, 2.0, 3.0]), target, optimise(costly, target))
        is None
    )


def test_the_sampling_error_is_that_of_a_mean() -> None:
    """1.96·cv·√(1/M + 1/m), as drawn samples confirm."""
    table = world(2, 20_000, 3)
    policy = optimise(table.take(np.arange(5000)), f"mean<={budget(table, 0.5)!r}s")
    rng = np.random.default_rng(0)
    means = [table.take(rng.choice(20_000, 500)).evaluate(policy.thresholds).mean_s for _ in range(300)]

    predicted = compute_sampling_error(table.take(np.arange(500)), policy)

    assert pytest.approx(1.96 * np.std(means) / np.mean(means), rel=0.25) == predicted
