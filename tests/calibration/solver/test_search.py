"""The search against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeexit.calibration import Effort, ReplayTable, optimise, parse_target
from edgeexit.calibration.solver.ranks import RankedScores, find_threshold_between
from edgeexit.errors import InputError, TargetNotMet
from tests.calibration.worlds import budget, every_outcome, world

SIZES = st.sampled_from([(2, 60), (2, 300), (3, 40), (4, 14), (5, 8)])


def best(quality: np.ndarray, mean: np.ndarray, feasible: np.ndarray) -> tuple[float, float] | None:
    """The highest quality among the feasible, and the lowest mean that reaches it."""
    if not feasible.any():
        return None
    top = quality[feasible].max()
    return float(top), float(mean[feasible & (quality == top)].min())


@settings(max_examples=25)
@given(SIZES, st.integers(0, 10_000), st.floats(-0.05, 1.05), st.booleans())
def test_a_bound_on_the_mean_gives_what_brute_force_finds(
    size: tuple[int, int], seed: int, share: float, ties: bool
) -> None:
    """Highest accuracy within the mean, or TargetNotMet where nothing fits; lowest mean among equals, proved up to three exits."""
    table = world(seed, size[1], size[0], ties=ties)
    limit = budget(table, share)
    quality, mean, _ = every_outcome(table)
    expected = best(quality, mean, mean <= limit * (1 + 1e-12))

    if expected is None:
        with pytest.raises(TargetNotMet):
            optimise(table, f"mean<={limit!r}s")
        return
    policy = optimise(table, f"mean<={limit!r}s")

    assert policy.accuracy is not None
    assert policy.gap is not None
    assert expected[0] - policy.gap - 1e-9 <= policy.accuracy <= expected[0] + 1e-9
    assert policy.mean_s <= limit * (1 + 1e-9)
    if table.exits <= 3:
        assert pytest.approx(expected) == (policy.accuracy, policy.mean_s)


@settings(max_examples=25)
@given(SIZES, st.integers(0, 10_000), st.sampled_from([0.0, 0.5, 3.0, 10.0]))
def test_a_bound_on_the_drop_gives_the_lowest_mean_of_brute_force(
    size: tuple[int, int], seed: int, drop: float
) -> None:
    """With bounds on answers only, the mean is minimised: exactly up to three exits, beyond that to within the printed gap."""
    table = world(seed, size[1], size[0])
    quality, mean, _ = every_outcome(table)
    assert table.correct is not None
    least = table.correct[:, -1].mean() - drop / 100

    policy = optimise(table, f"drop<={drop}")

    lowest = mean[quality >= least - 1e-12].min()
    assert policy.gap is not None
    assert lowest * (1 - 1e-9) <= policy.mean_s <= lowest * (1 + 1e-9) + policy.gap
    if table.exits <= 3:
        assert pytest.approx(lowest) == policy.mean_s


@settings(max_examples=25)
@given(st.sampled_from([(2, 60), (3, 30), (4, 12)]), st.integers(0, 10_000))
def test_all_bounds_together_give_what_brute_force_finds(size: tuple[int, int], seed: int) -> None:
    """Tails, energy, rates and agreement at once: the same optimum, or nothing feasible in both."""
    table = world(seed, size[1], size[0])
    rng = np.random.default_rng(seed)
    spread = [table.mean_cost_s[k] * rng.uniform(0.5, 1.5, 40) for k in range(table.exits)]
    table = table.with_costs(spread)
    over_s, energy = budget(table, 0.9), budget(table, 0.7) * 2
    target = f"p90<={over_s!r}s, energy<={energy!r}J, rate1>=0.1, agreement>=0.6"
    quality, mean, exits = every_outcome(table)
    assert table.agreement is not None
    assert table.energy_j is not None
    rows = np.arange(len(table))
    feasible = (
        (table.compute_share_over(over_s)[exits].mean(axis=1) <= 0.1 + 1e-12)
        & (table.energy_j[exits].mean(axis=1) <= energy * (1 + 1e-12))
        & ((exits == 0).mean(axis=1) >= 0.1 - 1e-12)
        & (np.array([table.agreement[rows, e].mean() for e in exits]) >= 0.6 - 1e-12)
    )
    expected = best(quality, mean, feasible)

    if expected is None:
        with pytest.raises(TargetNotMet):
            optimise(table, target)
        return
    policy = optimise(table, target)

    assert policy.accuracy is not None
    assert policy.gap is not None
    assert expected[0] - policy.gap - 1e-9 <= policy.accuracy <= expected[0] + 1e-9
    if table.exits <= 3:
        assert pytest.approx(expected[0]) == policy.accuracy


@pytest.mark.parametrize("exits", [4, 5, 8])
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
def test_the_certificate_bounds_what_any_thresholds_reach(exits: int, seed: int) -> None:
    """No policy met by other means beats the found one by more than its gap."""
    table = world(seed, 200, exits)
    limit = budget(table, 0.4)
    policy = optimise(table, f"mean<={limit!r}s", effort=Effort(2, work=0.2))
    rng = np.random.default_rng(seed)
    harder = optimise(table, f"mean<={limit!r}s", effort=Effort(8, work=0))

    assert policy.accuracy is not None
    assert policy.gap is not None
    reachable = policy.accuracy + policy.gap + 1e-12
    assert harder.accuracy is not None
    assert harder.accuracy <= reachable
    for _ in range(300):
        outcome = table.evaluate(np.quantile(table.scores, rng.random(exits - 1)).astype(np.float32))
        assert outcome.mean_s > limit or outcome.quality <= reachable


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.floats(0.05, 0.9))
def test_the_certificate_of_a_small_table_is_right(seed: int, share: float) -> None:
    """Brute force never exceeds accuracy plus gap, for four exits."""
    table = world(seed, 13, 4)
    limit = budget(table, share)
    quality, mean, _ = every_outcome(table)

    policy = optimise(table, f"mean<={limit!r}s", effort=Effort(1, families=False, work=0.001))

    assert policy.accuracy is not None
    assert policy.gap is not None
    assert quality[mean <= limit].max() <= policy.accuracy + policy.gap + 1e-12


@pytest.mark.parametrize("target", ["drop<=3", "agreement>=0.9, mean<=0.9x", "accuracy>=0.5, rate1>=0.3"])
def test_enough_work_leaves_no_gap(target: str) -> None:
    """A box that is decided and breaks a limit which does not rise with the exits is no better than it is reached."""
    for seed in range(8):
        table = world(seed, 14, 4)
        try:
            policy = optimise(table, target, effort=Effort(4, work=50))
        except TargetNotMet:
            continue

        assert 0.0 == pytest.approx(policy.gap, abs=1e-12)


def test_two_and_three_exits_are_proved_optimal() -> None:
    """Their search is exhaustive, so the gap is exactly 0."""
    for exits in (2, 3):
        table = world(5, 2000, exits)

        assert 0.0 == optimise(table, f"mean<={budget(table, 0.5)!r}s").gap
        assert 0.0 == optimise(table, "drop<=0.5").gap


def test_the_same_table_and_target_give_the_same_policy() -> None:
    """Nothing in the search is drawn by chance."""
    table = world(7, 150, 5)
    target = f"mean<={budget(table, 0.5)!r}s"

    assert optimise(table, target) == optimise(table, target)


def test_without_labels_agreement_is_maximised() -> None:
    """The same table without `correct` tunes for the backbone's answers."""
    table = world(3, 500, 3)
    unlabelled = ReplayTable.from_arrays(table.scores, None, table.cost_s, agreement=table.agreement)

    policy = optimise(unlabelled, f"mean<={budget(table, 0.5)!r}s")

    assert policy.accuracy is None
    assert policy.agreement is not None
    assert policy.agreement > 0.8


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("accuracy>=0.9", "needs labels"),
        ("drop<=0.5", "needs labels"),
        ("energy<=2mJ", "energy cannot be bounded: it was not measured"),
        ("macs<=1M", "macs cannot be bounded: the multiply-accumulates .* are not known"),
        ("rate3>=0.1", "2 exits"),
    ],
)
def test_a_bound_that_the_table_cannot_answer_is_refused(target: str, told: str) -> None:
    """The message says what is missing."""
    table = world(0, 100, 2)
    poor = ReplayTable.from_arrays(table.scores, None, table.cost_s, agreement=table.agreement)

    with pytest.raises(InputError, match=told):
        optimise(poor, target)


@settings(max_examples=15)
@given(
    st.integers(0, 1000),
    st.sampled_from([2, 3, 4]),
    st.sampled_from(
        [
            "mean<=0.05ms",
            "mean<=0.01x",
            "p99<=0.1ms",
            "drop<=-40",
            "accuracy>=0.999",
            "mean<=0.4x, drop<=-5",
            "macs<=1k, rate1>=0.2",
        ]
    ),
)
def test_an_infeasible_target_names_one_that_can_be_met(seed: int, exits: int, target: str) -> None:
    """The nearest target has the same form, is looser, and optimise meets it."""
    table = world(seed, 200, exits)
    try:
        optimise(table, target)
    except TargetNotMet as refusal:
        assert refusal.nearest is not None
        nearest = parse_target(refusal.nearest)
        assert [b.slot for b in parse_target(target).bounds] == [b.slot for b in nearest.bounds]
        optimise(table, nearest)


def test_constant_scores_leave_all_or_none() -> None:
    """With nothing to tell samples apart there are two policies; the better feasible one is taken."""
    correct = np.array([[1, 1], [0, 1], [1, 1]])
    table = ReplayTable.from_arrays(np.zeros((3, 1), np.float32), correct, [1.0, 2.0])

    assert 1.0 == optimise(table, "drop<=0").exit_rates[1]
    assert 1.0 == optimise(table, "mean<=1.5s").exit_rates[0]


@given(st.floats(-(2.0**100), 2.0**100, width=32), st.integers(1, 4))
def test_a_threshold_separates_neighbouring_floats(value: float, steps: int) -> None:
    """Even between two adjacent float32, the lower does not reach it and the upper does."""
    low = np.float32(value)
    high = low
    for _ in range(steps):
        high = np.nextafter(high, np.float32(np.inf))
    if not np.isfinite(high) or low == high:
        return

    middle = np.float32(find_threshold_between(np.array([low, high], np.float32), 1))

    assert low < middle <= high


def test_boundaries_and_thresholds_let_the_same_samples_leave() -> None:
    """Ranks are an exact picture of scores."""
    table = world(1, 300, 4, ties=True)
    ranked = RankedScores.from_scores(table.scores)
    rng = np.random.default_rng(0)
    for _ in range(50):
        boundaries = tuple(int(rng.integers(top + 1)) for top in ranked.tops)

        assert (
            ranked.find_leaves(boundaries).tolist() == table.leaves_at(ranked.compute_thresholds(boundaries)).tolist()
        )
        assert boundaries == ranked.find_boundaries(ranked.compute_thresholds(boundaries))
