"""The oracle and overthinking."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeexit.analysis import compute_oracle, compute_overthinking
from edgeexit.calibration import ReplayTable
from edgeexit.errors import InputError
from tests.calibration.worlds import every_outcome, world


@given(st.integers(0, 300), st.integers(2, 3))
def test_no_policy_is_better_than_the_oracle(seed: int, exits: int) -> None:
    """None is more accurate, and none of the same accuracy is cheaper than the oracle that skips what nobody can solve."""
    table = world(seed, 14, exits, ties=True)
    quality, mean, _ = every_outcome(table)
    realistic, oracle = compute_oracle(table), compute_oracle(table, skip_hopeless=True)

    assert quality.max() <= realistic.accuracy + 1e-12
    assert realistic.accuracy == oracle.accuracy
    assert (mean[quality >= oracle.accuracy - 1e-12] >= oracle.cost - 1e-12).all()
    assert oracle.cost <= realistic.cost


@given(st.integers(0, 300))
def test_the_oracle_is_what_the_paper_says_sample_by_sample(seed: int) -> None:
    """The cheapest right exit; without one the last exit, or nothing."""
    table = world(seed, 30, 4)
    assert table.correct is not None
    first = [next((k for k in range(4) if row[k]), None) for row in table.correct]
    costs = [table.mean_cost[3 if k is None else k] for k in first]
    bound = compute_oracle(table)

    assert np.mean(costs) == pytest.approx(bound.cost)
    assert np.mean([k is not None for k in first]) == pytest.approx(bound.accuracy)
    assert np.sum([c for c, k in zip(costs, first, strict=True) if k is not None]) / 30 == pytest.approx(
        compute_oracle(table, skip_hopeless=True).cost
    )
    assert bound.exit_rates.sum() == pytest.approx(1)


def test_the_cheapest_right_exit_need_not_be_the_first() -> None:
    """Where a later exit was measured as faster, the oracle takes it."""
    table = ReplayTable.from_arrays([[0.5, 0.5]], [[1, 1, 1]], [2.0, 1.0, 3.0])

    assert [0.0, 1.0, 0.0] == compute_oracle(table).exit_rates.tolist()


def test_costs_of_the_oracle_are_those_of_the_table() -> None:
    """Seconds where they were measured, multiply-accumulates otherwise."""
    table = world(0, 40, 3)
    timed, counted = compute_oracle(table), compute_oracle(table.without_seconds())

    assert ("s", "MAC") == (timed.unit, counted.unit)
    assert timed.cost * 1e9 == pytest.approx(counted.cost)


@given(st.integers(0, 300), st.integers(2, 5))
def test_overthinking_is_counted_as_its_definitions_say(seed: int, exits: int) -> None:
    """Each sense against plain loops over samples and pairs of exits."""
    table = world(seed, 30, exits)
    assert table.correct is not None
    rows = table.correct.tolist()
    pairs = [(i, j) for i in range(exits) for j in range(exits)]
    found = compute_overthinking(table)

    assert np.mean([any(r[i] and not r[j] for i, j in pairs if i < j) for r in rows]) == pytest.approx(found.any_pair)
    assert np.mean([any(r[:-1]) and not r[-1] for r in rows]) == pytest.approx(found.last_only)
    for i, j in pairs:
        assert np.mean([r[i] and not r[j] for r in rows]) == pytest.approx(found.pairs[i, j])
    assert found.pairs[:-1, -1].max() <= found.last_only + 1e-12
    assert found.last_only <= found.any_pair


def test_an_exit_that_only_gets_better_never_overthinks() -> None:
    """And the oracle is then the last exit's accuracy."""
    table = ReplayTable.from_arrays([[0.5, 0.5]] * 4, [[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]], [1.0, 2.0, 3.0])
    found = compute_overthinking(table)

    assert (0.0, 0.0, 0.0) == (found.any_pair, found.last_only, np.triu(found.pairs).sum())
    assert 0.75 == compute_oracle(table).accuracy


@pytest.mark.parametrize("compute", [compute_oracle, compute_overthinking])
def test_without_labels_nothing_is_right_or_wrong(compute: Callable[[ReplayTable], object]) -> None:
    """The message says what is missing."""
    table = ReplayTable.from_arrays([[0.5]], None, [1.0, 2.0], agreement=[[1, 1]])

    with pytest.raises(InputError, match="needs labels"):
        compute(table)
