"""Temperatures of exits' logits: scores move, labels do not, in every form of a bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgeexit
from edgeexit.criteria import criterion, fit_temperatures, softmax
from edgeexit.criteria.temperature import scale_logits
from edgeexit.errors import InputError
from edgeexit.runtime import load_quietly

HEAT = (2.5, 0.5, 3.0)


def samples(n: int = 40) -> np.ndarray:
    """Inputs of all sizes, so that scores spread."""
    rng = np.random.default_rng(5)
    return np.asarray(rng.standard_normal((n, 3, 8, 8)) * rng.choice([0.3, 1, 4], (n, 1, 1, 1)), np.float32)


@pytest.mark.parametrize("name", ["entropy", "running_mean", "patience"])
@pytest.mark.parametrize("mode", ["staged", "fused"])
def test_scores_are_those_of_scaled_logits_and_answers_those_of_the_network(
    name: str, mode: str, model: Path, compiled: Path, tmp_path: Path
) -> None:
    """A criterion of one exit, one that mixes exits (its answer is the mean, which changes), and one that answers with what it takes."""
    x = samples()
    with load_quietly(compiled) as plain:
        logits = plain.replay(x)[1]
    path = tmp_path / "scaled.eexit"
    manifest = edgeexit.compile(model, path, criterion=name, temperatures=HEAT, seconds=0).manifest
    assert manifest.temperatures == HEAT
    costs = np.cumsum([stage.macs for stage in manifest.stages]).tolist()
    expected = criterion(name).answers(scale_logits(logits, HEAT), costs)
    with load_quietly(path, mode=mode) as runner:
        given = [[runner.forced(one[None], exit=k) for k in (1, 2, 3)] for one in x]
    scores = np.array([[answer.score for answer in row] for row in given])
    np.testing.assert_allclose(scores[:, :2], expected.scores[:, :2], atol=1e-4)
    answers = np.array([[answer.logits for answer in row] for row in given])
    wanted = expected.logits if name == "running_mean" else logits
    np.testing.assert_allclose(answers, wanted, atol=1e-4)


@settings(max_examples=5)
@given(st.floats(0.2, 8), st.integers(0, 10**6))
def test_the_temperature_that_labels_were_drawn_with_is_found(hot: float, seed: int) -> None:
    """Labels drawn from softmax(logits / T) give T back, within its sampling error, and the likelihood is no lower beside it."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 3 * hot, (2000, 1, 5))
    p = softmax(z[:, 0] / hot).astype(np.float64)
    labels = (rng.random((len(p), 1)) > np.cumsum(p, axis=1)).sum(axis=1).clip(0, 4)
    (found,) = fit_temperatures(z, labels)
    assert found == pytest.approx(hot, rel=0.3)

    def likelihood(t: float) -> float:
        return float(np.log(softmax(z[:, 0] / t)[np.arange(len(p)), labels] + 1e-30).mean())

    assert likelihood(found) >= max(likelihood(found * 1.02), likelihood(found / 1.02))


def test_fitted_temperatures_are_those_of_the_samples(model: Path, compiled: Path, tmp_path: Path) -> None:
    """`fit` gives what the recorded logits give."""
    x = samples()
    with load_quietly(compiled) as plain:
        logits = plain.replay(x)[1]
    y = np.where(np.arange(40) % 10, logits[:, -1].argmax(axis=-1), 0)
    wanted = fit_temperatures(logits, y)
    bundle = edgeexit.compile(model, tmp_path / "fit.eexit", temperatures="fit", inputs=x, labels=y, seconds=0)
    assert bundle.manifest.temperatures == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize(
    ("asked", "message"),
    [("fit", "labels"), ("1,2", "3 positive numbers"), ("hot", "'hot'"), ([1, -1, 1], "positive"), (2.0, "positive")],
)
def test_temperatures_that_cannot_be_taken_are_refused(
    asked: object, message: str, model: Path, tmp_path: Path
) -> None:
    """With what would be; nothing is written."""
    with pytest.raises(InputError, match=message):
        edgeexit.compile(model, tmp_path / "no.eexit", temperatures=asked, seconds=0)
    assert not (tmp_path / "no.eexit").exists()
