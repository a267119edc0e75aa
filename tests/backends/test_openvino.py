"""OpenVINO beyond what the conformance suite checks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgeexit
from edgeexit.backends import Settings, find_backend, openvino
from edgeexit.bundle import Bundle
from edgeexit.compiler.compilation import compile_model
from edgeexit.compiler.mode_timing import measure_in_process
from edgeexit.errors import InputError, ModelError
from edgeexit.runtime.loading import open_runner
from tests.networks import chain, images
from tests.support.onnx_writer import Writer


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


@pytest.mark.slow
def test_the_fused_form_of_many_exits_is_left_out_with_the_reason(tmp_path: Path) -> None:
    """OpenVINO would compile it for minutes to weeks: the bundle says so, is staged there, and its fused mode still runs elsewhere."""
    model = chain(tmp_path / "m.onnx", exits=13, width=4)

    bundle = compile_model(model, tmp_path / "m.eexit", backend="openvino", seconds=0)

    assert any("fused mode is left out" in remark for remark in bundle.manifest.verified.remarks("float32"))
    with pytest.raises(InputError, match="Use mode staged"):
        edgeexit.load(bundle.path, backend="openvino", mode="fused")
    with open_runner(bundle, Settings("openvino")) as staged, open_runner(bundle, Settings(mode="fused")) as fused:
        x = images(1)
        assert np.allclose(staged.forced(x, exit=13).logits, fused.forced(x, exit=13).logits, atol=1e-4)


def test_a_form_that_is_left_out_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The staged mode then counts as the faster one."""
    monkeypatch.setattr(openvino, "MOST_FUSED_EXITS", 1)
    bundle = compile_model(chain(tmp_path / "m.onnx", width=1), tmp_path / "m.eexit", backend="openvino", seconds=0)

    times = measure_in_process(bundle, Settings("openvino"), 0.01, inputs={"x": images(1)})

    assert ((), "staged") == (times.fused_s, times.faster)


@pytest.mark.slow
def test_importing_openvino_sends_no_usage_reports(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """Its reporting package is not loaded, and nothing is written to the home folder."""
    code = (
        "import sys\n"
        "from edgeexit.backends import Settings, find_backend\n"
        "from edgeexit.bundle import Bundle\n"
        "find_backend('openvino').open_staged(Bundle.open(sys.argv[1]), Settings('openvino'))\n"
        "sys.exit('openvino_telemetry' in sys.modules)"
    )
    environment = {**os.environ, "HOME": str(tmp_path)}

    done = subprocess.run([sys.executable, "-c", code, str(bundles["skips"].path)], env=environment, check=False)

    assert 0 == done.returncode
    assert [] == list(tmp_path.rglob("*"))


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
