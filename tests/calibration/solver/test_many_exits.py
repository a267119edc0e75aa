"""Search, bounds, front and baselines where exits are many: up to 32."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeexit.calibration import QUICK, Effort, ReplayTable, certify, front, optimise, parse_target
from edgeexit.calibration.solver.baselines import BASELINES
from edgeexit.calibration.solver.coordinate_ascent import climb, optimize_prices
from edgeexit.calibration.solver.cross_validation import choose_policy
from edgeexit.calibration.solver.decomposition import compute_decomposed_bound
from edgeexit.calibration.solver.lagrangian import LagrangianProblem
from edgeexit.calibration.solver.problem import build_problem
from edgeexit.calibration.verdicts import recommend_heads
from edgeexit.errors import TargetNotMet
from tests.calibration.worlds import budget, every_outcome, world
from tests.support.brief_defaults import make_choices_brief

TARGETS = st.sampled_from(["mean", "drop<=3", "agreement>=0.8, mean<=0.9x", "accuracy>=0.5, rate1>=0.1"])


def written(table: ReplayTable, target: str, share: float) -> str:
    """The target, or one on the mean at a share of its range."""
    return f"mean<={budget(table, share)!r}s" if target == "mean" else target


@settings(max_examples=12)
@given(st.sampled_from([(3, 30), (4, 14), (5, 7)]), st.integers(0, 10_000), st.floats(0.02, 0.98), TARGETS)
def test_no_thresholds_of_brute_force_exceed_the_decomposed_bound(
    size: tuple[int, int], seed: int, share: float, target: str
) -> None:
    """Whatever the limits and however few the rounds, the bound lies above the best feasible policy."""
    table = world(seed, size[1], size[0])
    problem = build_problem(table, parse_target(written(table, target, share)))
    never = tuple(problem.ranked.tops)
    prices = optimize_prices(problem)[1]
    _, _, leaves = every_outcome(table)
    feasible = [e for e in leaves if problem.compute_violation(e) <= 0]
    if not feasible:
        return

    bound = min(compute_decomposed_bound(problem, never, list(p), 4000) for p in (prices, 0 * prices))

    reached = max(problem.goal.sum_at_exits(e) for e in feasible)
    allowed = (
        problem.goal.sum_at_exits(problem.ranked.find_leaves(never))
        if problem.compute_violation(leaves[-1]) > 0
        else -np.inf
    )
    assert reached <= max(bound, allowed) + 1e-9


@pytest.mark.parametrize("exits", [9, 32])
@pytest.mark.parametrize("target", ["mean", "drop<=1", "mean<=0.6x, agreement>=0.7, rate1>=0.05"])
def test_many_exits_are_optimised_with_a_gap_that_no_other_search_exceeds(exits: int, target: str) -> None:
    """The stated gap holds against a harder search, baselines and random thresholds; the target is kept."""
    table = world(exits, 200, exits)
    text = written(table, target, 0.3)
    problem = build_problem(table, parse_target(text))

    policy = optimise(table, text)

    assert policy.gap is not None
    assert problem.compute_violation(table.leaves_at(policy.thresholds)) <= 0
    bound = problem.goal.sum_at_exits(table.leaves_at(policy.thresholds)) + policy.gap * problem.unit
    others = [optimise(table, text, effort=Effort(6, every_pair=False, work=0)).thresholds]
    rng = np.random.default_rng(0)
    others += [tuple(np.quantile(table.scores, rng.random(exits - 1)).astype(np.float32)) for _ in range(200)]
    for thresholds in others:
        leaves = table.leaves_at(thresholds)
        assert problem.compute_violation(leaves) > 0 or problem.goal.sum_at_exits(leaves) <= bound + 1e-9


@pytest.mark.parametrize("exits", [9, 20])
def test_the_search_of_many_exits_is_at_least_as_good_as_every_baseline(exits: int) -> None:
    """Every baseline runs with many exits, and none beats the search within the same limits."""
    table = world(1, 300, exits)
    target = f"mean<={budget(table, 0.3)!r}s"
    best = optimise(table, target)

    problem = build_problem(table, parse_target(target))
    for method in BASELINES.values():
        leaves = problem.ranked.find_leaves(method(problem))
        assert problem.compute_violation(leaves) > 0 or table.evaluate_leaves(leaves).quality <= best.quality


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.integers(2, 9), st.floats(0.0, 3.0))
def test_after_an_ascent_no_single_threshold_can_be_moved_for_more(seed: int, exits: int, price: float) -> None:
    """Every boundary of every exit is tried by hand."""
    table = world(seed, 40, exits)
    problem = build_problem(table, parse_target("mean<=0.5x"))
    weights = LagrangianProblem.from_problem(problem).weights(np.array([price * 1000]))
    ranked, rows = problem.ranked, np.arange(len(table))
    start = tuple(int(b) for b in np.random.default_rng(seed).integers(0, np.array(ranked.tops) + 1))

    found = climb(ranked, weights, start)

    reached = weights[ranked.find_leaves(found), rows].sum()
    assert reached >= weights[ranked.find_leaves(start), rows].sum() - 1e-9
    for k, top in enumerate(ranked.tops):
        for b in range(top + 1):
            moved = (*found[:k], b, *found[k + 1 :])
            assert weights[ranked.find_leaves(moved), rows].sum() <= reached + 1e-9


def test_thirty_two_exits_have_a_front_whose_policies_hold() -> None:
    """Mean and accuracy rise strictly along it, and no target's optimum lies far above it."""
    table = world(2, 500, 32)

    found = front(table)

    assert len(found) > 20
    assert (np.diff(found.means_s) > 0).all()
    assert (np.diff(found.qualities) > 0).all()
    for share in (0.02, 0.1, 0.3):
        mean = budget(table, share)
        best = optimise(table, f"mean<={mean!r}s", effort=QUICK)
        assert best.quality <= found.find_within(mean).quality + 0.04


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_front_of_many_exits_holds_where_noise_shuffled_their_costs() -> None:
    """No policy met costs as little as the cheapest exit, and nothing is computed with the infinities of bands without a policy."""
    table = world(1, 120, 12)
    noise = np.random.default_rng(1).lognormal(0, 1.0, 12)

    found = front(table.with_costs(list(table.mean_cost_s * noise)))

    assert len(found) > 5
    assert (np.diff(found.qualities) > 0).all()


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_limit_that_no_float_holds_times_the_samples_is_no_limit() -> None:
    """The largest mean that can be written bounds nothing, and the search stays with finite numbers."""
    table = world(0, 120, 12)

    assert optimise(table, "mean<=1e308s, drop<=1") == optimise(table, "mean<=1000s, drop<=1")


def test_sixteen_exits_can_be_guarded_certified_and_stripped_of_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few samples are bagged, bounds are proved and advice on heads is made as with few exits."""
    make_choices_brief(monkeypatch)
    table = world(3, 80, 16)
    target = "mean<=0.6x, drop<=20"

    policy, choice = choose_policy(table, target)
    proved, certificate = certify(table, world(3, 400, 16), "mean<=0.9x, accuracy>=0.3", confidence=0.9)
    recommend_heads(table, target, policy)

    assert set(choice.scores) == {"exact", "bagged", "exit_distribution", "shared"}
    assert max(certificate.p_values.values()) <= 0.1
    assert len(proved.thresholds) == 15


def test_an_infeasible_target_of_many_exits_names_one_that_can_be_met() -> None:
    """The nearest target is looser and is met."""
    table = world(4, 200, 16)

    with pytest.raises(TargetNotMet) as caught:
        optimise(table, "mean<=0.05x, drop<=-5")

    assert caught.value.nearest is not None
    policy = optimise(table, caught.value.nearest)
    assert policy.gap is not None
    assert 0 <= policy.gap <= 1
    fastest = optimise(table, caught.value.nearest.split(", ")[1])
    assert fastest.gap is not None
    assert 0 <= fastest.gap <= fastest.mean_s
