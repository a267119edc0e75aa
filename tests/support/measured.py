"""One measured result, made once for the tests of all folders: measuring takes seconds."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import edgeexit
from edgeexit.measure import BenchResult, Pace
from edgeexit.measure import suites as suites_module
from edgeexit.runtime import CalibrationWarning, Runner

TINY = """
description = "For tests: every part of the protocol, as short as can be."
processes = 2
seconds = 0.1
warmup_s = 0.0
samples = 64
trace = 128
cooldown_s = 0.0
paced_s = 0.05
cold = 3
energy_trials = 0
cache = false
"""


@pytest.fixture(scope="session")
def suites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two suites: `tiny`, and `single` for what several processes would show no better than one."""
    folder = tmp_path_factory.mktemp("suites")
    (folder / "tiny.toml").write_text(TINY, encoding="utf-8")
    (folder / "single.toml").write_text(TINY.replace("processes = 2", "processes = 1"), encoding="utf-8")
    return folder


def open_bundle(path: Path, thresholds: list[float], mode: str = "fused") -> Runner:
    """A runner with thresholds of its own; the bundle has no calibration and says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        runner = edgeexit.load(path, mode=mode)
    runner.thresholds = thresholds
    return runner


@pytest.fixture(scope="session")
def samples(compiled: Path) -> NDArray[np.float32]:
    """Inputs [80, ...] for the bundle of the tests."""
    runner = open_bundle(compiled, [0.0, 0.0])
    shape = runner.bundle.manifest.inputs[0].shape_at_1
    return np.random.default_rng(0).normal(size=(80, *shape[1:])).astype(np.float32)


@pytest.fixture(scope="session")
def balanced(compiled: Path, samples: NDArray[np.float32]) -> list[float]:
    """Thresholds by which about half leave at exit 1 and half of the rest at exit 2."""
    runner = open_bundle(compiled, [0.0, 0.0], "staged")
    scores, _ = runner.replay(samples)
    return [runner.criterion.own(float(np.median(scores[:, k]))) for k in range(2)]


@pytest.fixture(scope="session")
def result(compiled: Path, suites: Path, samples: NDArray[np.float32], balanced: list[float]) -> BenchResult:
    """A bundle measured against its backbone and against its other mode, with labels, paced and cold."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suites_module, "find_data_dir", lambda kind: suites)
        runner, other = (open_bundle(compiled, balanced, mode) for mode in ("fused", "staged"))
        arguments: dict[str, Any] = {
            "preset": "tiny",
            "name": "noise",
            "pace": Pace(200.0),
            "against": other,
            "audit": True,
        }
        return edgeexit.bench(runner, samples, np.arange(80) % 10 % runner.classes, **arguments)
