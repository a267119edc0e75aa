"""`python -m benchmarks avx2` shows a command a CPU without AVX-512 and VNNI, and the rest of the machine none the wiser."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeexit.hardware import read_device_facts
from tests.support.benchmark_scripts import ROOT

_PRODUCTS = """
import json, numpy as np, onnxruntime as ort
from onnx import TensorProto, helper
from edgeexit.hardware import read_device_facts

names = [("a", TensorProto.UINT8, [1, 64]), ("b", TensorProto.INT8, [64, 64]), ("y", TensorProto.INT32, [1, 64])]
a, b, y = (helper.make_tensor_value_info(*each) for each in names)
graph = helper.make_graph([helper.make_node("MatMulInteger", ["a", "b"], ["y"])], "products", [a, b], [y])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
found = session.run(None, {"a": np.full((1, 64), 255, np.uint8), "b": np.full((64, 64), 127, np.int8)})[0]
print(json.dumps({"product": int(found[0, 0]), "facts": read_device_facts()}))
"""
_EXACT = 64 * 255 * 127
_SATURATED = 32 * 32767  # pairs of products are added in 16 bits, as kernels for AVX2 do


def _has_vnni() -> bool:
    return not {"avx512_vnni", "avx_vnni"}.isdisjoint(read_device_facts().get("isa", "").split())


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def _can_make_namespaces() -> bool:
    unshare = shutil.which("unshare")
    return "x86_64" == platform.machine() and unshare is not None and not _run(unshare, "-mr", "true").returncode


@pytest.mark.skipif(not _has_vnni(), reason="this CPU has no VNNI to hide")
def test_onnxruntime_takes_the_kernels_for_avx2(tmp_path: Path) -> None:
    """They add pairs of 8-bit products in 16 bits, which saturates; those for VNNI are exact. edgeexit sees another device."""
    if not _can_make_namespaces():
        pytest.skip("this user may not make mount namespaces")
    script = tmp_path / "products.py"
    script.write_text(_PRODUCTS, encoding="utf-8")
    plain, hidden = (
        json.loads(done.stdout.splitlines()[-1])
        for done in (
            _run(sys.executable, str(script)),
            _run(sys.executable, "-m", "benchmarks", "avx2", sys.executable, str(script)),
        )
    )
    assert (_EXACT, _SATURATED) == (plain["product"], hidden["product"])
    assert f"{plain['facts']['cpu']}, AVX2 only" == hidden["facts"]["cpu"]
    left = set(hidden["facts"]["isa"].split())
    assert "avx2" in left
    assert not any(flag.startswith(("avx512", "avx_vnni", "amx")) for flag in left)
    assert plain["facts"] == read_device_facts()


def test_a_command_that_fails_fails() -> None:
    """With its exit code in one message."""
    if not _can_make_namespaces():
        pytest.skip("this user may not make mount namespaces")
    done = _run(sys.executable, "-m", "benchmarks", "avx2", "sh", "-c", "exit 5")
    assert (2, "error: The command ended with exit code 5.") == (done.returncode, done.stderr.strip())


def test_a_command_is_asked_for() -> None:
    """Without one, one message says what is missing."""
    done = _run(sys.executable, "-m", "benchmarks", "avx2")
    assert 2 == done.returncode
    assert "a command is missing" in done.stderr
