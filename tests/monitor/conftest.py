"""The demo network, calibrated, with a Monitor."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import edgeexit
from edgeexit.data import find_demo_asset, load_data
from edgeexit.runtime import Runner, load_quietly


@pytest.fixture(scope="session")
def digits() -> NDArray[np.float32]:
    """The inputs of the shipped calibration slice."""
    inputs = load_data("digits:calibration").inputs
    assert isinstance(inputs, np.ndarray)
    return inputs


@pytest.fixture(scope="session")
def calibrated_digits(tmp_path_factory: pytest.TempPathFactory, digits: NDArray[np.float32]) -> Path:
    """A bundle with an active calibration; not to be changed."""
    path = tmp_path_factory.mktemp("monitor") / "digits.eexit"
    edgeexit.compile(find_demo_asset("lenet-digits.onnx"), path, seconds=0)
    with load_quietly(path) as runner:
        edgeexit.calibrate(runner, digits, None, target="agreement>=0.95")
    return path


@pytest.fixture
def watched(calibrated_digits: Path, tmp_path: Path) -> Iterator[Runner]:
    """It opened, from a copy of one's own."""
    with load_quietly(shutil.copytree(calibrated_digits, tmp_path / "digits.eexit")) as runner:
        yield runner
