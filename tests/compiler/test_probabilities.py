"""Exits that end in a softmax, as Keras writes them: criteria see the probabilities as what they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgeexit
from edgeexit.compiler.output_kinds import OutputWarning
from edgeexit.criteria import CRITERIA
from edgeexit.errors import ModelError
from edgeexit.graph import find_exits, read_model
from tests.support.onnx_writer import CLASSES, Array, Writer, assert_close, check, loaded, original

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
def test_one_number_that_says_yes_or_no_gets_advice_to_become_two(tmp_path: Path, exits: list[str] | None) -> None:
    """Named or not."""
    w = Writer()
    x = "x"
    for name in NAMES:
        x = w.op("Tanh", w.op("MatMul", x, w.weight(WIDTH, WIDTH)))
        w.op("Sigmoid", w.op("MatMul", x, w.weight(WIDTH, 1)), out=name)
    path = w.save(tmp_path / "m.onnx", {"x": ["n", WIDTH]}, NAMES)

    with pytest.raises(ModelError, match=r"return two logits: 0 and z"):
        edgeexit.compile(path, tmp_path / "b", exits=exits, seconds=0)


HIDDEN = {
    "Reshape": lambda w, z: w.op("Reshape", w.op("Softmax", z, axis=-1), w.constant([-1, CLASSES], np.int64)),
    "Flatten of maps": lambda w, z: w.op(
        "Flatten", w.op("Softmax", w.op("Reshape", z, w.constant([-1, CLASSES, 1, 1], np.int64)), axis=1), axis=1
    ),
    "Clip": lambda w, z: w.op("Clip", w.op("Softmax", z, axis=-1), w.constant(1e-7), w.constant(1 - 1e-7)),
    "mean of two": lambda w, z: w.op(
        "Mean", w.op("Softmax", z, axis=-1), w.op("Softmax", w.op("Mul", z, w.constant(2.0)), axis=-1)
    ),
    "written out": lambda w, z: w.op(
        "Div",
        w.op("Exp", w.op("Tanh", z)),
        w.op("ReduceSum", w.op("Exp", w.op("Tanh", z)), w.constant([1], np.int64), keepdims=1),
    ),
}


def ending(path: Path, tail: Callable[[Writer, str], str]) -> Path:
    """Two exits that end in what `tail` puts behind their logits."""
    w = Writer()
    x = "x"
    for name in NAMES:
        x = w.op("Tanh", w.op("MatMul", x, w.weight(WIDTH, WIDTH)))
        logits = w.op("Mul", w.op("MatMul", x, w.weight(WIDTH, CLASSES)), w.constant(4.0))
        w.op("Identity", tail(w, logits), out=name)
    return w.save(path, {"x": ["n", WIDTH]}, NAMES)


@pytest.mark.parametrize("how", HIDDEN)
def test_probabilities_are_found_whatever_nodes_lie_behind_them(tmp_path: Path, how: str) -> None:
    """Rows that are never negative and add up to 1; the entropy is theirs."""
    path = ending(tmp_path / "m.onnx", HIDDEN[how])
    bundle = edgeexit.compile(path, tmp_path / "b.eexit", seconds=0)

    with loaded(bundle, "staged") as runner:
        for x, row in zip(samples()["x"], original(path, NAMES, samples()), strict=True):
            p = row[0].astype(np.float64)
            assert -(p * np.log(p)).sum() == pytest.approx(runner.forced(x[None], exit=1).score, abs=1e-4)


@pytest.mark.parametrize("behind", ["Identity", "Reshape"])
def test_a_sigmoid_per_class_is_refused_with_what_to_do(tmp_path: Path, behind: str) -> None:
    """A softmax over sigmoids is no distribution; a score of the network's own may decide all the same."""

    def tail(w: Writer, z: str) -> str:
        return w.op(behind, w.op("Sigmoid", z), *([w.constant([-1, CLASSES], np.int64)] if behind == "Reshape" else []))

    with pytest.raises(
        ModelError, match=r"'p1', 'p2' end in a sigmoid per class.*before the sigmoid.*--criterion learned"
    ):
        edgeexit.compile(ending(tmp_path / "m.onnx", tail), tmp_path / "b.eexit", seconds=0)


def test_numbers_between_0_and_1_that_do_not_add_up_are_warned_about(tmp_path: Path) -> None:
    """As a sigmoid that is written out gives them."""

    def tail(w: Writer, z: str) -> str:
        return w.op("Reciprocal", w.op("Add", w.op("Exp", w.op("Neg", z)), w.constant(1.0)))

    with pytest.warns(OutputWarning, match="'p1', 'p2' lie between 0 and 1 and do not add up to 1"):
        edgeexit.compile(ending(tmp_path / "m.onnx", tail), tmp_path / "b.eexit", seconds=0)


@pytest.mark.parametrize(
    ("then", "kind"),
    [
        (("Hardmax",), "only 0 and 1"),
        (("Softmax", "Mul"), "always add up to the same"),
        (("LogSoftmax", "Neg"), "negative logarithms"),
    ],
)
def test_numbers_that_are_neither_logits_nor_probabilities_are_warned_of(
    tmp_path: Path, then: tuple[str, ...], kind: str
) -> None:
    """A criterion on them is not what its name says: labels as one 1 among 0, percentages, losses."""
    w, x = Writer(), "x"
    for name in NAMES:
        x = w.op("Tanh", w.op("MatMul", x, w.weight(WIDTH, WIDTH)))
        logits = w.op("MatMul", x, w.weight(WIDTH, CLASSES))
        for op in then:
            more = [w.constant(100.0)] if op == "Mul" else []
            logits = w.op(op, logits, *more, out=name if op == then[-1] else None)
    path = w.save(tmp_path / "m.onnx", {"x": ["n", WIDTH]}, NAMES)

    with pytest.warns(OutputWarning, match=kind):
        edgeexit.compile(path, tmp_path / "b.eexit", criterion="max_softmax", seconds=0)
