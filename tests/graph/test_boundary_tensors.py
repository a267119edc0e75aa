"""What may cross from one stage to the next: dense tensors whose shape does not depend on the values of the input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.support.onnx_writer import Writer, check, refused, value

IMAGE = (3, 6, 6)


def test_a_shape_that_depends_on_values_may_not_cross(tmp_path: Path) -> None:
    """Buffers are bound once."""
    w = Writer()
    early = w.op("Reshape", "x", w.constant([-1], np.int64))
    picked = w.op("Compress", early, w.op("Greater", early, w.constant(0.5)))
    for k in (1, 2):
        picked = w.op("Relu", picked)
        mean = w.op("Reshape", w.op("ReduceMean", picked, keepdims=0), w.constant([1, 1], np.int64))
        w.op("Gemm", mean, w.weight(1, 3), out=f"z{k}")
    path = w.save(tmp_path / "m.onnx", {"x": [1, *IMAGE]}, ["z1", "z2"])

    refused(path, "the shape of .* depends on the values of the input, and it crosses")


def crossing(w: Writer, middle: str, tmp_path: Path, **options: Any) -> Path:
    """Two exits, both on the mean of a tensor of any shape, which so crosses the cut."""
    for k, kind in enumerate(("ReduceSum", "ReduceMean"), 1):
        logits = w.op("Gemm", w.op("Flatten", "x"), w.weight(108, 3))
        w.op("Add", logits, w.op(kind, middle, keepdims=0), out=f"z{k}")
    return w.save(tmp_path / "m.onnx", {"x": [1, *IMAGE]}, ["z1", "z2"], **options)


def test_a_shape_that_rarely_depends_on_values_may_not_cross_either(tmp_path: Path) -> None:
    """It is seen in the operators, not in a few inputs: here all that are not outliers are kept."""
    w = Writer()
    early = w.op("Reshape", "x", w.constant([-1], np.int64))
    kept = w.op("Compress", early, w.op("Less", early, w.constant(1e6)), axis=0)

    refused(crossing(w, kept, tmp_path), "the shape of 'compress.*' depends on the values of the input, and it crosses")


def test_a_number_of_picked_values_may_cross(tmp_path: Path) -> None:
    """The count is one number, and so is the mean; only what was picked is of no fixed shape."""
    w = Writer()
    early = w.op("Reshape", "x", w.constant([-1], np.int64))
    kept = w.op("Compress", early, w.op("Greater", early, w.constant(0.5)), axis=0)
    count = w.op("Cast", w.op("Size", kept), to=TensorProto.FLOAT)
    path = crossing(w, w.op("Add", count, w.op("ReduceMean", kept, keepdims=0)), tmp_path)

    check(path, {"x": np.random.default_rng(0).standard_normal((4, *IMAGE)).astype(np.float32)}, ["z1", "z2"])


@pytest.mark.parametrize("batch", [1, "n"])
def test_a_branch_or_a_loop_that_values_decide_may_cross(batch: int | str, tmp_path: Path) -> None:
    """Branches mostly give one shape, turns mostly keep that of their state; inference need not be able to tell."""
    w = Writer()
    early = w.conv("x", 3, 4)
    mean = w.op("ReduceMean", "x", keepdims=0)
    then, other = (
        helper.make_graph([helper.make_node(kind, [early], [kind])], kind, [], [value(kind)])
        for kind in ("Relu", "Neg")
    )
    chosen = w.op("If", w.op("Greater", mean, w.constant(0.0)), then_branch=then, else_branch=other)
    nodes = [helper.make_node("Identity", ["going"], ["on"]), helper.make_node("Tanh", ["state"], ["next"])]
    starts = [value("turn", TensorProto.INT64, []), value("going", TensorProto.BOOL, []), value("state")]
    body = helper.make_graph(nodes, "body", starts, [value("on", TensorProto.BOOL, []), value("next")])
    turns = w.op("Cast", w.op("Abs", w.op("Mul", mean, w.constant(20.0))), to=TensorProto.INT64)
    late = w.op("Loop", turns, "", chosen, body=body)
    w.head(w.op("Add", chosen, late), 4, "z1")
    w.head(w.conv(w.op("Add", chosen, late), 4, 4), 4, "z2")
    path = w.save(tmp_path / "m.onnx", {"x": [batch, *IMAGE]}, ["z1", "z2"])

    bundle = check(path, {"x": np.random.default_rng(0).standard_normal((6, *IMAGE)).astype(np.float32)}, ["z1", "z2"])

    assert bundle.manifest.stages[0].boundaries_out


def test_a_sequence_may_not_cross(tmp_path: Path) -> None:
    """Only dense tensors have buffers."""
    w = Writer()
    parts = w.op("SplitToSequence", "x", axis=1)
    for k in (1, 2):
        part = w.op("SequenceAt", parts, w.constant(k, np.int64))
        w.head(part, 1, f"z{k}")
    path = w.save(tmp_path / "m.onnx", {"x": [1, *IMAGE]}, ["z1", "z2"])

    refused(path, r"\(seq\(tensor\(float\)\)\) is a boundary tensor; boundary tensors must be dense")


@pytest.mark.parametrize("element", ["BFLOAT16", "STRING", "INT4", "FLOAT8E4M3FN"])
def test_a_tensor_of_elements_that_numpy_has_not_may_not_cross(tmp_path: Path, element: str) -> None:
    """Told as that, with the cure; float8 was taken for uint8, and the stage files then fitted nothing."""
    w = Writer()
    odd = w.op("Cast", w.op("Tanh", "x"), out="odd", to=getattr(TensorProto, element))
    for k in (1, 2):
        part = w.op("Cast", odd, to=TensorProto.FLOAT)
        w.head(part if k == 1 else w.conv(part, 3, 3), 3, f"z{k}")
    path = w.save(tmp_path / "m.onnx", {"x": [1, *IMAGE]}, ["z1", "z2"], opset=21)

    refused(path, rf"'odd' \({element.lower()}\) is a boundary tensor; .*: cast it to one of them before that")
