"""Percentiles, bounds and intervals against known values and simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeexit.errors import InputError
from edgeexit.measure.shares import paired_change_interval, share_interval
from edgeexit.measure.statistics import (
    Interval,
    binomial_cdf,
    block_bootstrap_intervals,
    coefficient_of_variation,
    count_samples_for_bound,
    early_stopping_bound,
    lag1_autocorrelation,
    mean_interval,
    mixture_interval,
    nearest_rank,
    order_statistic_interval,
    rank,
    ratio_interval,
    regularized_beta,
    t_quantile,
    tukey_outliers,
)

_SHARES = np.array([0.9, 0.08, 0.02])
_MEANS = np.array([16e-6, 40e-6, 90e-6])


def _mixture(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Latencies of a network with three exits, each with its own skewed spread."""
    exits = rng.choice(3, size=n, p=_SHARES)
    return np.asarray(_MEANS[exits] * (0.9 + rng.gamma(2.0, 0.05, size=n)))


def _covers(interval: Interval | None, truth: float) -> bool:
    assert interval is not None
    return interval.low <= truth <= interval.high


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0.1, 100.0))
def test_a_percentile_is_the_smallest_value_with_enough_at_or_below_it(values: list[float], q: float) -> None:
    """Nearest rank, straight from its definition."""
    enough = [v for v in sorted(values) if sum(w <= v for w in values) >= round(q * len(values) / 100.0, 9)]
    assert enough[0] == nearest_rank(values, q)


def test_ranks_do_not_slip_by_rounding() -> None:
    """99.9 % of 1000 is the 999th value, though 0.999 * 1000 is more than 999 in binary."""
    assert rank(99.9, 1000) == 999
    assert rank(50.0, 1) == 1


@pytest.mark.parametrize(("values", "q"), [([], 50.0), ([1.0], 0.0), ([1.0], 100.1)])
def test_a_percentile_of_nothing_is_refused(values: list[float], q: float) -> None:
    """No values, or no such percentile, is a mistake of the caller's."""
    with pytest.raises(InputError, match="percentile"):
        nearest_rank(values, q)


@given(st.integers(1, 60), st.floats(0.01, 0.99), st.data())
def test_the_incomplete_beta_gives_binomial_sums(n: int, p: float, data: st.DataObject) -> None:
    """I_{1-p}(n-k, k+1) is the sum of the first k+1 binomial terms."""
    k = data.draw(st.integers(0, n))
    direct = math.fsum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))
    assert binomial_cdf(k, n, p) == pytest.approx(direct, abs=1e-12)


@given(st.floats(0.001, 0.999), st.floats(0.1, 500.0), st.floats(0.1, 500.0))
def test_the_incomplete_beta_is_symmetric(x: float, a: float, b: float) -> None:
    """I_x(a, b) + I_{1-x}(b, a) = 1."""
    assert regularized_beta(x, a, b) + regularized_beta(1.0 - x, b, a) == pytest.approx(1.0, abs=1e-10)


@pytest.mark.parametrize(
    ("freedom", "expected"), [(1, 12.7062), (2, 4.3027), (4, 2.7764), (9, 2.2622), (29, 2.0452), (1000, 1.9623)]
)
def test_t_quantiles_are_those_of_the_printed_tables(freedom: int, expected: float) -> None:
    """97.5 % points."""
    assert t_quantile(0.975, freedom) == pytest.approx(expected, abs=1e-4)
    assert t_quantile(0.025, freedom) == pytest.approx(-expected, abs=1e-4)


@pytest.mark.parametrize(("q", "needed"), [(90.0, 64), (95.0, 130), (99.0, 662)])
def test_the_bound_needs_as_many_samples_as_loadgen(q: float, needed: int) -> None:
    """The floors of MLPerf's single-stream scenario at 99 % confidence."""
    assert needed == count_samples_for_bound(q)
    assert early_stopping_bound(np.arange(needed - 1), q).value is None
    assert early_stopping_bound(np.arange(needed), q).value == needed - 1


def test_the_bound_discards_as_many_samples_as_loadgen() -> None:
    """For p99 at 99 %, 1,000 samples allow the second largest and 10,000 the 77th."""
    assert early_stopping_bound(np.arange(1000), 99.0).value == 998
    assert early_stopping_bound(np.arange(10_000), 99.0).value == 10_000 - 77


def test_too_few_samples_give_no_bound_and_the_number_needed() -> None:
    """A percentile that cannot be bounded is nothing, not a guess."""
    bound = early_stopping_bound([], 99.0)
    assert bound.value is None
    assert bound.needed == 662


@pytest.mark.slow
def test_the_p99_bound_covers_the_truth_of_mixtures() -> None:
    """A 99 % bound holds in at least 982 of 1,000 runs: fewer has probability below 1 % if it holds in 99 %."""
    rng = np.random.default_rng(7)
    truth = nearest_rank(_mixture(np.random.default_rng(1), 2_000_000), 99.0)
    held = sum((early_stopping_bound(_mixture(rng, 2000), 99.0).value or 0.0) >= truth for _ in range(1000))
    assert held >= 982


@pytest.mark.slow
def test_process_means_give_intervals_that_cover() -> None:
    """The t interval of five processes covers the true mean of a mixture in 93 to 97 % of 2,000 runs."""
    rng, truth, held = np.random.default_rng(3), float(_SHARES @ _MEANS), 0
    for _ in range(2000):
        process = rng.normal(1.0, 0.02, size=5)
        exits = rng.multinomial(2000, _SHARES, size=5) / 2000
        held += _covers(mean_interval((exits @ _MEANS) * process), truth)
    assert 0.93 <= held / 2000 <= 0.97


@pytest.mark.slow
def test_mixture_intervals_cover_new_data() -> None:
    """With few data the share of each exit is uncertain as well; the interval of the mixture says so."""
    rng, truth, held = np.random.default_rng(5), float(_SHARES @ _MEANS), 0
    for run in range(1000):
        counts = rng.multinomial(400, _SHARES)
        means = _MEANS * rng.normal(1.0, 0.01, size=(5, 1))
        held += _covers(mixture_interval(means, counts, draws=500, seed=run), truth)
    assert 0.93 <= held / 1000 <= 0.97


@pytest.mark.slow
def test_order_statistics_cover_the_percentile() -> None:
    """At least 95 %, since ranks are whole numbers; accepted by the 1 % quantile of the binomial."""
    rng = np.random.default_rng(11)
    truth = nearest_rank(_mixture(np.random.default_rng(1), 2_000_000), 90.0)
    held = sum(_covers(order_statistic_interval(_mixture(rng, 500), 90.0), truth) for _ in range(1000))
    assert binomial_cdf(held, 1000, 0.95) > 0.01
    assert held <= 985


@pytest.mark.slow
def test_block_bootstrap_covers_what_hangs_together() -> None:
    """Blocks with a shift of their own: an interval that takes samples as independent covers far too little."""
    rng, held, held_if_independent = np.random.default_rng(13), 0, 0
    for run in range(300):
        shift = rng.normal(0.0, 1.0, size=40)
        blocks = [rng.normal(s, 0.3, size=40) for s in shift]
        intervals = block_bootstrap_intervals(blocks, [50.0], seed=run)
        assert intervals is not None
        held += _covers(intervals[0], 0.0)
        held_if_independent += _covers(order_statistic_interval(np.concatenate(blocks), 50.0), 0.0)
    assert 0.90 <= held / 300 <= 0.985
    assert held_if_independent / 300 < 0.5


def test_block_bootstrap_needs_ten_blocks() -> None:
    """Fewer have no distribution to draw from."""
    assert block_bootstrap_intervals([np.ones(5)] * 9, [50.0]) is None


@pytest.mark.slow
@pytest.mark.parametrize("paired", [True, False])
def test_ratio_intervals_cover(paired: bool) -> None:
    """Both the paired and the unpaired ratio cover in 93 to 98 % (Welch errs to the wide side with few processes)."""
    rng, held = np.random.default_rng(17), 0
    for _ in range(2000):
        shared = rng.normal(1.0, 0.05, size=5) if paired else np.ones(5)
        reference = 2.0 * shared * rng.normal(1.0, 0.01, size=5)
        candidate = 3.0 * shared * rng.normal(1.0, 0.01, size=5)
        held += _covers(ratio_interval(reference, candidate, paired=paired)[1], 1.5)
    assert 0.93 <= held / 2000 <= 0.98


def test_one_process_gives_no_interval() -> None:
    """One value has no spread."""
    assert mean_interval([1.0]) is None
    assert ratio_interval([1.0], [2.0], paired=True)[1] is None
    assert mixture_interval(np.ones((1, 2)), np.array([5, 5])) is None
    assert coefficient_of_variation([1.0]) is None


def test_equal_values_have_a_degenerate_interval() -> None:
    """No spread at all is an interval of no width, not a division by zero."""
    _, interval = ratio_interval([2.0, 2.0], [3.0, 3.0], paired=False)
    assert interval is not None
    assert interval.low == pytest.approx(1.5)
    assert interval.high == pytest.approx(1.5)


def test_neighbours_that_resemble_each_other_correlate() -> None:
    """Lag-1 autocorrelation: near one for a slow drift, below zero for an alternation, nothing for a constant."""
    assert (lag1_autocorrelation(np.arange(1000)) or 0.0) > 0.99
    assert (lag1_autocorrelation(np.array([1.0, 2.0] * 50)) or 0.0) < -0.9
    assert lag1_autocorrelation(np.ones(10)) is None


def test_outliers_are_counted_beyond_the_fences() -> None:
    """Quartiles 1 and 3, so the fences lie 3 and 6 beyond them."""
    assert tukey_outliers([1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 7.0, 20.0]) == (2, 1)
    assert tukey_outliers([5.0]) == (0, 0)


@pytest.mark.parametrize("samples", [1, 20, 400, 10_000])
@pytest.mark.parametrize("share", [0.0, 0.15, 0.5, 1.0])
def test_the_interval_of_a_share_holds_it_and_narrows_with_samples(share: float, samples: int) -> None:
    """Inside 0 to 1, never of no width."""
    found, more = share_interval(share, samples), share_interval(share, 10 * samples)
    assert 0.0 <= found.low <= share <= found.high <= 1.0
    assert 0.0 < more.high - more.low < found.high - found.low


@pytest.mark.slow
def test_the_interval_of_a_paired_change_covers_the_truth() -> None:
    """In at least 93 of 100 drawn data sets of the same two classifiers."""
    rng, truth, covered = np.random.default_rng(0), 0.02 - 0.05, 0
    for _ in range(500):
        gained, lost, _ = rng.multinomial(300, [0.02, 0.05, 0.93])
        interval = paired_change_interval(int(gained), int(lost), 300)
        covered += interval.low <= truth <= interval.high
    assert covered >= 465
