"""A calibration with a value that is not a number raises a clear error, or is passed over with a warning."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import edgeexit
from edgeexit.bundle import Bundle
from edgeexit.errors import BundleError, InputError
from edgeexit.hardware import find_device_key
from edgeexit.report.bundle_facts import collect_bundle_facts
from edgeexit.runtime import Settings

HUGE = 10**400  # JSON has whole numbers of any size


def calibrated(compiled: Path, folder: Path, mode: str, **changed: Any) -> Path:
    """A copy of the bundle with a calibration of this device."""
    path = Path(shutil.copytree(compiled, folder / "b.eexit"))
    document = {
        "schema": "edgeexit.calibration/1",
        "inner_thresholds": ["-inf", 0.5],
        "exits": [{"p50_s": 1e-3 * k, "p99_s": 2e-3 * k} for k in (1, 2, 3)],
    }
    Bundle.open(path).write_calibration(Settings(mode=mode).key(find_device_key()), {**document, **changed})
    return path


@pytest.mark.parametrize("values", [[HUGE, 0], ["nan", 0], [True, "x"], [[1], [2]], "inf", None])
def test_thresholds_of_a_calibration_that_are_no_numbers(compiled: Path, tmp_path: Path, values: Any) -> None:
    """Loading says so; inspecting goes on without them."""
    path = calibrated(compiled, tmp_path, "staged", inner_thresholds=values)

    with pytest.raises(BundleError, match="needs 2 numbers: calibrate again"):
        edgeexit.load(path, mode="staged")

    assert [None] == [c.thresholds for c in collect_bundle_facts(Bundle.open(path)).calibrations]


@pytest.mark.parametrize("mode", ["staged", "fused"])
def test_times_that_no_float_holds_are_none(compiled: Path, tmp_path: Path, mode: str) -> None:
    """Everything runs but a deadline, which needs them."""
    path = calibrated(compiled, tmp_path, "staged", exits=[{"p50_s": 1.0, "p99_s": HUGE}] * 3)
    Bundle.open(path).write_calibration(Settings(mode=mode).key(find_device_key()), _document(path))

    with edgeexit.load(path, mode=mode) as runner, pytest.raises(InputError, match="a deadline needs the p99"):
        runner.prepare_deadlines()


def _document(path: Path) -> dict[str, Any]:
    found = Bundle.open(path).read_calibration(Settings().key(find_device_key()))
    assert found is not None
    return found


@pytest.mark.parametrize("deadline_s", [HUGE, -HUGE])
def test_a_deadline_that_no_float_holds(compiled: Path, tmp_path: Path, deadline_s: int) -> None:
    """Is no number of seconds."""
    with (
        edgeexit.load(calibrated(compiled, tmp_path, "staged"), mode="staged") as runner,
        pytest.raises(InputError, match="deadline_s must be a positive number of seconds"),
    ):
        runner({"x": None}, deadline_s=deadline_s)  # type: ignore[dict-item]


def test_seconds_that_no_float_holds(model: Path, tmp_path: Path) -> None:
    """Of the compile's timing."""
    with pytest.raises(InputError, match="seconds must be a number of 0 or more"):
        edgeexit.compile(model, tmp_path / "b", seconds=HUGE)


def test_a_path_that_is_not_utf8(tmp_path: Path) -> None:
    """The runtimes take paths as text."""
    with pytest.raises(InputError, match="not UTF-8, which the runtimes cannot open: rename it"):
        edgeexit.load(tmp_path / "\udcff")
