"""The document of a calibration, read by type."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeexit.bundle import CalibrationDocument
from edgeexit.bundle.calibration_document import ExitTimes

WRITTEN = {
    "schema": "edgeexit.calibration/1",
    "target": "drop<=1",
    "met": True,
    "inner_thresholds": ["-inf", 0.5],
    "exits": [{"mean_s": 1e-3, "p50_s": 1e-3, "p99_s": 2e-3}, {}, "x"],
    "device": {"cpu": "c", "cores": 4},
    "state": {"before": {"power_mode": "15W"}},
}


def test_a_calibration_document_is_a_dict_with_typed_properties() -> None:
    """Code that reads it as JSON values goes on working."""
    found = CalibrationDocument(WRITTEN)

    assert WRITTEN == found == json.loads(json.dumps(found))
    assert (True, "drop<=1", None, "met") == (found.is_current, found.target, found.created, found.verdict)
    assert (float("-inf"), 0.5) == found.inner_thresholds
    assert (ExitTimes(1e-3, 1e-3, 2e-3), ExitTimes(None, None, None), ExitTimes(None, None, None)) == found.exits
    assert {"cpu": "c"} == found.device
    assert {"power_mode": "15W"} == found.state_before
    assert found.settings is None


@pytest.mark.parametrize("damaged", [None, 1, "text", [1], [[1], {}], {"bounds": []}, {"before": 3}])
def test_a_damaged_field_of_a_calibration_document_is_none(damaged: Any) -> None:
    """A bundle may come from anywhere; nothing raises an error of Python's."""
    found = CalibrationDocument(dict.fromkeys((*WRITTEN, "verdict", "settings", "created"), damaged))

    assert not found.is_current
    assert "unknown" == found.verdict
    assert found.state_before is None
    assert all(t == ExitTimes(None, None, None) for t in found.exits)
    assert found.inner_thresholds in (None, (1.0,))
