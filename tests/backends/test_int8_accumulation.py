"""int8 on x86-64 without VNNI: int32 accumulation is requested, and a model that cannot be opened with it is opened without."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from edgeexit.backends import Settings
from edgeexit.backends.onnxruntime.errors import list_runtime_exceptions
from edgeexit.backends.onnxruntime.int8_accumulation import may_saturate_int8
from edgeexit.backends.onnxruntime.sessions import make_session_options, open_session
from edgeexit.errors import ModelError
from tests.support.onnx_writer import Writer, check

WIDTH = 8


@pytest.mark.parametrize(
    ("flags", "cut"), [("sse4_2 avx2", True), ("avx2 avx_vnni", False), ("avx2 avx512f avx512_vnni", False), ("", True)]
)
def test_sums_are_cut_where_the_processor_has_no_vnni(tmp_path: Path, flags: str, cut: bool) -> None:
    """Or does not say; other architectures than x86-64 never cut them."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"model name\t: some processor\nflags\t\t: {flags}\n")

    assert may_saturate_int8(tmp_path) is (cut and platform.machine().lower() in ("x86_64", "amd64"))


@pytest.fixture
def without_vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor without VNNI."""
    monkeypatch.setattr("edgeexit.backends.onnxruntime.int8_accumulation.may_saturate_int8", lambda: True)


def quantised(path: Path) -> Path:
    """Two exits in int8 by Q/DQ, all weights with one zero point, as quantisers write them."""
    w = Writer()
    scale, zero, weights_zero = w.constant(0.02), w.constant(0, np.uint8), w.constant(0, np.int8)

    def rounded(x: str, out: str | None = None) -> str:
        return w.op("DequantizeLinear", w.op("QuantizeLinear", x, scale, zero), scale, zero, out=out)

    def product(x: str, width: int) -> str:
        whole = w.constant(w.rng.integers(-127, 127, (WIDTH, width)), np.int8)
        return w.op("MatMul", x, w.op("DequantizeLinear", whole, scale, weights_zero))

    x = rounded("x")
    for logits in ("z1", "z2"):
        x = rounded(product(x, WIDTH))
        rounded(product(x, 3), out=logits)
    return w.save(path, {"x": ["n", WIDTH]}, ["z1", "z2"])


@pytest.mark.usefixtures("without_vnni")
def test_a_model_that_cannot_have_int32_accumulation_compiles_all_the_same(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What the runtime said to the try is not shown."""
    path = quantised(tmp_path / "m.onnx")
    asked = make_session_options(Settings(), batch_1=True, int32_accumulation=True)
    try:
        ort.InferenceSession(str(path), asked, providers=["CPUExecutionProvider"])
        pytest.skip("this ONNX Runtime takes it")
    except list_runtime_exceptions() as error:
        assert "Attempt to replace the existing tensor" in str(error)

    check(path, {"x": np.random.default_rng(0).random((3, WIDTH), np.float32)}, ["z1", "z2"])

    assert "replace" not in capfd.readouterr().err


@pytest.mark.usefixtures("without_vnni")
def test_what_no_session_can_take_raises_a_clear_error(tmp_path: Path) -> None:
    """By the second try, as elsewhere."""
    (tmp_path / "m.onnx").write_bytes(b"no model")

    with pytest.raises(ModelError, match="cannot take"):
        open_session(tmp_path / "m.onnx", Settings(), batch_1=True, quiet=True)
