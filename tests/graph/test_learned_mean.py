"""The criterion `learned_mean` in every form of a bundle, against the file as it was given and the criterion's NumPy code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

import edgeexit
from edgeexit.bundle import Bundle
from edgeexit.criteria import ExitOutputs, criterion
from edgeexit.errors import ModelError
from edgeexit.runtime import CalibrationWarning, Runner
from tests.support.onnx_writer import Writer

Array = NDArray[np.float32]
COUNT = 12
EXITS, SCORES = ["z1", "z2", "z3"], ["h1", "h2"]


def write(path: Path, *, opset: int = 17, squash: str = "Sigmoid", softmax: bool = False) -> Path:
    """Three exits on convolutions, the first two with a score that is `squash` of a linear map of their logits."""
    w = Writer()
    x, channels = "x", 3
    for k in (1, 2, 3):
        x, channels = w.conv(x, channels, 4), 4
        own = f"own{k}" if softmax else f"z{k}"
        w.head(x, channels, own)
        if softmax:
            w.op("Softmax", own, axis=1, out=f"z{k}")
        if k < 3:
            w.op(squash, w.op("Gemm", own, w.weight(3, 1)), out=f"h{k}")
    return w.save(path, {"x": ["n", 3, 8, 8]}, [*EXITS, *SCORES], opset=opset)


def samples() -> Array:
    """Inputs of all sizes, so that scores spread."""
    rng = np.random.default_rng(5)
    return np.asarray(rng.standard_normal((COUNT, 3, 8, 8)) * rng.choice([0.3, 1, 4], (COUNT, 1, 1, 1)), np.float32)


def expect(path: Path, xs: Array, *, softmax: bool = False) -> ExitOutputs:
    """What the criterion's NumPy code makes of the file's outputs; the last exit has no score, and needs none."""
    values = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run([*EXITS, *SCORES], {"x": xs})
    logits = np.stack(values[:3], axis=1)
    scores = np.concatenate([*values[3:], np.zeros((len(xs), 1))], axis=1)
    return criterion("learned_mean").answers(np.log(logits) if softmax else logits, (), scores)


def compiled(path: Path) -> Bundle:
    bundle = edgeexit.compile(
        path, path.with_suffix(".eexit"), criterion="learned_mean", exits=EXITS, scores=SCORES, seconds=0
    )
    assert isinstance(bundle, Bundle)
    return bundle


def check_runner(runner: Runner, xs: Array, expected: ExitOutputs) -> None:
    """Forced to each exit; free, at thresholds between the scores; in a batch; replayed."""
    for i in range(COUNT):
        for k in range(runner.exits):
            forced = runner.forced(xs[i : i + 1], exit=k + 1)
            np.testing.assert_allclose(forced.logits, expected.logits[i, k], atol=1e-4)
            assert expected.scores[i, k] == pytest.approx(forced.score, abs=1e-5)
    ordered = np.sort(expected.scores[:, :-1], axis=0)
    runner.thresholds = [float(t) for t in (ordered[COUNT // 2] + ordered[COUNT // 2 - 1]) / 2]
    leaves = [next((k for k in (0, 1) if expected.scores[i, k] >= runner.thresholds[k]), 2) for i in range(COUNT)]
    assert len(set(leaves)) > 1
    for i, row in enumerate(runner.batch(xs)):
        alone = runner(xs[i : i + 1])
        assert leaves[i] + 1 == alone.exit == row.exit
        for found in (alone, row):
            np.testing.assert_allclose(found.logits, expected.logits[i, leaves[i]], atol=1e-4)
    scores, logits = runner.replay(xs)
    np.testing.assert_allclose(logits, expected.logits, atol=1e-4)
    np.testing.assert_allclose(scores, expected.scores, atol=1e-5)


@pytest.mark.parametrize(("opset", "softmax"), [(11, False), (13, True), (18, False)])
def test_every_form_gives_the_weighted_mean(tmp_path: Path, opset: int, softmax: bool) -> None:
    """Staged, fused, batch and replay, every exit, every sample, whether exits give logits or probabilities."""
    path = write(tmp_path / "m.onnx", opset=opset, softmax=softmax)
    xs = samples()
    expected = expect(path, xs, softmax=softmax)

    bundle = compiled(path)

    assert not bundle.manifest.last_is_backbone
    for name in bundle.models:
        onnx.checker.check_model(str(bundle.file(name)), full_check=True)
    for mode in ("staged", "fused"):
        with pytest.warns(CalibrationWarning):
            runner = edgeexit.load(bundle.path, mode=mode)
        with runner:
            check_runner(runner, xs, expected)


def test_scores_that_are_no_probabilities_are_refused(tmp_path: Path) -> None:
    """They are weights here, not only compared with a threshold: a logit may be negative, and the sum 0."""
    path = write(tmp_path / "m.onnx", squash="Identity")

    with pytest.raises(ModelError, match=r"scores lie beyond 0 to 1: 'h1' \(.*\), 'h2' \(.*\)\. Let the network give"):
        compiled(path)


def test_every_early_exit_needs_a_stopping_probability(tmp_path: Path) -> None:
    """As with `learned`; the last exit's is 1."""
    path = write(tmp_path / "m.onnx")

    with pytest.raises(ModelError, match="'learned_mean' needs a score output at every early exit; missing at 1"):
        edgeexit.compile(path, tmp_path / "b", criterion="learned_mean", exits=EXITS, seconds=0)
