"""The table of metrics: one row is all that a new target takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeexit.calibration import ReplayTable, calibrate, certify, optimise, parse_target
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


def test_the_share_that_goes_up_is_held_on_other_data() -> None:
    """`offload<=5%` of a table whose last exit is remote: kept on the table, within two points on samples never seen, and proved."""
    whole = replace(world(1, 6000, 3), remote_from=3)
    choose, test = whole.take(np.arange(3000)), whole.take(np.arange(3000, 6000))

    policy = optimise(choose, "offload<=5%")
    proved, certificate = certify(choose, test, "offload<=5%", confidence=0.9)

    up, seen, certain = (
        float(np.mean(t.leaves_at(p.thresholds) == 2)) for t, p in ((choose, policy), (test, policy), (test, proved))
    )
    assert 0.04 < up <= 0.05
    assert abs(seen - 0.05) <= 0.02
    assert certain <= 0.05
    assert max(certificate.p_values.values()) <= 0.1
    assert policy.quality > optimise(choose, "offload<=1%").quality


def test_where_all_stages_run_here_nothing_goes_up(tmp_path: Path) -> None:
    """The bound is refused; what says that a stage is elsewhere is saved with the table, and counts without the heads that are dropped."""
    table = world(1, 100, 3)
    remote = replace(table, remote_from=3, head_s=np.full(2, 1e-5))

    with pytest.raises(InputError, match="--remote 3=URL"):
        optimise(table, "offload<=5%")
    with pytest.raises(InputError, match="remote_from"):
        replace(table, remote_from=4)
    remote.save(tmp_path / "table.npz")
    assert 3 == ReplayTable.load(tmp_path / "table.npz").remote_from
    assert 2 == remote.without_heads([1]).remote_from
    assert table.sha256() != replace(table, remote_from=2).sha256()
