"""Networks in training mode, which draw random numbers or normalise by the batch, are refused; those that could and do not are taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeexit
from edgeexit.errors import ModelError
from tests.support.onnx_writer import Writer, check

WIDTH = 8


def dense(w: Writer, x: str) -> str:
    return w.op("Tanh", w.op("MatMul", x, w.weight(WIDTH, WIDTH)))


def two_heads(w: Writer, x: str) -> None:
    w.op("MatMul", x, w.weight(WIDTH, 3), out="z1")
    w.op("MatMul", dense(w, x), w.weight(WIDTH, 3), out="z2")


@pytest.mark.parametrize(
    "draw",
    [
        lambda w, x: w.op("Add", x, w.op("RandomNormalLike", x)),
        lambda w, x: w.op("Mul", x, w.op("RandomUniform", shape=[1, WIDTH], seed=1.0)),
        lambda w, x: w.op("Dropout", x, w.constant(0.5), w.constant(True, bool)),
    ],
)
def test_a_network_that_draws_random_numbers_is_refused(draw: Any, tmp_path: Path) -> None:
    """Its answers cannot be compared with anything."""
    w = Writer()
    two_heads(w, draw(w, dense(w, "x")))
    path = w.save(tmp_path / "m.onnx", {"x": ["n", WIDTH]}, ["z1", "z2"])

    with pytest.raises(
        ModelError, match=r"draws random numbers, .*: 'n\d' \((Random|Dropout).*Export it in evaluation mode"
    ):
        edgeexit.compile(path, tmp_path / "b", exits=["z1", "z2"], seconds=0)


@pytest.mark.parametrize("training", [False, True])
def test_dropout_that_drops_nothing_is_none(training: bool, tmp_path: Path) -> None:
    """In evaluation, or with a ratio of 0."""
    w = Writer()
    ratio = w.constant(0.0 if training else 0.5)
    two_heads(w, w.op("Dropout", dense(w, "x"), ratio, w.constant(training, bool)))
    path = w.save(tmp_path / "m.onnx", {"x": ["n", WIDTH]}, ["z1", "z2"])

    check(path, {"x": np.random.default_rng(0).random((3, WIDTH), np.float32)}, ["z1", "z2"])


@pytest.mark.parametrize("training", [False, True])
def test_a_network_that_normalises_by_its_batch_is_refused(training: bool, tmp_path: Path) -> None:
    """In evaluation mode it normalises by what it has learnt."""
    w = Writer()
    learnt = [w.constant(np.full(WIDTH, v)) for v in (1, 0, 0.1, 2)]
    out = ["n", "mean", "var"] if training else "n"
    two_heads(w, w.op("BatchNormalization", dense(w, "x"), *learnt, out=out, training_mode=int(training)))
    path = w.save(tmp_path / "m.onnx", {"x": ["n", WIDTH]}, ["z1", "z2"])

    if training:
        with pytest.raises(
            ModelError,
            match=r"normalises by the statistics of the batch.*: 'n\d' \(BatchNormalization\). Export it in eval",
        ):
            edgeexit.compile(path, tmp_path / "b", exits=["z1", "z2"], seconds=0)
    else:
        check(path, {"x": np.random.default_rng(0).random((3, WIDTH), np.float32)}, ["z1", "z2"])
