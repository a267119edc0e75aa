"""A batch gives what its samples give one by one, whatever happens to be computed over it; where it would not, it is fixed at 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

import edgeexit
from tests.support.onnx_writer import Array, Writer, loaded

WIDTH = 8


def dense(w: Writer, x: str) -> str:
    return w.op("Tanh", w.op("MatMul", x, w.weight(WIDTH, WIDTH)))


def logits(w: Writer, x: str, name: str) -> None:
    w.op("MatMul", x, w.weight(WIDTH, 3), out=name)


def summed_so_far(w: Writer) -> None:
    """Every row of what crosses holds the samples before it, too; the heads take them away again."""

    def row_alone(total: str) -> str:
        shifted = w.op("Pad", total, w.constant([1, 0, 0, 0], np.int64))
        ends = (w.constant([place], np.int64) for place in (0, -1, 0))
        return w.op("Sub", total, w.op("Slice", shifted, *ends))

    total = w.op("CumSum", dense(w, "x"), w.constant(0, np.int64))
    logits(w, row_alone(total), "z1")
    logits(w, dense(w, row_alone(w.op("Mul", total, w.constant(2.0)))), "z2")


def places_in_the_batch(w: Writer) -> None:
    """As torch writes `a[torch.arange(len(a)), best]`: what crosses names rows of the whole batch."""
    a = dense(w, "x")
    count = w.op("Squeeze", w.op("Slice", w.op("Shape", a), w.constant([0], np.int64), w.constant([1], np.int64)))
    row = w.op("Range", w.constant(0, np.int64), count, w.constant(1, np.int64))
    last = w.constant([1], np.int64)
    best = w.op("ArgMax", a, axis=1, keepdims=0)
    places = w.op("Concat", w.op("Unsqueeze", row, last), w.op("Unsqueeze", best, last), axis=1)
    logits(w, w.op("Mul", a, w.op("Unsqueeze", w.op("GatherND", a, places), last)), "z1")
    b = dense(w, a)
    logits(w, w.op("Mul", b, w.op("Unsqueeze", w.op("GatherND", b, places), last)), "z2")


def four_places_per_expert(w: Writer) -> None:
    """The fifth sample that wants an expert goes without."""
    a = dense(w, "x")
    wanted = w.op("ArgMax", a, axis=1, keepdims=0)
    hot = w.op("OneHot", wanted, w.constant(WIDTH, np.int64), w.constant([0.0, 1.0]))
    early = w.op("LessOrEqual", w.op("CumSum", hot, w.constant(0, np.int64)), w.constant(4.0))
    served = w.op("Mul", a, w.op("Mul", w.op("Cast", early, to=TensorProto.FLOAT), hot))
    logits(w, a, "z1")
    w.op(
        "Add",
        w.op("MatMul", dense(w, a), w.weight(WIDTH, 3)),
        w.op("MatMul", served, w.weight(WIDTH, 3)),
        out="z2",
    )


def bytes_by_the_largest(w: Writer) -> None:
    """A batch with a value above 128 is taken for one of bytes."""
    largest = w.op("ReduceMax", "x", keepdims=0)
    scaled = w.op("Where", w.op("Greater", largest, w.constant(128.0)), w.op("Div", "x", w.constant(255.0)), "x")
    a = dense(w, scaled)
    logits(w, a, "z1")
    logits(w, dense(w, a), "z2")


def compared(folder: Path, network: Callable[[Writer], None], xs: Array, thresholds: list[float] | None) -> bool:
    """Hold a batch against its samples one by one; whether the bundle's batch is free."""
    w = Writer()
    network(w)
    path = w.save(folder / "m.onnx", {"x": ["n", WIDTH]}, ["z1", "z2"])
    bundle = edgeexit.compile(path, folder / "b.eexit", exits=["z1", "z2"], seconds=0)
    with loaded(bundle, "staged") as runner:
        scores = [runner.forced(x[None], exit=1).score for x in xs]
        runner.thresholds = thresholds or [float(np.median(scores))]
        for x, row in zip(xs, runner.batch(xs), strict=True):
            alone = runner(x[None])
            assert alone.exit == row.exit
            np.testing.assert_allclose(row.logits, alone.logits, rtol=0, atol=1e-4 * np.abs(alone.logits).max())
    return bundle.manifest.dynamic_batch


XS = np.random.default_rng(0).standard_normal((7, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("network", [summed_so_far, places_in_the_batch])
def test_a_boundary_tensor_that_means_something_in_the_whole_batch_only(
    network: Callable[[Writer], None], tmp_path: Path
) -> None:
    """Rows of samples that left cannot be dropped from it, though every exit's answer is its sample's own."""
    assert not compared(tmp_path, network, XS, None)


def test_samples_that_see_each_other_in_larger_batches_only(tmp_path: Path) -> None:
    """Three at once, as many as shapes are found with, would all be served."""
    assert not compared(tmp_path, four_places_per_expert, np.repeat(XS[:1], 7, 0), [-math.inf])


def test_samples_that_see_each_other_from_some_value_on(tmp_path: Path) -> None:
    """Pixels of 0 to 255 tell; smaller values do not."""
    xs = np.abs(XS) * np.array([1, 1, 1, 1, 1, 1, 200], np.float32)[:, None] + 1

    assert not compared(tmp_path, bytes_by_the_largest, xs, [-math.inf])


def test_positions_within_a_sample_leave_the_batch_free(tmp_path: Path) -> None:
    """Which of its own features is largest is the sample's own business."""

    def largest_feature(w: Writer) -> None:
        a = dense(w, "x")
        best = w.op("ArgMax", a, axis=1, keepdims=1)
        logits(w, w.op("Mul", a, w.op("GatherElements", a, best, axis=1)), "z1")
        b = dense(w, a)
        logits(w, w.op("Mul", b, w.op("GatherElements", b, best, axis=1)), "z2")

    assert compared(tmp_path, largest_feature, XS, None)
