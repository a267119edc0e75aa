"""Proofs: p-values, and certified policies against a population whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from edgeexit.calibration import Policy, ReplayTable, certify, samples_needed
from edgeexit.calibration.bounds import (
    compute_betting_p_value,
    compute_share_at_least_p_value,
    compute_share_at_most_p_value,
    count_samples_for_share,
)
from edgeexit.calibration.certify import prove
from edgeexit.errors import InputError, TargetNotMet
from edgeexit.measure.statistics import binomial_cdf
from tests.calibration.worlds import budget, world


@pytest.mark.parametrize("delta", [0.05, 0.2])
def test_the_betting_p_value_is_valid_when_the_bound_is_just_broken(delta: float) -> None:
    """With the mean exactly at the limit, p <= δ happens at most a share δ of the time (here: within three standard errors)."""
    rng = np.random.default_rng(0)
    runs = 600
    values = rng.beta(0.5, 1.5, size=(400, runs))

    rejected = (compute_betting_p_value(values, 0.25, delta) <= delta).mean()

    assert rejected <= delta + 3 * np.sqrt(delta * (1 - delta) / runs)


def test_the_betting_p_value_sees_a_mean_well_below_the_limit() -> None:
    """It is not valid by being useless: half the limit is proved with a few hundred samples."""
    values = np.random.default_rng(0).random((500, 1)) * 0.4

    assert compute_betting_p_value(values, 0.4, 0.05)[0] < 1e-6


def test_the_share_p_values_are_the_binomial_tails() -> None:
    """Exact, and each other's mirror."""
    assert binomial_cdf(3, 100, 0.1) == compute_share_at_least_p_value(np.array([3]), 100, 0.1)[0]
    assert pytest.approx(binomial_cdf(3, 100, 0.1)) == compute_share_at_most_p_value(np.array([97]), 100, 0.9)[0]


def test_a_p99_needs_299_samples_at_95_per_cent() -> None:
    """And 230 at 90 %; said before anything is measured."""
    assert 299 == count_samples_for_share(0.01, 0.05)
    assert {"p99<=10ms": 299} == samples_needed("p99<=10ms", 0.95)
    assert {"p99<=10ms": 230} == samples_needed("p99<=10ms", 0.9)
    assert {"p99<=10ms": 299} == samples_needed("p99<=10ms", 0.9, rounds=2)


POPULATION = world(11, 60_000, 3)
SPREAD = POPULATION.with_costs(
    [c * np.random.default_rng(k).gamma(400, 1 / 400, 60_000) for k, c in enumerate(POPULATION.mean_cost_s)]
)


def draw(
    rng: np.random.Generator, samples: int, population: ReplayTable = POPULATION
) -> tuple[ReplayTable, ReplayTable]:
    """Two disjoint parts of the population."""
    picked = rng.choice(len(population), 2 * samples, replace=False)
    return population.take(picked[:samples]), population.take(picked[samples:])


@pytest.mark.slow
def test_certified_policies_break_their_bounds_no_more_often_than_promised() -> None:
    """Joint violations of a mean and a drop over draws from a known population: within the exact binomial test of δ = 0.2."""
    limit = budget(POPULATION, 0.45)
    rng, delta, broken, proved = np.random.default_rng(3), 0.2, 0, 0
    assert POPULATION.correct is not None
    backbone = float(POPULATION.correct[:, -1].mean())
    for _ in range(18):
        choose, test = draw(rng, 1000)
        try:
            policy, _ = certify(choose, test, f"mean<={limit!r}s, drop<=12", confidence=1 - delta)
        except TargetNotMet:
            continue
        truth = POPULATION.evaluate(policy.thresholds)
        proved += 1
        broken += truth.mean_s > limit or 100 * (backbone - truth.quality) > 12

    assert proved >= 10
    assert binomial_cdf(proved - broken, proved, 1 - delta) > 0.001


def test_the_slack_of_a_proved_mean_is_small() -> None:
    """With some thousands of samples a certified policy still uses the budget to within a few per cent."""
    limit = budget(POPULATION, 0.5)
    choose, test = draw(np.random.default_rng(1), 5000)

    policy, certificate = certify(choose, test, f"mean<={limit!r}s", confidence=0.9)

    assert 0.96 * limit < POPULATION.evaluate(policy.thresholds).mean_s < limit
    assert all(p <= 0.1 for p in certificate.p_values.values())


def test_a_tail_is_proved_from_measured_exceedances() -> None:
    """p95 of a network with jittering exits: the true tail of the certified policy keeps the bound."""
    limit = float(SPREAD.mean_cost_s[1] * 1.02)
    choose, test = draw(np.random.default_rng(2), 2000, SPREAD)

    policy, _ = certify(choose, test, f"p95<={limit!r}s", confidence=0.9)

    truth = SPREAD.evaluate(policy.thresholds)
    assert float(np.dot(truth.exit_rates, SPREAD.compute_share_over(limit))) <= 0.05


def never_within_p99(rng: np.random.Generator, samples: int = 1000, exits: int = 8) -> tuple[ReplayTable, ReplayTable]:
    """Two parts of a network with the same latencies, of which 1.05 % are over 1.5 s at every exit."""
    costs = [np.where(rng.random(2 * samples) < 0.0105, 2.0, 1.0) for _ in range(exits)]
    scores = rng.random((2, samples, exits - 1))
    first, second = (ReplayTable.from_arrays(s, rng.random((samples, exits)) < 0.9, costs) for s in scores)
    return first, second


def test_the_latencies_that_order_a_path_do_not_prove_it() -> None:
    """Every policy is over the p99: a proof comes in at most a share δ of draws, with the same latencies in both parts too."""
    rng, delta, draws, proved = np.random.default_rng(0), 0.1, 60, 0
    for seed in range(draws):
        choose, test = never_within_p99(rng)
        inner = np.where(np.tri(choose.exits, choose.exits - 1, -1), np.inf, -np.inf).astype(
            np.float32
        )  # all leave at k
        path = [Policy.from_outcome(thresholds, choose.evaluate(thresholds), None) for thresholds in inner]
        try:
            prove(path, choose, test, "p99<=1.5s", confidence=1 - delta, seed=seed)
        except TargetNotMet:
            continue
        proved += 1

    assert binomial_cdf(draws - proved, draws, 1 - delta) > 0.01


def test_a_path_is_learnt_from_other_latencies_than_those_that_prove_it() -> None:
    """Every other measured latency is quick: the part that has those likes every policy, and the other part proves none."""
    table = world(0, 800, 3)
    quick_first = table.with_costs([np.tile([1e-3, 9e-3], 400)] * 3)

    with pytest.raises(TargetNotMet, match="proved"):
        certify(quick_first.take(np.arange(400)), quick_first.take(np.arange(400, 800)), "p90<=2ms")


def test_too_few_samples_are_refused_with_how_many_are_needed() -> None:
    """It refuses rather than pretends."""
    choose, test = draw(np.random.default_rng(0), 200)

    with pytest.raises(InputError, match="p99<=100ms needs 299"):
        certify(choose, test, "p99<=100ms")


def test_too_few_latencies_for_a_tail_are_refused() -> None:
    """One measured latency per certify sample, or the exceedances are not independent."""
    table = world(0, 800, 3)
    jitter = table.with_costs([c * np.random.default_rng(0).uniform(0.9, 1.1, 50) for c in table.mean_cost_s])

    with pytest.raises(InputError, match="25 measured latencies"):
        certify(jitter.take(np.arange(400)), jitter.take(np.arange(400, 800)), "p99<=100ms")


def test_what_cannot_be_proved_is_not_claimed() -> None:
    """A bound that holds on the samples by a hair is refused at a high confidence."""
    choose, test = draw(np.random.default_rng(5), 400)
    accuracy = float(np.mean(choose.correct)) if choose.correct is not None else 0.0
    assert choose.correct is not None
    best = float(choose.correct[:, -1].mean())

    with pytest.raises(TargetNotMet, match="proved"):
        certify(choose, test, f"accuracy>={min(best, accuracy + 0.2) - 0.001}", confidence=0.999)
