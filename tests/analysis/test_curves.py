"""Curves of accuracy against cost."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeexit.analysis import AccuracyCurve, compute_anytime_curve, compute_budgeted_curve, compute_searched_curve
from edgeexit.calibration import ReplayTable
from edgeexit.errors import InputError, TargetNotMet
from tests.calibration.worlds import every_outcome, world


def run_algorithm_1(chosen_on: ReplayTable, q: float) -> list[float]:
    """Thresholds of one exit distribution, written as plainly as the paper's pseudocode, sample by sample."""
    exits, samples = chosen_on.exits, len(chosen_on)
    powers = [q**i for i in range(1, exits + 1)]
    left, thresholds = set(range(samples)), []
    for k in range(exits - 1):
        quota = round(powers[k] / sum(powers) * samples)
        leavers = sorted(left, key=lambda s: -chosen_on.scores[s, k])[:quota]
        thresholds.append(min((float(chosen_on.scores[s, k]) for s in leavers), default=np.inf))
        left -= set(leavers)
    return thresholds


@given(st.integers(0, 200), st.integers(2, 5))
def test_the_anytime_curve_is_the_accuracy_of_each_exit_at_its_cost(seed: int, exits: int) -> None:
    """What forcing all samples to one exit gives."""
    table = world(seed, 50, exits)
    curve = compute_anytime_curve(table)

    assert table.correct is not None
    assert np.allclose(table.correct.mean(axis=0), curve.accuracy)
    assert np.allclose(table.mean_cost, curve.cost)
    assert np.array_equal(np.eye(exits), curve.exit_rates)


@given(st.integers(0, 200), st.integers(2, 5))
def test_the_budgeted_curve_is_algorithm_1_of_the_paper(seed: int, exits: int) -> None:
    """Thresholds, and what they do on the other samples, against a second implementation; scores without ties."""
    chosen_on, used_on = world(seed, 37, exits), world(seed + 1, 60, exits)
    curve = compute_budgeted_curve(chosen_on, used_on)

    assert curve.thresholds is not None
    assert len(curve.cost) == 40
    for p in (1, 7, 20, 31, 40):
        wanted = run_algorithm_1(chosen_on, p / 20)
        outcome = used_on.evaluate(wanted)
        assert pytest.approx(wanted) == curve.thresholds[p - 1].tolist()
        assert (outcome.mean_s, outcome.accuracy) == pytest.approx((curve.cost[p - 1], curve.accuracy[p - 1]))


def test_at_the_turning_point_every_exit_gets_the_same_share() -> None:
    """Equation 3.10 with p = b; before it the first exit gets the most, after it the last."""
    table = world(3, 1000, 4)
    rates = compute_budgeted_curve(table, table).exit_rates

    assert np.allclose(0.25, rates[19])
    assert (np.diff(rates[5]) < 0).all()
    assert (np.diff(rates[35]) > 0).all()


@given(st.integers(0, 100), st.integers(2, 3))
def test_on_the_samples_it_is_chosen_on_the_search_is_at_least_as_good_as_algorithm_1(seed: int, exits: int) -> None:
    """At the same mean cost, and as good as brute force over every combination of thresholds."""
    table = world(seed, 20, exits, ties=True)
    quality, mean, _ = every_outcome(table)
    budgeted = compute_budgeted_curve(table, table, steps=5, turning=2)
    searched = compute_searched_curve(table, table, budgets=budgeted.cost)

    assert (searched.accuracy >= budgeted.accuracy - 1e-12).all()
    for budget, accuracy in zip(budgeted.cost, searched.accuracy, strict=True):
        assert quality[mean <= budget * (1 + 1e-9)].max() == pytest.approx(accuracy)


def test_without_budgets_the_search_goes_from_the_cheapest_exit_to_the_dearest() -> None:
    """The first point is the first exit alone; no point is less accurate than a cheaper one, on the samples it is chosen on."""
    table = world(5, 200, 3)
    curve = compute_searched_curve(table, table, steps=12)

    assert curve.cost[0] == pytest.approx(table.mean_cost.min())
    assert (curve.cost <= np.linspace(table.mean_cost.min(), table.mean_cost.max(), 12) * (1 + 1e-9)).all()
    assert (np.diff(curve.accuracy) >= 0).all()


@pytest.mark.parametrize("compute", [compute_budgeted_curve, compute_searched_curve])
def test_a_table_without_seconds_gives_a_curve_in_multiply_accumulates(compute: Callable[..., AccuracyCurve]) -> None:
    """The same thresholds, and the same accuracy: the costs here are in proportion."""
    table = world(6, 100, 3)
    timed, counted = (compute(t, t, steps=6) for t in (table, table.without_seconds()))

    assert ("s", "MAC") == (timed.unit, counted.unit)
    assert np.allclose(timed.accuracy, counted.accuracy)
    assert np.allclose(timed.cost * 1e9, counted.cost)


def test_the_best_within_a_budget_is_the_best_point_that_is_not_dearer() -> None:
    """And nothing where all are."""
    curve = compute_anytime_curve(
        ReplayTable.from_arrays([[0.5, 0.5]] * 4, [[1, 1, 0], [0, 1, 1], [0, 0, 0], [0, 1, 1]], [1.0, 2.0, 3.0])
    )

    assert [None, 0.25, 0.75, 0.75] == [curve.find_accuracy_within(b) for b in (0.9, 1.0, 2.5, 9.0)]


def make_unlabelled(table: ReplayTable) -> ReplayTable:
    """The same samples without labels."""
    return ReplayTable.from_arrays(table.scores, None, table.cost_s, agreement=table.agreement)


def test_thresholds_of_algorithm_1_can_be_chosen_without_labels() -> None:
    """It looks at scores only; the search looks at answers."""
    table = world(7, 50, 3)
    bare = make_unlabelled(table)

    assert np.array_equal(compute_budgeted_curve(bare, table).cost, compute_budgeted_curve(table, table).cost)
    for compute in (compute_budgeted_curve, compute_searched_curve):
        with pytest.raises(InputError, match="needs labels"):
            compute(table, bare)
    with pytest.raises(InputError, match="needs labels"):
        compute_searched_curve(bare, table)


def test_tables_of_two_networks_are_refused() -> None:
    """Another number of exits, or costs in another unit; steps and budgets that cannot be."""
    table = world(8, 50, 3)

    with pytest.raises(InputError, match="3 exits and 4"):
        compute_budgeted_curve(table, world(8, 50, 4))
    with pytest.raises(InputError, match="without_seconds"):
        compute_budgeted_curve(table, table.without_seconds())
    with pytest.raises(InputError, match="at least 1, not 0 and 20"):
        compute_budgeted_curve(table, table, steps=0)
    with pytest.raises(TargetNotMet):
        compute_searched_curve(table, table, budgets=[float(table.mean_cost.min()) / 2])


def test_scores_that_all_tie_leave_together() -> None:
    """A threshold cannot separate equal scores: all leave at the first exit that lets any leave."""
    scores: NDArray[np.float32] = np.full((10, 2), 0.5, np.float32)
    table = ReplayTable.from_arrays(scores, np.ones((10, 3)), [1.0, 2.0, 3.0])

    assert (compute_budgeted_curve(table, table).exit_rates.max(axis=1) == 1).all()
