"""What an exit gives when it is run, whatever the file declares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import edgeexit
from edgeexit.errors import ModelError
from tests.support.onnx_writer import Writer, check, loaded

WIDTH = 8


def dense(w: Writer, x: str) -> str:
    return w.op("Tanh", w.op("MatMul", x, w.weight(WIDTH, WIDTH)))


@pytest.mark.parametrize("declared", [["n", 3], [1, 3]])
def test_logits_without_a_batch_are_told(declared: list[Any], tmp_path: Path) -> None:
    """A Squeeze without axes drops the batch of a single sample, whatever the file declares."""
    w = Writer()
    for name, x in (("z1", w.conv("x", 3, 4)), ("z2", w.conv(w.conv("x", 3, 4), 4, 4))):
        w.op("MatMul", w.op("Squeeze", w.op("GlobalAveragePool", x)), w.weight(4, 3), out=name)
    path = w.save(tmp_path / "m.onnx", {"x": [declared[0], 3, 6, 6]}, ["z1", "z2"])
    declare(path, declared)

    with pytest.raises(ModelError, match=r"z1 float32\[3\]; .* logits must be \[1, classes\].*name the axes"):
        edgeexit.compile(path, tmp_path / "b", exits=["z1", "z2"], seconds=0)


def declare(path: Path, shape: list[Any]) -> None:
    """Say that of both exits, whatever the network gives."""
    model = onnx.load(str(path))
    for place, name in enumerate(("z1", "z2")):
        model.graph.output[place].CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    onnx.save(model, str(path))


def test_a_squeezed_tensor_may_cross(tmp_path: Path) -> None:
    """The logits have their batch back; the batch is then fixed at 1."""
    w = Writer()
    squeezed = w.op("Squeeze", w.op("GlobalAveragePool", w.conv("x", 3, 4)))
    back = w.constant([-1, 3], np.int64)
    w.op("Reshape", w.op("MatMul", squeezed, w.weight(4, 3)), back, out="z1")
    w.op("Reshape", w.op("MatMul", w.op("Tanh", squeezed), w.weight(4, 3)), back, out="z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", 3, 6, 6]}, ["z1", "z2"])

    bundle = check(path, {"x": np.random.default_rng(0).random((4, 3, 6, 6), np.float32)}, ["z1", "z2"])

    assert not bundle.manifest.dynamic_batch


def test_an_exit_whose_score_never_varies(tmp_path: Path) -> None:
    """One that is always, or never, as sure; its stage makes the score from nothing."""
    w = Writer()
    a = dense(w, "x")
    w.op("MatMul", a, w.weight(WIDTH, 3), out="z1")
    count = w.op("Slice", w.op("Shape", "x"), w.constant([0], np.int64), w.constant([1], np.int64))
    half = helper.make_tensor("value", TensorProto.FLOAT, [1], [0.5])
    w.op("ConstantOfShape", count, value=half, out="h1")
    w.op("MatMul", dense(w, a), w.weight(WIDTH, 3), out="z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", WIDTH]}, ["z1", "z2", "h1"])
    x = np.random.default_rng(0).random((3, WIDTH), np.float32)

    bundle = check(path, {"x": x}, ["z1", "z2"], scores=["h1"], criterion="learned")

    for mode in ("staged", "fused"):
        with loaded(bundle, mode) as runner:
            for threshold, exit in ((0.5, 1), (0.51, 2)):
                runner.thresholds = [threshold]
                assert exit == runner(np.ones((1, WIDTH), np.float32)).exit
