"""Calibrations whose figures contradict each other are refused when they are read."""

from __future__ import annotations

import copy
import io
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edgeexit
from edgeexit.calibration.result import parse_calibration
from edgeexit.data import load_data
from edgeexit.errors import BundleError, EdgeExitError, InputError
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


@pytest.fixture(scope="module")
def calibrated(compiled_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with one calibration."""
    path = tmp_path_factory.mktemp("calibrated") / "demo.eexit"
    shutil.copytree(compiled_demo, path)
    digits = load_data("digits:calibration")
    with pytest.warns(CalibrationWarning):
        runner = edgeexit.load(path)
    with runner:
        edgeexit.calibrate(runner, digits.x, digits.labels, target="accuracy>=0.5", seconds=0.1, force=True)
    return path


def _damage_archive(calibrated: Path, file: Path, change: Callable[[str], str]) -> Path:
    """The exported calibration with its document changed as text."""
    exported = zipfile.ZipFile(io.BytesIO(edgeexit.export_calibration(calibrated, "cal-1")))
    with zipfile.ZipFile(file, "w") as damaged:
        for name in exported.namelist():
            content = exported.read(name)
            damaged.writestr(name, change(content.decode()).encode() if name == "calibration.json" else content)
    return file


@pytest.mark.parametrize("key", ["a\\u0000b", "\\ud800", "../outside", "k" * 5000])
def test_a_calibration_under_a_key_that_can_be_no_file_is_refused(calibrated: Path, tmp_path: Path, key: str) -> None:
    """The key of an archive becomes part of a file's name; whatever it holds, the bundle stays as it was."""
    before = sorted(path.relative_to(calibrated) for path in calibrated.rglob("*"))
    file = _damage_archive(
        calibrated,
        tmp_path / "cal.calib",
        lambda text: re.sub(r'"key": ?"[^"]*"', f'"key": "{key}"'.replace("\\", "\\\\"), text, count=1),
    )
    with pytest.raises(EdgeExitError):
        edgeexit.import_calibration(calibrated, file, save_as="again")
    assert sorted(path.relative_to(calibrated) for path in calibrated.rglob("*")) == before


def test_a_calibration_that_holds_a_nan_is_refused(calibrated: Path, tmp_path: Path) -> None:
    """Where nothing looks at the number, it would fail when the next calibration carries it over."""
    file = _damage_archive(
        calibrated, tmp_path / "cal.calib", lambda text: text.replace('"state": {', '"state": {"before": NaN, ', 1)
    )
    with pytest.raises(InputError, match="NaN is no value of JSON"):
        edgeexit.import_calibration(calibrated, file, save_as="again")
