"""What a few runs tell of a network: above all, whether its samples may share a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeexit.compiler.probe import settle_batch
from edgeexit.graph import read_model
from tests.support.onnx_writer import Array, Writer, check, value

WIDTH = 8


def of_both_signs(count: int = 6) -> dict[str, Array]:
    """Samples in 0..1, every second one negative."""
    x = np.random.default_rng(0).random((count, WIDTH)).astype(np.float32)
    x[1::2] *= -1
    return {"x": x}


def two_exits(w: Writer, late: str, tmp_path: Path) -> Path:
    """An exit on x and one on a tensor [batch, 8], both with free batch."""
    w.op("MatMul", "x", w.weight(WIDTH, 3), out="z1")
    w.op("MatMul", late, w.weight(WIDTH, 3), out="z2")
    return w.save(tmp_path / "m.onnx", {"x": ["n", WIDTH]}, ["z1", "z2"])


def is_free(path: Path) -> bool:
    net, _ = settle_batch(read_model(path), ["z1", "z2"], None)
    return net.dynamic_batch


def test_a_branch_that_values_decide_fixes_the_batch(tmp_path: Path) -> None:
    """One negative sample would send all of the batch down its branch: no random input need show it."""
    w = Writer()
    then, other = (
        helper.make_graph([helper.make_node(kind, ["x"], [kind])], kind, [], [value(kind)]) for kind in ("Relu", "Neg")
    )
    low = w.op("Less", w.op("ReduceMin", "x", keepdims=0), w.constant(-12345.0))
    path = two_exits(w, w.op("If", low, then_branch=then, else_branch=other), tmp_path)

    assert not is_free(path)
    check(path, of_both_signs(), ["z1", "z2"])


@pytest.mark.parametrize("counted", [True, False])
def test_a_loop_whose_turns_values_decide_fixes_the_batch(counted: bool, tmp_path: Path) -> None:
    """By its count, or by a condition on the state."""
    w = Writer()
    nodes = [
        helper.make_node("Sub", ["state", "x"], ["next"]),
        helper.make_node("ReduceMax", ["state"], ["most"], keepdims=0),
        helper.make_node("Less", ["most", w.constant(12345.0)], ["on"]),
    ]
    if counted:
        nodes[1:] = [helper.make_node("Identity", ["going"], ["on"])]
    starts = [value("turn", TensorProto.INT64, []), value("going", TensorProto.BOOL, []), value("state")]
    body = helper.make_graph(nodes, "body", starts, [value("on", TensorProto.BOOL, []), value("next")])
    mean = w.op("ReduceMax", w.op("Mul", "x", w.constant(1e-6)), keepdims=0)
    turns = w.op("Cast", mean, to=TensorProto.INT64) if counted else w.constant(3, np.int64)
    start = "x" if counted else w.op("Mul", "x", w.constant(0.0))
    path = two_exits(w, w.op("Loop", turns, "", start, body=body), tmp_path)

    assert not is_free(path)


def test_a_loop_of_fixed_length_leaves_the_batch_free(tmp_path: Path) -> None:
    """Its count is a constant, and so is what its condition looks at."""
    w = Writer()
    nodes = [
        helper.make_node("Add", ["state", "x"], ["next"]),
        helper.make_node("Add", ["left", w.constant(-1, np.int64)], ["fewer"]),
        helper.make_node("Greater", ["fewer", w.constant(0, np.int64)], ["on"]),
    ]
    left = value("left", TensorProto.INT64, [])
    starts = [value("turn", TensorProto.INT64, []), value("going", TensorProto.BOOL, []), value("state"), left]
    ends = [value("on", TensorProto.BOOL, []), value("next"), value("fewer", TensorProto.INT64, [])]
    body = helper.make_graph(nodes, "body", starts, ends)
    late = w.op("Loop", w.constant(9, np.int64), "", "x", w.constant(3, np.int64), out=["late", "none_left"], body=body)

    assert is_free(two_exits(w, late, tmp_path))


@pytest.mark.parametrize(("reduction", "limit"), [("ReduceMin", -0.5), ("ReduceMax", 50.0), ("ReduceSum", -20.0)])
def test_samples_that_see_each_other_only_beyond_0_to_1_are_seen(reduction: str, limit: float, tmp_path: Path) -> None:
    """One sample of a sign or a size that changes the others: the batch is fixed at 1."""
    w = Writer()
    extreme = w.op("Less" if limit < 0 else "Greater", w.op(reduction, "x", keepdims=0), w.constant(limit))
    path = two_exits(w, w.op("Where", extreme, "x", w.op("Neg", "x")), tmp_path)

    assert not is_free(path)


def tokens(w: Writer, late: str, tmp_path: Path, element: int = TensorProto.INT64) -> Path:
    """Two exits on tokens [batch, 5] and on a tensor [batch, 5]."""
    for k, x in enumerate((w.op("Cast", "ids", to=TensorProto.FLOAT), late), 1):
        w.op("MatMul", x, w.weight(5, 3), out=f"z{k}")
    return w.save(tmp_path / "m.onnx", {"ids": ["n", 5]}, ["z1", "z2"], elements={"ids": element})


@pytest.mark.parametrize("element", [TensorProto.INT64, TensorProto.UINT8, TensorProto.INT8])
def test_integers_are_tried_beyond_0_and_1(element: int, tmp_path: Path) -> None:
    """One large number anywhere in the batch changes every sample."""
    w = Writer()
    x = w.op("Cast", "ids", to=TensorProto.FLOAT)
    large = w.op("Greater", w.op("ReduceMax", x, keepdims=0), w.constant(50.0))

    assert not is_free(tokens(w, w.op("Where", large, x, w.op("Neg", x)), tmp_path, element))


def test_an_input_that_the_network_refuses_fails_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A table of seven words takes no token 99 and no token -8: the network keeps its free batch, and nobody hears of the attempt."""
    w = Writer()
    path = tokens(w, w.op("Squeeze", w.op("Gather", w.weight(7, 1), "ids"), w.constant([2], np.int64)), tmp_path)

    bundle = check(path, {"ids": np.random.default_rng(0).integers(0, 7, (4, 5))}, ["z1", "z2"])

    assert bundle.manifest.dynamic_batch
    assert "" == capfd.readouterr().err
