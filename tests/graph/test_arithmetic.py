"""Networks that compute with coarser numbers than their logits are compared as what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

import edgeexit
from tests.support.onnx_writer import Writer, check, loaded

WIDTH = 8


def dense(w: Writer, x: str) -> str:
    return w.op("Tanh", w.op("MatMul", x, w.weight(WIDTH, WIDTH)))


def quantised(w: Writer, x: str, scale: float) -> str:
    k, zero = w.constant(scale), w.constant(0, np.int8)
    return w.op("DequantizeLinear", w.op("QuantizeLinear", x, k, zero), k, zero)


def kernel(w: Writer, *shape: int) -> str:
    values = w.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) / 2)
    scale = np.abs(values).max() / 127
    whole = w.constant(np.round(values / scale), np.int8)
    return w.op("DequantizeLinear", whole, w.constant(scale), w.constant(0, np.int8))


def test_a_quantised_residual_network_compiles(tmp_path: Path) -> None:
    """Its float32 logits come from int8, which is rounded otherwise where it is fused otherwise; the stages are the network's own."""
    w = Writer(8)
    x, names = quantised(w, "x", 0.05), []
    x = quantised(w, w.op("Relu", w.op("Conv", x, kernel(w, 16, 3, 3, 3), pads=[1] * 4)), 0.05)
    for k in range(8):
        y = quantised(w, w.op("Relu", w.op("Conv", x, kernel(w, 16, 16, 3, 3), pads=[1] * 4)), 0.05)
        x = quantised(w, w.op("Add", x, y), 0.05 * (k + 2))
        if k % 2:
            pooled = quantised(w, w.op("ReduceMean", x, axes=[2, 3], keepdims=0), 0.05 * (k + 2))
            names.append(w.op("MatMul", pooled, w.op("Transpose", kernel(w, 10, 16), perm=[1, 0]), out=f"z{k}"))
    path = w.save(tmp_path / "m.onnx", {"x": ["n", 3, 16, 16]}, names)

    bundle = edgeexit.compile(path, tmp_path / "b", exits=names, seconds=0)

    with loaded(bundle, "staged") as runner:
        assert "" == runner.note, "int8 tensors cross between pieces of the optimised network"
    assert 0 == bundle.manifest.verified.staged_error


@pytest.mark.parametrize("place", ["within", "early head"])
def test_a_network_that_computes_in_float16_is_compared_as_such(place: str, tmp_path: Path) -> None:
    """Whatever the type of its inputs and of its last logits."""
    w = Writer()

    def halved(*shape: int) -> str:
        return w.constant(w.rng.standard_normal(shape) / 5, np.float16)

    if place == "within":
        x, names = w.op("Cast", "x", to=TensorProto.FLOAT16), []
        for k in range(1, 7):
            x = w.op("Tanh", w.op("MatMul", x, halved(WIDTH if k == 1 else 32, 32)))
            names.append(w.op("Cast", w.op("MatMul", x, halved(32, 5)), to=TensorProto.FLOAT, out=f"z{k}"))
        kinds = None
    else:
        a = dense(w, "x")
        w.op("MatMul", w.op("Cast", a, to=TensorProto.FLOAT16), halved(WIDTH, 3), out="z1")
        w.op("MatMul", dense(w, a), w.weight(WIDTH, 3), out="z2")
        names, kinds = ["z1", "z2"], {"z1": TensorProto.FLOAT16}
    path = w.save(tmp_path / "m.onnx", {"x": ["n", WIDTH]}, names, elements=kinds)

    check(path, {"x": np.random.default_rng(0).random((3, WIDTH), np.float32)}, names, tolerance=1e-2)
