"""Networks that take only certain inputs are run on those that the user gives; what is wrong with random ones is explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import edgeexit
from edgeexit.errors import ModelError
from tests.support.onnx_writer import Array, Writer, check, value

WIDTH = 8


def dense(w: Writer, x: str) -> str:
    return w.op("Tanh", w.op("MatMul", x, w.weight(WIDTH, WIDTH)))


def two_heads(w: Writer, x: str) -> None:
    w.op("MatMul", x, w.weight(WIDTH, 3), out="z1")
    w.op("MatMul", dense(w, x), w.weight(WIDTH, 3), out="z2")


def mean_over_lengths(folder: Path) -> tuple[Path, dict[str, Array]]:
    """A length of 0 gives 0/0."""
    w = Writer()
    length = w.op("Unsqueeze", w.op("Cast", "length", to=TensorProto.FLOAT), w.constant([1], np.int64))
    two_heads(w, w.op("Div", w.op("Mul", dense(w, "x"), length), length))
    path = w.save(folder / "m.onnx", {"x": ["n", WIDTH], "length": ["n"]}, ["z1", "z2"], elements={"length": 7})
    return path, {"x": np.ones((5, WIDTH), np.float32), "length": np.arange(1, 6)}


def rare_tokens(folder: Path) -> tuple[Path, dict[str, Array]]:
    """Only tokens from 50 to 59 are in the table."""
    w = Writer()
    found = w.op("Gather", w.weight(10, WIDTH), w.op("Sub", "tokens", w.constant(50, np.int64)))
    two_heads(w, w.op("ReduceMean", found, axes=[1], keepdims=0))
    path = w.save(folder / "m.onnx", {"tokens": ["n", 4]}, ["z1", "z2"], elements={"tokens": TensorProto.INT64})
    return path, {"tokens": np.random.default_rng(0).integers(50, 60, (5, 4))}


@pytest.mark.parametrize(
    ("network", "told"),
    [(mean_over_lengths, "gives NaN on inputs between 0 and 1"), (rare_tokens, "out of data bounds")],
)
def test_a_network_that_takes_no_random_inputs_compiles_with_examples(network: Any, told: str, tmp_path: Path) -> None:
    """And without them the message asks for them."""
    path, examples = network(tmp_path)

    with pytest.raises(ModelError, match=rf"{told}.*\(inputs=, --data\)"):
        edgeexit.compile(path, tmp_path / "none.eexit", exits=["z1", "z2"], seconds=0)
    bundle = check(path, examples, ["z1", "z2"], inputs=examples)

    assert 5 == bundle.manifest.verified.given_inputs
    assert not (tmp_path / "none.eexit").exists()


@pytest.mark.slow
def test_the_forms_are_timed_on_the_examples(tmp_path: Path) -> None:
    """In their fresh processes, too, where a network may take no random inputs."""
    path, examples = rare_tokens(tmp_path)

    bundle = edgeexit.compile(path, tmp_path / "b.eexit", exits=["z1", "z2"], seconds=0.05, inputs=examples)

    assert 1 == len(bundle.manifest.timings)


def test_an_example_that_gives_nan_is_reported(tmp_path: Path) -> None:
    """It is the network that does, so the examples are not blamed on edgeexit."""
    path, examples = mean_over_lengths(tmp_path)

    with pytest.raises(ModelError, match=r"gives NaN on sample \d+ of the inputs given"):
        edgeexit.compile(
            path, tmp_path / "b", exits=["z1", "z2"], seconds=0, inputs={**examples, "length": np.arange(5)}
        )


def test_a_loop_that_zeros_would_never_leave(tmp_path: Path) -> None:
    """Doubles its state until it is large; a bundle is not opened on zeros."""
    w = Writer()
    two, large = w.constant(2.0), w.constant(10.0)
    w.op("MatMul", dense(w, "x"), w.weight(WIDTH, 3), out="z1")
    nodes = [
        helper.make_node("Mul", ["s", two], ["next"]),
        helper.make_node("Abs", ["next"], ["size"]),
        helper.make_node("ReduceSum", ["size"], ["sum"], keepdims=0),
        helper.make_node("Less", ["sum", large], ["go"]),
    ]
    shape = [1, WIDTH]
    starts = [value("turn", TensorProto.INT64, []), value("going", TensorProto.BOOL, []), value("s", shape=shape)]
    body = helper.make_graph(nodes, "body", starts, [value("go", TensorProto.BOOL, []), value("next", shape=shape)])
    small = w.op("Less", w.op("ReduceSum", w.op("Abs", "x"), keepdims=0), large)
    w.op("MatMul", dense(w, w.op("Loop", "", small, "x", body=body)), w.weight(WIDTH, 3), out="z2")
    path = w.save(tmp_path / "m.onnx", {"x": [1, WIDTH]}, ["z1", "z2"])

    check(path, {"x": np.random.default_rng(0).random((3, WIDTH), np.float32) + 0.1}, ["z1", "z2"])
