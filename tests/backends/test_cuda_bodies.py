"""Stages of other kinds than TensorRT's: scripted kernels on a simulated GPU, torch on the CPU; the kernels by the real compilers."""

from __future__ import annotations

import gc
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.gpu import _kernel_stage
from benchmarks.gpu.deciders import Bodies, compare_exits
from edgeexit.backends.cuda import (
    CudaDevice,
    Decider,
    DeciderUnavailable,
    DeviceDecider,
    DeviceMemory,
    GraphDecider,
    HostDecider,
    choose_decider,
    compare_deciders,
)
from edgeexit.backends.cuda import graphs as cuda_graphs
from edgeexit.bundle import Bundle
from edgeexit.compiler.compilation import compile_model
from edgeexit.conformance.networks import write_network
from tests.support.simulated import Gpu, installed

DECIDERS = ["host", "graph", "device"]


def _stage_kernel(gpu: Gpu, values: tuple[Any, ...]) -> tuple[Callable[[], None], tuple[tuple[int, int], ...]]:
    """What the scripted kernel of the benchmark does, without its waiting."""
    sample, scores, score, runs, stages, stage, _ = values

    def run() -> None:
        row = int(gpu.at(sample, 4).view(np.int32)[0])
        gpu.at(score, 4).view(np.float32)[0] = gpu.at(scores + 4 * (row * stages + stage), 4).view(np.float32)[0]
        gpu.at(runs + 4 * stage, 4).view(np.int32)[0] += 1

    return run, ((sample, 4), (scores, 4), (score, 4), (runs, 4))


def _gpu(driver: int = 12060) -> Gpu:
    gpu = Gpu(driver=driver)
    gpu.kernels[b"stage"] = _stage_kernel
    return gpu


def _made(name: str, device: CudaDevice, stages: _kernel_stage.KernelStages, memory: DeviceMemory) -> Decider:
    if name == "device":
        return DeviceDecider(device, stages.plans, memory)
    return GraphDecider(device, stages.plans) if name == "graph" else HostDecider(device, stages.plans)


scores_of = arrays(
    np.float32, st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=st.sampled_from([-1.0, 0.0, 0.5, 1.0, np.nan])
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    scores=scores_of,
    thresholds=st.lists(st.sampled_from([-np.inf, 0.0, 0.5, np.inf]), min_size=4, max_size=4),
    name=st.sampled_from(DECIDERS),
)
def test_every_decider_leaves_where_the_rule_says(scores: np.ndarray, thresholds: list[float], name: str) -> None:
    """At the first score that is at least its threshold; NaN is never sure; and no stage behind the exit runs."""
    samples, exits = scores.shape
    early = tuple(thresholds[: exits - 1])
    with installed(_gpu(), tensorrt=None) as gpu:
        device = CudaDevice(spin=True)
        with device.active("testing"):
            memory = DeviceMemory(device)
            stages = _kernel_stage.KernelStages(device, memory, scores, (1e-6,) * exits)
            decider = _made(name, device, stages, memory)
            for sample in range(samples):
                stages.runs[:] = 0
                stages.choose(sample)
                sure = [k for k, t in enumerate(early, 1) if scores[sample, k - 1] >= t]
                expected = sure[0] if sure else exits
                assert expected == decider.run(early)
                assert [1] * expected + [0] * (exits - expected) == stages.runs.tolist()
            decider.close()
            memory.close()
        device.close()
    if gpu.leaks():
        gc.collect()
    assert ([], []) == (gpu.violations, gpu.leaks())


def test_the_comparison_with_the_cpu_counts_wrong_exits() -> None:
    """And tells those with a score at its threshold apart: of an odd number of samples the median is one of the scores."""
    scores = np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3)
    with installed(_gpu(), tensorrt=None):
        device = CudaDevice(spin=True)
        with device.active("testing"):
            memory = DeviceMemory(device)
            stages = _kernel_stage.KernelStages(device, memory, scores, (1e-6,) * 3)
            right = Bodies("right", stages.plans, stages.choose, scores)
            shifted = Bodies("wrong", stages.plans, stages.choose, np.roll(scores, 2, axis=0))
            assert (0, 0) == compare_exits(HostDecider(device, stages.plans), right)
            wrong, _ = compare_exits(HostDecider(device, stages.plans), shifted)
            assert wrong > 0
            memory.close()
        device.close()


def test_all_that_works_is_timed_and_all_that_does_not_has_a_reason() -> None:
    """On a driver before CUDA 12.4."""
    with installed(_gpu(driver=12030), tensorrt=None):
        device = CudaDevice(spin=False)
        with device.active("testing"):
            memory = DeviceMemory(device)
            scores = np.array([[0.1, 0.2, 0.3]], np.float32)
            stages = _kernel_stage.KernelStages(device, memory, scores, (1e-6,) * 3)
            choice = compare_deciders(device, stages.plans, memory, {}, rounds=2)
            decider, reasons = choose_decider(device, stages.plans, memory, {}, ("device", "graph"))
            assert {"host", "graph"} == set(choice.median_s)
            assert "CUDA 12.4" in choice.reasons["device"]
            assert ("graph", {"device"}) == (decider.name, set(reasons))
            decider.close()
            memory.close()
        device.close()


def test_a_stage_that_cannot_be_captured_is_unavailable_and_leaves_the_stream_usable() -> None:
    """Torch raises RuntimeError in a capture; the stream must not stay in it."""
    with installed(_gpu(), tensorrt=None) as gpu:
        device = CudaDevice(spin=True)
        with device.active("testing"):

            def refuses(_stream: int) -> None:
                msg = "operation not permitted when stream is capturing"
                raise RuntimeError(msg)

            with pytest.raises(DeciderUnavailable, match="not permitted"):
                cuda_graphs.capture_graph(device, refuses)
            device.synchronize()
        device.close()
    assert ([], []) == (gpu.violations, gpu.leaks())


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("alexnet")
    return compile_model(write_network("alexnet-size", folder), folder / "alexnet.eexit", seconds=0)


@pytest.mark.slow
def test_the_torch_body_computes_the_stages(alexnet: Bundle) -> None:
    """On the CPU here: the same scores as ONNX Runtime's."""
    torch = pytest.importorskip("torch")
    from benchmarks.gpu._torch_stage import TorchStage
    from benchmarks.gpu.deciders import compute_cpu_scores
    from edgeexit.backends.example_inputs import make_random_inputs

    inputs = make_random_inputs(alexnet.manifest.inputs, seed=3, batch=3)
    buffers = {name: torch.from_numpy(a[:1].copy()) for name, a in inputs.items()}
    stages = [TorchStage(alexnet.file(s.file), buffers, "cpu") for s in alexnet.manifest.stages]
    expected = compute_cpu_scores(alexnet, inputs)
    for sample in range(3):
        for name, a in inputs.items():
            buffers[name].copy_(torch.from_numpy(a[sample : sample + 1]))
        for stage in stages:
            stage()
        found = [float(buffers[s.score]) for s in alexnet.manifest.stages]
        assert np.allclose(expected[sample], found, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("source", [cuda_graphs._SOURCE, _kernel_stage._SOURCE], ids=["decide", "stage"])
@pytest.mark.parametrize("architecture", ["sm_87", "sm_110"])
def test_nvcc_takes_the_kernels(source: bytes, architecture: str, tmp_path: Path) -> None:
    """NVIDIA's own compiler, to the code of an Orin and a Thor; a Jetson needs no compiler of its own for this, NVRTC is the same one."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not installed")
    file = tmp_path / "kernel.cu"
    file.write_bytes(source)
    command = [nvcc, "-dc", f"-arch={architecture}", "-o", str(tmp_path / "kernel.o"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr


def test_nvrtc_takes_the_kernels() -> None:
    """Where cuda-python and NVRTC are installed; no GPU is needed."""
    pytest.importorskip("cuda.bindings.nvrtc")
    try:
        image = cuda_graphs.compile_kernel(cuda_graphs._SOURCE, "8.7")
    except DeciderUnavailable as error:
        pytest.skip(str(error))
    assert b"edgeexit_decide" in image
