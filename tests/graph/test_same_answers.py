"""Staged, fused, batch and the original model give the same answers, on networks nobody has seen."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

import edgeexit
from edgeexit.criteria import CRITERIA
from edgeexit.runtime import CalibrationWarning, Runner
from tests.support.random_networks import CLASSES, RandomNetwork, random_networks

COUNT = 6
COMPUTED = [name for name, c in CRITERIA.items() if not c.learned]
Logits = NDArray[np.float32]


def original_logits(path: Path, network: RandomNetwork, samples: dict[str, Logits]) -> Logits:
    """[n, N, classes], by the file as it was given."""
    try:
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except InvalidArgument:  # a branch that captures what ONNX Runtime has fused away: there is nothing to compare with
        reject()
    rows = [session.run(list(network.logits), {n: a[i : i + 1] for n, a in samples.items()}) for i in range(COUNT)]
    return np.array(rows, np.float32).reshape(COUNT, len(network.logits), CLASSES)


def loaded(path: Path, mode: str) -> Runner:
    with pytest.warns(CalibrationWarning):
        return edgeexit.load(path, mode=mode)


def assert_same(expected: Logits, actual: Logits) -> None:
    """The rule of "same answers" in float32."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * float(np.abs(expected).max()))


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(network=random_networks(), criterion=st.sampled_from(COMPUTED), seed=st.integers(0, 99))
def test_staged_fused_batch_and_original_agree(network: RandomNetwork, criterion: str, seed: int) -> None:
    """Forced to exit k each mode gives exit k's answer; free, each leaves where the scores say; a batch is its samples one by one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = network.save(folder)
        samples = network.samples(COUNT, seed)
        original = original_logits(path, network, samples)
        bundle = edgeexit.compile(path, folder / "b.eexit", criterion=criterion, exits=network.logits, seconds=0)
        macs = [s.macs for s in bundle.manifest.stages]
        costs = [1.0] * len(macs) if None in macs else np.cumsum([m or 0 for m in macs]).tolist()
        expected = CRITERIA[criterion].answers(original, costs)
        for mode in ("staged", "fused"):
            with loaded(bundle.path, mode) as runner:
                check_forced(runner, samples, expected.logits)
                check_free(runner, samples, expected.logits, expected.scores, seed)
                check_batch(runner, samples)


def check_forced(runner: Runner, samples: dict[str, Logits], expected: Logits) -> None:
    for i in range(COUNT):
        for k in range(runner.exits):
            p = runner.forced(one(samples, i), exit=k + 1)
            assert k + 1 == p.exit
            assert_same(expected[i, k], p.logits)


def check_free(
    runner: Runner, samples: dict[str, Logits], logits: Logits, scores: NDArray[np.float32], seed: int
) -> None:
    """Thresholds between the scores seen, so that samples leave at several exits."""
    rng = np.random.default_rng(seed)
    runner.thresholds = [float(rng.choice(scores[:, k])) + 1e-3 for k in range(runner.exits - 1)]
    sign = runner.criterion.sign
    for i in range(COUNT):
        margins = sign * scores[i, :-1] - np.array(runner.inner_thresholds)
        if np.abs(margins).min() < 1e-4:
            continue
        exit = next((k + 1 for k, m in enumerate(margins) if m >= 0), runner.exits)
        p = runner(one(samples, i))
        assert exit == p.exit
        assert scores[i, exit - 1] == pytest.approx(p.score, abs=1e-4)
        assert_same(logits[i, exit - 1], p.logits)


def check_batch(runner: Runner, samples: dict[str, Logits]) -> None:
    singles = [runner(one(samples, i)) for i in range(COUNT)]
    together = runner.batch(samples)
    for single, row in zip(singles, together, strict=True):
        assert single.exit == row.exit
        assert_same(single.logits, row.logits)


def one(samples: dict[str, Logits], i: int) -> dict[str, Logits]:
    return {n: a[i : i + 1] for n, a in samples.items()}
