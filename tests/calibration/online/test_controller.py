"""Online control, and the drift alarm."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeexit.calibration import CellCounts, ControlLaw, Controller, DriftAlarm, FrontPosition, front
from edgeexit.calibration.online.controller import find_start, list_path_thresholds
from edgeexit.calibration.online.drift import compute_two_sample_p_value
from edgeexit.calibration.solver.pareto_front import Front
from edgeexit.errors import InputError
from edgeexit.runtime import Prediction, Runner
from tests.calibration.worlds import budget, world

TABLE = world(2, 20_000, 4)


@cache
def find_front() -> Front:
    """The front of the table, searched for when a test first needs it."""
    return front(TABLE)


def driven(
    law: ControlLaw, latencies: np.ndarray, paths: list[tuple[float, ...]], order: np.ndarray, start: float
) -> FrontPosition:
    """A position on the front over a stream: sample `order[t]` of the table at time t, its exit's cost scaled by `latencies[t]`."""
    position = FrontPosition(law, len(paths) - 2, start)
    leaves = np.stack([TABLE.leaves_at(p) for p in paths])
    for t, i in enumerate(order):
        position.move(float(TABLE.mean_cost_s[leaves[position.index, i]] * latencies[t]))
    return position


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.floats(0.05, 0.95), st.floats(0.005, 0.2))
def test_the_mean_never_leaves_its_bound_under_its_condition(seed: int, share: float, step: float) -> None:
    """Whatever the stream does, with first-exit cost <= L <= last-exit cost and clipped costs: |mean - L| <= bound, always."""
    rng = np.random.default_rng(seed)
    law = ControlLaw.from_target(TABLE, f"mean<={budget(TABLE, share)!r}s", step)
    difficulty = np.argsort(TABLE.scores[:, 0] + rng.uniform(0, 2) * rng.random(len(TABLE)).astype(np.float32))
    order = difficulty[:1500] if seed % 2 else difficulty[::-1][:1500]

    position = driven(law, np.ones(len(order)), list_path_thresholds(find_front(), 4), order, rng.random())

    assert position.mean_cost is not None
    assert abs(position.mean_cost - law.wanted) <= law.bound(len(order)) * (1 + 1e-9)
    assert 0.0 == position.saturation


@pytest.mark.parametrize("drift", ["none", "sudden", "slow", "clock"])
def test_the_mean_is_held_within_one_per_cent_under_drift(drift: str) -> None:
    """After 10,000 inferences, where static thresholds are far off: harder inputs at once or slowly, or a slower clock."""
    rng = np.random.default_rng(1)
    ordered = np.argsort(TABLE.scores[:, 0])
    easy, hard = ordered[10_000:], ordered[:10_000]
    share = {"none": np.full(10_000, 0.5), "sudden": np.repeat([0.2, 0.8], 5000), "slow": np.linspace(0.1, 0.9, 10_000)}
    hardness = share.get(drift, share["none"])
    order = np.where(rng.random(10_000) < hardness, rng.choice(hard, 10_000), rng.choice(easy, 10_000))
    clock = np.repeat([1.0, 1.3], 5000) if drift == "clock" else np.ones(10_000)
    law = ControlLaw.from_target(TABLE, f"mean<={budget(TABLE, 0.45)!r}s")

    position = driven(law, clock, list_path_thresholds(find_front(), 4), order, find_start(find_front(), law, TABLE))

    assert position.mean_cost is not None
    assert abs(position.mean_cost / law.wanted - 1) < 0.01


def test_a_tail_is_held_at_its_share() -> None:
    """The same controller on [latency > L]: 10 % of inferences may take longer, about that many do."""
    limit = float(TABLE.mean_cost_s[2] * 1.01)
    law = ControlLaw.from_target(TABLE, f"p90<={limit!r}s")
    order = np.random.default_rng(0).choice(len(TABLE), 10_000)

    position = driven(
        law, np.ones(10_000), list_path_thresholds(find_front(), 4), order, find_start(find_front(), law, TABLE)
    )

    assert position.mean_cost is not None
    assert abs(position.mean_cost - 0.1) < 0.01


def test_a_target_that_no_threshold_can_hold_is_reported_as_saturation() -> None:
    """Below the first exit's cost the position stays at its end and reports saturation."""
    law = ControlLaw(float(TABLE.mean_cost_s[0]) / 2, float(TABLE.mean_cost_s[-1]) * 2)
    order = np.arange(2000)

    position = driven(law, np.ones(2000), list_path_thresholds(find_front(), 4), order, 0.5)

    assert 0 == position.index
    assert position.saturation > 0.8


def test_the_ends_of_the_path_leave_always_first_and_always_last() -> None:
    """Beyond the front there is only the first exit, and only the last."""
    paths = list_path_thresholds(find_front(), 4)

    assert [0] * 5 == TABLE.leaves_at(paths[0])[:5].tolist()
    assert [3] * 5 == TABLE.leaves_at(paths[-1])[:5].tolist()


def test_control_needs_exactly_one_bound_on_time() -> None:
    """Anything else is refused."""
    for target in ("drop<=0.5", "mean<=5ms, p99<=9ms", "energy<=2mJ"):
        with pytest.raises(InputError, match="exactly one bound on time"):
            ControlLaw.from_target(TABLE, target)


class FakeRunner:
    """Leaves where the thresholds say for the next sample of a table, and moves the clock by what that costs."""

    exits = 4

    def __init__(self) -> None:
        self.inner_thresholds: tuple[float, ...] = ()
        self.now_s = 0.0
        self.at = 0

    def __call__(self, x: object) -> Prediction:
        leaves = int(TABLE.take(np.array([self.at])).leaves_at(self.inner_thresholds)[0])
        self.at += 1
        self.now_s += float(TABLE.mean_cost_s[leaves])
        return Prediction(0, leaves + 1, 0.0, np.zeros(2, np.float32), late=False)


def test_a_controller_is_called_like_the_runner_and_moves_its_thresholds() -> None:
    """It times each inference with its clock and steers the mean to the target."""
    fake = FakeRunner()
    law = ControlLaw.from_target(TABLE, f"mean<={budget(TABLE, 0.4)!r}s")
    controller = Controller(cast("Runner", fake), find_front(), law, start=1.0, clock=lambda: fake.now_s)

    predictions = [controller(None) for _ in range(3000)]

    assert {p.exit for p in predictions} >= {1, 4}
    assert controller.mean_cost is not None
    assert abs(controller.mean_cost - law.wanted) <= controller.bound()


def test_the_alarm_stays_quiet_on_the_same_stream() -> None:
    """Fresh samples of the same world, window after window."""
    thresholds = [0.8, 0.8, 0.7]
    half = TABLE.take(np.arange(10_000))
    quiet = 0
    for seed in range(12):
        alarm = DriftAlarm(CellCounts.from_table(half, thresholds))
        order = np.random.default_rng(seed).choice(np.arange(10_000, 20_000), 4000, replace=False)
        quiet += not watch(alarm, order, thresholds)

    assert quiet >= 11


def test_the_alarm_is_raised_when_samples_get_harder() -> None:
    """A stream from the harder half is told from the calibration's within a few windows, and the reason names an exit."""
    thresholds = [0.8, 0.8, 0.7]
    alarm = DriftAlarm(CellCounts.from_table(TABLE, thresholds))

    assert watch(alarm, np.argsort(TABLE.scores[:, 0])[:2000], thresholds)
    assert alarm.reason is not None
    assert "left at exit" in alarm.reason


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": 0},
        {"window": -5},
        {"window": 2.5},
        {"false_alarm": 0.0},
        {"false_alarm": 2},
        {"false_alarm": math.nan},
    ],
)
def test_an_alarm_that_could_never_be_raised_is_refused(wrong: dict[str, Any]) -> None:
    """A window of no inferences is never full, and no p-value is below a level of 0."""
    [name] = wrong
    with pytest.raises(InputError, match=name):
        DriftAlarm(CellCounts.from_table(TABLE, [0.8, 0.8, 0.7]), **wrong)


@pytest.mark.parametrize(
    ("exit", "score"), [(0, 0.5), (-1, 0.5), (5, 0.5), (1.5, 0.5), ("1", 0.5), (1, math.nan), (1, "x"), (1, None)]
)
def test_an_alarm_refuses_what_is_no_prediction(exit: Any, score: Any) -> None:
    """Exits count from 1; one that the network does not have would be counted as another."""
    alarm = DriftAlarm(CellCounts.from_table(TABLE, [0.8, 0.8, 0.7]))

    with pytest.raises(InputError, match=r"exit must be|score must be"):
        alarm.observe(exit, score)

    assert not alarm.observe(4, math.nan), "the score of the last exit is not used"


def watch(alarm: DriftAlarm, order: np.ndarray, thresholds: list[float]) -> bool:
    """Feed samples of the table to an alarm."""
    part = TABLE.take(order)
    for i, leaves in enumerate(part.leaves_at(thresholds)):
        alarm.observe(int(leaves) + 1, float(part.scores[i, leaves]) if leaves < 3 else 0.0)
    return alarm.raised


def test_the_two_sample_p_value_is_about_uniform_under_equality() -> None:
    """It says 5 % about 5 % of the time."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(9))

    def p_value() -> float:
        now, then = (rng.multinomial(n, shares).astype(np.float64) for n in (500, 5000))
        return compute_two_sample_p_value(now, then)

    values = [p_value() for _ in range(1000)]

    assert 0.03 < np.mean(np.array(values) < 0.05) < 0.08
