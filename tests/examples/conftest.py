"""What every example is held against: a calibrated bundle of the digits network, and what the Runner answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import edgeexit
from edgeexit.backends import Settings
from edgeexit.bundle import Bundle
from edgeexit.data import find_demo_asset, load_data
from edgeexit.data.dataset import Floats
from edgeexit.hardware import find_device_key
from edgeexit.runtime.loading import load_quietly

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@dataclass(frozen=True)
class Answered:
    """A bundle, samples, and the Runner's answer to each.

    Attributes:
        bundle: folder of a bundle with one active calibration.
        samples: file of the samples as float32, one after the other.
        inputs: the samples, [n, 1, 28, 28].
        labels, exits, scores: the Runner's answers, [n]; inner scores.
    """

    bundle: Path
    samples: Path
    inputs: Floats
    labels: list[int]
    exits: list[int]
    scores: list[float]

    def compare(self, rows: Sequence[Sequence[float]]) -> None:
        """Fail unless rows of label, exit and inner score are what the Runner answers to every sample; scores up to rounding."""
        labels, exits, scores = zip(*rows, strict=True)
        assert self.labels == list(labels)
        assert self.exits == list(exits)
        np.testing.assert_allclose(scores, self.scores, rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="session")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Answered:
    """The test part of the digits, of which half leave at exit 1: the threshold is the median of its scores on other digits."""
    folder = tmp_path_factory.mktemp("examples")
    bundle = folder / "digits.eexit"
    edgeexit.compile(find_demo_asset("lenet-digits.onnx"), bundle, seconds=0)
    known, unseen = load_data("digits:calibration").x, load_data("digits:test").x
    with load_quietly(bundle, mode="staged") as runner:
        median = float(np.median([runner.forced(x[None], exit=1).score for x in known[:100]]))
        inner = float(np.float32(runner.criterion.inner(median)))
    calibration = {"schema": "edgeexit.calibration/1", "inner_thresholds": [inner], "settings": {"mode": "staged"}}
    Bundle.open(bundle).write_calibration(Settings(mode="staged").key(find_device_key()), calibration)
    with edgeexit.load(bundle, mode="staged") as runner:
        found = [runner(x[None]) for x in unseen]
        scores = [runner.criterion.inner(p.score) for p in found]
    unseen.tofile(folder / "samples.f32")
    exits = [p.exit for p in found]
    assert {1, 2} == set(exits)
    return Answered(bundle, folder / "samples.f32", unseen, [p.label for p in found], exits, scores)
