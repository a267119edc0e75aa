"""Everything that can go wrong with TensorRT and CUDA is one message: what it means, what they said, and what to do. On a simulated GPU."""

from __future__ import annotations

import gc
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeexit.backends import Settings, find_backend
from edgeexit.backends.cuda import CudaDevice, CudaError, translate_cuda_errors
from edgeexit.backends.cuda.errors import explain_missing_package
from edgeexit.backends.tensorrt import BuildOptions
from edgeexit.backends.tensorrt.builder import EngineFactory
from edgeexit.backends.tensorrt.messages import ErrorLog, parse_error
from edgeexit.bundle import Bundle
from edgeexit.compiler.compilation import compile_model
from edgeexit.conformance.networks import write_network
from edgeexit.errors import EdgeExitError, HardwareMissing, MissingExtra, ModelError
from edgeexit.runtime.loading import open_runner
from tests.support.simulated import Gpu, installed


def _use(bundle: Bundle) -> None:
    with open_runner(bundle, Settings("tensorrt")) as runner:
        runner({s.name: np.zeros(s.shape_at_1, s.dtype) for s in bundle.manifest.inputs})


def _failing(bundle: Bundle, call: str, says: str = "", *, last: bool = False) -> str:
    """The message when a call of that name fails, its first or last one, and TensorRT says so; nothing is kept of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEEXIT_CACHE", str(bundle.path.parent / "dry"))
        with installed(Gpu()) as dry:
            _use(bundle)
    shutil.rmtree(bundle.path.parent / "dry")
    places = [i for i, name in enumerate(dry.calls, 1) if name == call]
    gpu = Gpu(fail_at=places[-1 if last else 0])
    gpu.says[call] = says
    with installed(gpu), pytest.raises(EdgeExitError) as refusal:
        _use(bundle)
    gc.collect()
    assert [] == gpu.leaks()
    return f"{type(refusal.value).__name__}: {refusal.value}"


FAILURES = [
    pytest.param(
        "trt.Runtime",
        "CUDA initialization failure with error: 35",
        "HardwareMissing: the NVIDIA driver is too old for this TensorRT .*Update the driver",
        id="driver-too-old",
    ),
    pytest.param(
        "trt.Builder",
        "CUDA initialization failure with error: 35",
        "HardwareMissing: the NVIDIA driver is too old for this TensorRT .*Update the driver",
        id="driver-too-old-for-the-builder",
    ),
    pytest.param(
        "trt.Runtime",
        "CUDA initialization failure with error: 999",
        "HardwareMissing: TensorRT finds no working GPU .*nvidia-smi",
        id="no-driver",
    ),
    pytest.param(
        "build_serialized_network",
        "Error Code 2: OutOfMemory (no further information)",
        "HardwareMissing: building stage 1 ran out of memory .*add swap, or compile with float16",
        id="out-of-memory-building",
    ),
    pytest.param(
        "build_serialized_network",
        "Error Code 10: Could not find any implementation for node conv_1 due to insufficient workspace.",
        "HardwareMissing: stage 1 needs more scratch memory .*conv_1.*workspace_mib",
        id="too-little-scratch",
    ),
    pytest.param(
        "build_serialized_network",
        "Error Code 10: Could not find any implementation for node conv_1.",
        "ModelError: TensorRT has no kernel for a layer of stage 1 .*node conv_1.*float32.*onnxruntime",
        id="no-kernel-for-a-node",
    ),
    pytest.param("cuMemAlloc", "", "HardwareMissing: .*GPU has no memory left.*float16", id="out-of-memory-loading"),
    pytest.param("cuMemHostAlloc", "", "HardwareMissing: .*GPU has no memory left", id="out-of-pinned-memory"),
    pytest.param(
        "create_execution_context",
        "Error Code 2: OutOfMemory",
        "HardwareMissing: TensorRT makes no execution context .*probably full.*load fewer runners",
        id="out-of-memory-for-a-context",
    ),
    pytest.param(
        "execute_async_v3",
        "enqueueV3: CUDA failure 2: out of memory",
        "HardwareMissing: .*GPU has no memory left.*load fewer runners",
        id="out-of-memory-running",
    ),
]


@pytest.mark.parametrize(("call", "says", "told"), FAILURES)
def test_what_fails_is_one_message_with_the_remedy(bundles: dict[str, Bundle], call: str, says: str, told: str) -> None:
    """What it means, TensorRT's own words in brackets, and what to do; nothing stays allocated."""
    message = _failing(bundles["skips"], call, says, last=call == "execute_async_v3")
    assert re.match(told, message), message
    assert len(message.splitlines()) == 1


CUDA_WORDS = {
    "no CUDA-capable device is detected": "sees no NVIDIA GPU",
    "invalid device ordinal": "sees no NVIDIA GPU",
    "system has unsupported display driver / cuda driver combination": "driver is too old",
    "forward compatibility was attempted on non supported HW": "driver is too old",
    "initialization error": "driver does not work",
    "CUDA driver is a stub library": "driver does not work",
    "system not yet initialized": "driver does not work",
    "OS call failed or operation not supported on this OS": "driver does not work",
    "CUDA-capable device(s) is/are busy or unavailable": "another process uses the GPU",
    "out of memory": "has no memory left",
    "the provided PTX was compiled with an unsupported toolchain.": "Update the driver",
    "no kernel image is available for execution on the device": "Update the driver",
}
"""What CUDA says (cuGetErrorString), which is what pycuda passes on, and what it means."""


@pytest.mark.parametrize("words", CUDA_WORDS)
def test_what_cuda_says_is_reported_with_its_remedy(words: str) -> None:
    """In pycuda's words; those of cuda-python are the names of the same errors."""
    with installed(Gpu()):
        import pycuda.driver as cuda

        with pytest.raises(HardwareMissing, match=CUDA_WORDS[words]), translate_cuda_errors("opening the GPU"):
            raise cuda.LogicError(f"cuInit failed: {words}")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("CUDA_ERROR_NO_DEVICE", "sees no NVIDIA GPU"),
        ("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "driver is too old"),
        ("CUDA_ERROR_STUB_LIBRARY", "driver does not work"),
        ("CUDA_ERROR_OUT_OF_MEMORY", "has no memory left"),
        ("CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "Update the driver"),
    ],
)
def test_what_cuda_python_says_is_reported_with_its_remedy(name: str, told: str) -> None:
    """By the names of the errors."""
    with installed(Gpu()), pytest.raises(HardwareMissing, match=told), translate_cuda_errors("opening the GPU"):
        raise CudaError("cuDeviceGet", name)


def test_bindings_that_find_no_driver_are_told() -> None:
    """`import` fails when libcuda.so.1 is not there."""
    error = ImportError("libcuda.so.1: cannot open shared object file", name="cuda.bindings")
    assert isinstance(explain_missing_package(error), HardwareMissing)
    assert re.match(
        "cuda-python is installed but cannot be loaded .*NVIDIA driver is missing.*nvidia-smi",
        str(explain_missing_package(error)),
    )


def test_bindings_that_are_too_old_are_told() -> None:
    """Before cuda-python 12.8 there is a module `cuda`, and none in it by the name of `bindings`."""
    error = ModuleNotFoundError("No module named 'cuda.bindings'", name="cuda.bindings")
    assert str(explain_missing_package(error)).startswith(
        "cuda-python 12.8 or newer is not installed. It comes with: pip install"
    )


def test_a_tensorrt_whose_libraries_do_not_load_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a machine without the driver, or with only half of TensorRT."""
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(HardwareMissing, match=r"TensorRT is installed but cannot be loaded .*libnvinfer\.so\.10"):
        find_backend("tensorrt")


def test_an_operator_that_tensorrt_lacks_is_named_with_its_stage(bundles: dict[str, Bundle]) -> None:
    """The node, its operator, the stage, and what to do."""
    with (
        installed(Gpu(), refuses="Concat"),
        pytest.raises(ModelError, match=r"stage 3: node '\w+' \(Concat\).*onnxruntime"),
    ):
        _use(bundles["skips"])


def test_a_node_without_a_name_is_named_by_its_output(tmp_path: Path) -> None:
    """Many exporters leave names out, and TensorRT would speak of a node ''."""
    model = onnx.load(str(write_network("skips", tmp_path)))
    for node in model.graph.node:
        node.name = ""
    onnx.save(model, str(tmp_path / "nameless.onnx"))
    bundle = compile_model(tmp_path / "nameless.onnx", tmp_path / "nameless.eexit", seconds=0)
    with installed(Gpu(), refuses="Concat"), pytest.raises(ModelError, match=r"node '\w+' \(Concat\)"):
        _use(bundle)


def test_dynamic_shapes_are_told_with_their_stage_and_tensor(tmp_path: Path) -> None:
    """Only the batch may be free, and is fixed at 1."""
    shape: list[str | int] = ["batch", 3, "height", 8]
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Relu", ["x"], ["y"])],
            "free",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    onnx.save(model, str(tmp_path / "free.onnx"))
    with installed(Gpu()), CudaDevice(spin=False).active("building"):
        workshop = EngineFactory(ErrorLog(), BuildOptions(), "float32")
        with pytest.raises(ModelError, match=r"stage 2 has dynamic shapes \(x\[1, 3, -1, 8\].*fixed sizes"):
            workshop.build(tmp_path / "free.onnx", "stage 2", b"")


@pytest.mark.parametrize(
    "says", ["Error Code 10: Could not find any implementation for node conv_1.", "Error Code 9: Internal"]
)
def test_what_strong_typing_cannot_build_is_built_with_the_flag(
    bundles: dict[str, Bundle], engine_cache: Path, says: str
) -> None:
    """Float16 before TensorRT 10.12; the engine says which it is. Later versions, and other precisions, have no such way."""
    for version, precision, falls_back in (
        ("10.3.0", "float16", True),
        ("10.13.0", "float16", False),
        ("10.3.0", "float32", False),
    ):
        place = engine_cache / f"{version}-{precision}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("EDGEEXIT_CACHE", str(place / "dry"))
            settings = Settings("tensorrt", precision=precision)
            with installed(Gpu(), tensorrt=version) as dry:
                find_backend("tensorrt").open_staged(bundles["skips"], settings).close()
            patch.setenv("EDGEEXIT_CACHE", str(place / "real"))
            gpu = Gpu(fail_at=dry.calls.index("build_serialized_network") + 1)
            gpu.says["build_serialized_network"] = says
            with installed(gpu, tensorrt=version):
                if falls_back:
                    find_backend("tensorrt").open_staged(bundles["skips"], settings).close()
                    kept = [json.loads(file.read_text())["typing"] for file in (place / "real").rglob("*.json")]
                    assert ["fp16-flag", "strong", "strong"] == sorted(kept)
                    assert "FP16" in {flag.name for flag in gpu.builds[1].set}
                else:
                    with pytest.raises(EdgeExitError, match="stage 1"):
                        find_backend("tensorrt").open_staged(bundles["skips"], settings)


@pytest.mark.slow
def test_the_benchmark_of_deciders_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU's bindings, before it measures anything."""
    pytest.importorskip("torch")
    from benchmarks.gpu import deciders

    monkeypatch.setattr("sys.argv", ["deciders"])
    with pytest.raises(MissingExtra, match=r"edgeexit\[tensorrt\]"):
        deciders.main()


class _Refusal:
    """What the parser says of an operator that it does not know: its own condition, `false`."""

    num_errors = 1

    def get_error(self, _index: int) -> _Refusal:
        return self

    def node_name(self) -> str:
        return "y"

    def node_operator(self) -> str:
        return "Det"

    def desc(self) -> str:
        return "false"

    def code(self) -> SimpleNamespace:
        return SimpleNamespace(name="UNSUPPORTED_NODE")


def test_a_refused_node_is_reported_by_its_code_where_the_parser_says_nothing_else() -> None:
    """Not as `(Det): false`."""
    assert "node 'y' (Det): unsupported node" in str(parse_error("the model", _Refusal()))
