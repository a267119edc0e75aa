"""The search over parts: never further from the best than it says, and the exact search where its levels are all there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeexit.calibration import ReplayTable, evaluate_parts, join_tables, optimise, optimise_parts
from edgeexit.errors import InputError, TargetNotMet
from tests.calibration.worlds import every_outcome, world


def cut(table: ReplayTable, size: int) -> list[ReplayTable]:
    return [table.take(np.arange(i, min(i + size, len(table)))) for i in range(0, len(table), size)]


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(2, 3), st.booleans(), st.sampled_from([9, 16, 64]), st.floats(0.1, 0.9))
def test_what_is_found_is_within_its_gap_of_the_best_of_all_thresholds(
    seed: int, exits: int, ties: bool, cells: int, share: float
) -> None:
    """Against brute force, for a bound on cost and for one on answers, which may fall from exit to exit."""
    table = world(seed, 40, exits, ties=ties)
    parts = cut(table, 13)
    quality, mean, _ = every_outcome(table)
    limit_s = float(table.mean_cost_s[0] + share * (table.mean_cost_s[-1] - table.mean_cost_s[0]))
    found = optimise_parts(parts, f"mean<={limit_s}s", sample=20, cells=cells)
    best = quality[mean <= limit_s * (1 + 1e-9)].max()
    assert found.accuracy is not None
    assert found.gap is not None
    assert best - found.gap - 1e-9 <= found.accuracy <= best + 1e-9
    assert found.mean_s <= limit_s * (1 + 1e-9)

    wanted = float(quality[mean == mean.min()].max() + share * (quality.max() - quality[mean == mean.min()].max()))
    try:
        found = optimise_parts(parts, f"accuracy>={wanted}", sample=20, cells=cells)
    except TargetNotMet:
        return  # none of the few levels meets it
    assert found.gap is not None
    least = mean[quality >= wanted - 1e-9].min()
    assert least * (1 - 1e-9) <= found.mean_s <= least + found.gap + 1e-12


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(2, 3), st.sampled_from(["mean<=1ms", "mean<=2ms", "drop<=5", "mean<=0.7x"]))
def test_where_the_levels_are_all_thresholds_it_is_the_exact_search(seed: int, exits: int, target: str) -> None:
    """Few distinct scores: the same quality and cost, and a gap of 0."""
    table = world(seed, 300, exits, ties=True)
    try:
        expected = optimise(table, target)
    except TargetNotMet:
        with pytest.raises(TargetNotMet):
            optimise_parts(cut(table, 100), target, sample=299)
        return
    found = optimise_parts(cut(table, 100), target, sample=299)

    if set(np.unique(table.scores)) == set(np.unique(table.take(np.arange(299)).scores)):
        assert found.accuracy == pytest.approx(expected.accuracy)
        assert found.mean_s == pytest.approx(expected.mean_s)
        assert found.gap == pytest.approx(0, abs=1e-12)


def test_outcomes_and_tables_of_parts_are_those_of_the_whole() -> None:
    """Whatever the cut; up to the sample's size the search is that of a whole table."""
    table = world(3, 500, 3)
    parts = cut(table, 130)

    assert table.sha256() == join_tables(parts).sha256()
    whole, summed = table.evaluate([0.6, 0.5]), evaluate_parts(parts, np.array([0.6, 0.5], np.float32))
    assert whole.counts == summed.counts
    assert whole.accuracy == pytest.approx(summed.accuracy)
    assert whole.mean_s == pytest.approx(summed.mean_s)
    assert optimise(table, "mean<=0.8x").accuracy == optimise_parts(parts, "mean<=0.8x").accuracy


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "no tables"),
        ((world(i, 20, 2) for i in range(3)), "cannot be a generator"),
        ([world(1, 20, 2), world(1, 20, 3)], "part 1 has 3 exits"),
        ([world(1, 20, 2), world(1, 20, 2).with_costs([1.0, 2.0])], "part 1 has other costs"),
        ([world(1, 20, 2), replace(world(1, 20, 2), correct=None)], "correct is known in some parts only"),
    ],
)
def test_parts_that_are_no_one_table_are_refused(parts: Iterable[ReplayTable], message: str) -> None:
    """Before anything is searched."""
    with pytest.raises(InputError, match=message):
        optimise_parts(parts, "mean<=0.9x", sample=30)
