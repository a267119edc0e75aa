"""Calibrations whose figures contradict each other are refused when they are read."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edgeexit
from edgeexit.calibration.result import parse_calibration
from edgeexit.errors import BundleError
from edgeexit.runtime import CalibrationWarning
from tests.networks import images


@pytest.fixture(scope="module")
def document(compiled: Path) -> dict[str, Any]:
    """A calibration of a network with three exits, without its bundle."""
    with pytest.warns(CalibrationWarning):
        runner = edgeexit.load(compiled)
    with runner:
        found = edgeexit.calibrate(runner, images(60), None, target="rate1>=0.1", seconds=0.1, force=True, dry_run=True)
    return found.to_document()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda d: d["thresholds"].pop(), "thresholds has 1 values instead of 2"),
        (lambda d: d["predicted"]["exit_rates"].pop(), "predicted.exit_rates has 2 values instead of 3"),
        (
            lambda d: d["curve"][0]["inner_thresholds"].append(0.5),
            "curve[0].inner_thresholds has 3 values instead of 2",
        ),
        (lambda d: d["exits"][1].update(mean_s=-1.0), "exits[1].mean_s is -1.0, which is not a time above 0"),
        (lambda d: d["predicted"].update(agreement=2), "predicted.agreement is 2.0, which is not a share from 0 to 1"),
        (lambda d: d["exits"][0].update(exit=2), "the exits are not two or more, numbered from 1"),
    ],
)
def test_a_calibration_whose_figures_cannot_all_be_true_is_refused(
    document: dict[str, Any], damage: Callable[[dict[str, Any]], object], told: str
) -> None:
    """Types alone do not make a document sound; tables and pages are made of it."""
    damaged = copy.deepcopy(document)
    assert parse_calibration(damaged, "cal").exits
    damage(damaged)
    with pytest.raises(BundleError, match=re.escape(told)):
        parse_calibration(damaged, "cal")
