"""The upper bound of a decision list over a box of boundaries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeexit.calibration.solver.upper_bound import UndecidedSamples


def made(
    seed: int, axes: int, samples: int, ranks: int, undecided_share: float
) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.float64]]:
    """Random ranks, where samples are undecided (at one exit at least), and what passing there adds."""
    rng = np.random.default_rng(seed)
    undecided = rng.random((axes, samples)) < undecided_share
    undecided[rng.integers(axes, size=samples), np.arange(samples)] = True
    delta = np.where(undecided, rng.choice([-1.0, -0.1, 0.0, 0.9], (axes, samples)) + 0.01 * rng.normal(), 0.0)
    return rng.integers(0, ranks, (axes, samples)).astype(np.int32), undecided, delta


def value(
    ranks: NDArray[np.int32], undecided: NDArray[np.bool_], delta: NDArray[np.float64], at: NDArray[np.int64]
) -> float:
    """Σ over samples and exits of δ where all undecided exits so far are passed."""
    passes = ~(undecided & (ranks >= at[:, None]))
    return float((delta * np.logical_and.accumulate(passes, axis=0)).sum())


@given(
    seed=st.integers(0, 2**32 - 1),
    axes=st.integers(1, 7),
    samples=st.integers(1, 120),
    ranks=st.sampled_from([3, 20, 5000]),
    share=st.floats(0.0, 1.0),
)
def test_no_boundaries_are_worth_more_than_the_bound(
    seed: int, axes: int, samples: int, ranks: int, share: float
) -> None:
    """Whatever the point at which it is made exact, and whether or not the cells hold several boundaries."""
    world = made(seed, axes, samples, ranks, share)
    rng, low, high = np.random.default_rng(seed), np.zeros(axes, np.int64), np.full(axes, ranks, np.int64)

    bound, best = UndecidedSamples(*world).bound(rng.integers(0, ranks + 1, axes), low, high)

    tried = [rng.integers(0, ranks + 1, axes) for _ in range(60)]
    assert max(value(*world, at) for at in (best, low, high, *tried)) <= bound + 1e-9


@pytest.mark.parametrize("seed", range(10))
def test_the_bound_is_the_maximum_where_samples_are_undecided_at_one_exit_or_two_neighbours(seed: int) -> None:
    """Joined pairs are exact: what the bound likes best is worth the bound."""
    ranks, _, delta = made(seed, 3, 60, 40, 1.0)
    first = np.random.default_rng(seed).integers(0, 2, 60)
    undecided = np.stack([first == 0, np.ones(60, np.bool_), first == 1])
    world = ranks, undecided, np.where(undecided, delta, 0.0)
    low, high = np.zeros(3, np.int64), np.full(3, 40, np.int64)
    open_ = UndecidedSamples(*world)

    bound, best = open_.bound(low, low, high)

    assert not open_.find_loose_samples().any()
    assert bound == pytest.approx(value(*world, best), abs=1e-9)
