"""The demo network, compiled and calibrated once, and its calibration slice."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import edgeexit
from edgeexit.calibration import Calibration
from edgeexit.data import Dataset, find_demo_asset, load_data
from edgeexit.runtime import CalibrationWarning, Runner


@pytest.fixture(scope="session")
def compiled_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the shipped digits network; not to be changed."""
    path = tmp_path_factory.mktemp("demo") / "digits.eexit"
    edgeexit.compile(find_demo_asset("lenet-digits.onnx"), path, seconds=0)
    return path


@pytest.fixture
def demo_path(compiled_demo: Path, tmp_path: Path) -> Path:
    """A bundle of one's own."""
    return Path(shutil.copytree(compiled_demo, tmp_path / "digits.eexit"))


def open_uncalibrated(path: Path) -> Runner:
    """A bundle opened, without the warning that nothing is calibrated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        return edgeexit.load(path)


@pytest.fixture
def demo_runner(demo_path: Path) -> Iterator[Runner]:
    """It opened, uncalibrated."""
    with open_uncalibrated(demo_path) as runner:
        yield runner


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """The shipped calibration slice."""
    return load_data("digits:calibration")


class CalibratedBundle(NamedTuple):
    """A bundle, and the result of its calibration."""

    path: Path
    result: Calibration


@pytest.fixture(scope="session")
def calibrated_demo(compiled_demo: Path, digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> CalibratedBundle:
    """The digits network calibrated on the slice, for tests that start from a calibration; not to be changed."""
    path = Path(shutil.copytree(compiled_demo, tmp_path_factory.mktemp("calibrated") / "digits.eexit"))
    with open_uncalibrated(path) as runner:
        result = edgeexit.calibrate(
            runner, digits.inputs, digits.labels, target="drop<=5", seconds=0.4, name="digits", save_as="digits"
        )
    return CalibratedBundle(path, result)


@pytest.fixture
def calibrated_runner(calibrated_demo: CalibratedBundle, tmp_path: Path) -> Iterator[Runner]:
    """A calibrated bundle of one's own, opened."""
    with edgeexit.load(shutil.copytree(calibrated_demo.path, tmp_path / "calibrated" / "digits.eexit")) as runner:
        yield runner
