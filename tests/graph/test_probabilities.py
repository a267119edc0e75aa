"""Exits that end in a softmax, as Keras writes them: criteria see the probabilities as what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgeexit
from edgeexit.criteria import CRITERIA
from edgeexit.errors import ModelError
from edgeexit.graph import find_exits, read_model
from tests.graph.hard import CLASSES, Array, Writer, assert_close, check, loaded, original

WIDTH = 8
NAMES = ["p1", "p2"]
SINGLE = [name for name, c in CRITERIA.items() if c.score is not None]


def network(path: Path, *, opset: int = 17, then: str | None = None, sharp: float = 4, **softmax: int) -> Path:
    """Two exits that end in a softmax; `then` is put behind it."""
    w = Writer()
    x = "x"
    for name in NAMES:
        x = w.op("Tanh", w.op("MatMul", x, w.weight(WIDTH, WIDTH)))
        logits = w.op("Mul", w.op("MatMul", x, w.weight(WIDTH, CLASSES)), w.constant(sharp))
        last = w.op("Softmax", logits, out=None if then else name, **softmax)
        if then:
            w.op(then, last, out=name, **({"to": 1} if then == "Cast" else {}))
    return w.save(path, {"x": ["n", WIDTH]}, NAMES, opset=opset)


def samples() -> dict[str, Array]:
    return {"x": np.random.default_rng(0).standard_normal((4, WIDTH)).astype(np.float32)}


@pytest.mark.parametrize("criterion", SINGLE)
def test_a_criterion_is_that_of_the_probabilities(tmp_path: Path, criterion: str) -> None:
    """Not of a softmax over them, which would find every sample unsure; what the exit gives stays what the file gives."""
    path = network(tmp_path / "m.onnx")
    bundle = check(path, samples(), NAMES, criterion=criterion)

    score = CRITERIA[criterion].score
    assert score is not None
    with loaded(bundle, "staged") as runner:
        for x, row in zip(samples()["x"], original(path, NAMES, samples()), strict=True):
            for exit, p in enumerate(row, 1):
                answer = runner.forced(x[None], exit=exit)
                assert_close(p[0], answer.logits, 1e-6)
                assert score(np.log(p))[0] == pytest.approx(answer.score, abs=1e-5)


def test_the_running_mean_is_that_of_the_probabilities(tmp_path: Path) -> None:
    """Its answer is their mean, weighted by what each exit costs in all."""
    path = network(tmp_path / "m.onnx")
    bundle = edgeexit.compile(path, tmp_path / "b.eexit", criterion="running_mean", seconds=0)
    costs = np.cumsum([stage.macs or 0 for stage in bundle.manifest.stages])

    with loaded(bundle, "fused") as runner:
        for x, (p1, p2) in zip(samples()["x"], original(path, NAMES, samples()), strict=True):
            expected = (costs[0] * p1 + costs[1] * p2) / costs.sum()
            assert_close(expected[0], np.exp(runner.forced(x[None], exit=2).logits), 1e-4)


def test_a_probability_of_zero_is_sure(tmp_path: Path) -> None:
    """Its logarithm has an end."""
    bundle = check(network(tmp_path / "m.onnx", sharp=1e4), samples(), NAMES)

    with loaded(bundle, "staged") as runner:
        assert 0 <= runner.forced(samples()["x"][:1], exit=1).score < 1e-30


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, True),
        ({"axis": 1}, True),
        ({"opset": 12}, True),
        ({"axis": 0}, False),
        ({"then": "Identity"}, True),
        ({"then": "Cast"}, True),
        ({"then": "Tanh"}, False),
    ],
)
def test_a_softmax_over_the_classes_is_found(tmp_path: Path, options: dict[str, int], found: bool) -> None:
    """Whatever passes it on, and nothing that changes it."""
    net = read_model(network(tmp_path / "m.onnx", **options))  # type: ignore[arg-type]

    assert [found, found] == [exit.probabilities for exit in find_exits(net)]


def test_probabilities_in_float16_and_int8(tmp_path: Path) -> None:
    """They keep what they are."""
    path = network(tmp_path / "m.onnx", sharp=1)
    for precision, off in (("float16", 1e-2), ("int8", 0.1)):
        bundle = check(path, samples(), NAMES, precision=precision, inputs=samples()["x"], tolerance=off)
        with loaded(bundle, "staged") as runner:
            p = original(path, NAMES, samples())[0][0]
            assert -(p * np.log(p)).sum() == pytest.approx(runner.forced(samples()["x"][:1], exit=1).score, abs=off)


@pytest.mark.parametrize("exits", [None, NAMES])
def test_one_number_that_says_yes_or_no_is_told_how_to_be_two(tmp_path: Path, exits: list[str] | None) -> None:
    """Named or not."""
    w = Writer()
    x = "x"
    for name in NAMES:
        x = w.op("Tanh", w.op("MatMul", x, w.weight(WIDTH, WIDTH)))
        w.op("Sigmoid", w.op("MatMul", x, w.weight(WIDTH, 1)), out=name)
    path = w.save(tmp_path / "m.onnx", {"x": ["n", WIDTH]}, NAMES)

    with pytest.raises(ModelError, match=r"let the exit give two logits: 0 and z"):
        edgeexit.compile(path, tmp_path / "b", exits=exits, seconds=0)
