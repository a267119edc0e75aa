"""OpenVINO beyond what the conformance suite checks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgeexit.backends import Settings, find_backend
from edgeexit.bundle import Bundle
from edgeexit.compiler import compile_model
from edgeexit.errors import ModelError
from edgeexit.runtime.loading import open_runner
from tests.graph.hard import Writer


def test_no_copy_lies_between_stages(bundles: dict[str, Bundle]) -> None:
    """Stage k's output tensor is stage k+1's input tensor: running on gives what running through gives."""
    x = np.linspace(0, 1, 3 * 12 * 12, dtype=np.float32).reshape(1, 3, 12, 12)
    with open_runner(bundles["skips"], Settings("openvino")) as runner:
        first = runner.forced(x, exit=3)
        second = runner.forced(x, exit=3)
    assert np.array_equal(first.logits, second.logits)


def test_a_model_that_openvino_refuses_is_one_message(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """With OpenVINO's reason, and no traceback of its own."""
    copy = tmp_path / "damaged.eexit"
    shutil.copytree(bundles["skips"].path, copy)
    bundle = Bundle.open(copy)
    bundle.file(bundle.manifest.stages[0].file).write_bytes(b"not an onnx file")
    with pytest.raises(ModelError, match=r"OpenVINO .* cannot take"):
        find_backend("openvino").open_staged(bundle, Settings("openvino"))


def test_versions_name_openvino() -> None:
    """For records."""
    assert {"openvino"} == set(find_backend("openvino").versions())


@pytest.mark.parametrize("activation", ["Tanh", "Relu", "Exp", "Abs", "Softsign", "Erf"])
def test_heads_of_two_dense_layers_that_add_what_is_computed_compile(tmp_path: Path, activation: str) -> None:
    """As heads that go on from the exit before do: OpenVINO ended the process."""
    w = Writer()

    def dense(x: str, out: int) -> str:
        return w.op("Gemm", x, w.weight(16, out), w.weight(out))

    w.op("Identity", dense("x", 5), out="z1")
    w.op("Add", dense(w.op(activation, dense("x", 16)), 5), w.op("Mul", "z1", w.constant(0.5)), out="z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", 16]}, ["z1", "z2"])

    bundle = compile_model(path, tmp_path / "b", backend="openvino", seconds=0)

    assert 2 == bundle.manifest.exits
