"""The table of metrics: one row is all that a new target takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeexit.calibration import calibrate, certify, optimise, parse_target
from edgeexit.calibration.metrics import METRICS, make_percentile
from edgeexit.calibration.metrics.costs import MeanCost
from edgeexit.data import Dataset
from edgeexit.errors import InputError
from edgeexit.runtime import Runner
from tests.calibration.worlds import world

ANOTHER_PERCENTILE = make_percentile("p75", 0.25)
ANOTHER_COST = MeanCost(
    "flops",
    "mean floating-point operations",
    {"": 0, "k": 3, "M": 6, "G": 9},
    per_exit=lambda table: None if table.macs is None else 2 * table.macs,
    unknown="flops are not known.",
)


@pytest.fixture(autouse=True)
def _two_more_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    for metric in (ANOTHER_PERCENTILE, ANOTHER_COST):
        monkeypatch.setitem(METRICS, metric.name, metric)


def test_another_percentile_is_one_row_that_is_read_met_and_proved() -> None:
    """Its text reads back; no more than its share lies above the limit, on the table and by the proof."""
    choose, test = world(1, 800, 3), world(2, 2000, 3)
    limit_s = float(choose.mean_cost_s[1]) * 1.01  # only the last exit takes longer
    target = parse_target(f"p75<={limit_s!r}s")

    policy = optimise(choose, target)
    proved, certificate = certify(choose, test, target, confidence=0.9)

    assert target == parse_target(str(target))
    for thresholds in (policy.thresholds, proved.thresholds):
        assert np.mean(choose.leaves_at(thresholds) == 2) <= 0.25
    assert max(certificate.p_values.values()) <= 0.1


def test_another_cost_is_one_row_that_is_read_met_and_refused_where_unknown() -> None:
    """Two operations per multiply-accumulate: bounding them is bounding the multiply-accumulates by half."""
    table = world(1, 500, 3)

    assert optimise(table, "macs<=1.5M") == optimise(table, "flops<=3M")
    with pytest.raises(InputError, match="flops are not known"):
        optimise(replace(table, macs=None), "flops<=3M")


def test_a_device_is_calibrated_for_another_percentile(demo_runner: Runner, digits: Dataset) -> None:
    """The verdict on the device, its tables and its record know the new row too."""
    result = calibrate(demo_runner, digits.inputs, digits.labels, target="p75<=10s", seconds=0.3, dry_run=True)

    (check,) = result.checks
    assert check.bound == "p75<=10s"
    assert check.limit == 0.25
    assert check.predicted == 0
