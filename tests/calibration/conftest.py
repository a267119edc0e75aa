"""The demo network compiled once, and its calibration slice."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgeexit
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


@pytest.fixture
def demo_runner(demo_path: Path) -> Iterator[Runner]:
    """It opened, uncalibrated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        runner = edgeexit.load(demo_path)
    with runner:
        yield runner


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """The shipped calibration slice."""
    return load_data("digits:calibration")
