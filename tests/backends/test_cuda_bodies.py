"""Stages of other kinds than TensorRT's: scripted kernels on a simulated GPU, torch on the CPU; the kernels by the real compilers."""

from __future__ import annotations

import gc
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
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
    CudaStream,
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
from edgeexit.backends.cuda.decide_kernel import DECIDE_PTX
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


def _made(name: str, stream: CudaStream, stages: _kernel_stage.KernelStages, memory: DeviceMemory) -> Decider:
    if name == "device":
        return DeviceDecider(stream, stages.plans, memory)
    return GraphDecider(stream, stages.plans) if name == "graph" else HostDecider(stream, stages.plans)


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
        with device.active("testing"), closing(CudaStream(device)) as stream:
            memory = DeviceMemory(device)
            stages = _kernel_stage.KernelStages(device, memory, scores, (1e-6,) * exits)
            decider = _made(name, stream, stages, memory)
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
        with device.active("testing"), closing(CudaStream(device)) as stream:
            memory = DeviceMemory(device)
            stages = _kernel_stage.KernelStages(device, memory, scores, (1e-6,) * 3)
            right = Bodies("right", stages.plans, stages.choose, scores)
            shifted = Bodies("wrong", stages.plans, stages.choose, np.roll(scores, 2, axis=0))
            assert (0, 0) == compare_exits(HostDecider(stream, stages.plans), right)
            wrong, _ = compare_exits(HostDecider(stream, stages.plans), shifted)
            assert wrong > 0
            memory.close()
        device.close()


def test_all_that_works_is_timed_and_all_that_does_not_has_a_reason() -> None:
    """On a driver before CUDA 12.4."""
    with installed(_gpu(driver=12030), tensorrt=None):
        device = CudaDevice(spin=False)
        with device.active("testing"), closing(CudaStream(device)) as stream:
            memory = DeviceMemory(device)
            scores = np.array([[0.1, 0.2, 0.3]], np.float32)
            stages = _kernel_stage.KernelStages(device, memory, scores, (1e-6,) * 3)
            choice = compare_deciders(stream, stages.plans, memory, {})
            decider, reasons = choose_decider(stream, stages.plans, memory, {}, ("device", "graph"))
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
        with device.active("testing"), closing(CudaStream(device)) as stream:

            def refuses(_stream: int) -> None:
                msg = "operation not permitted when stream is capturing"
                raise RuntimeError(msg)

            with pytest.raises(DeciderUnavailable, match="not permitted"):
                cuda_graphs.capture_graph(stream, refuses)
            stream.synchronize()
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


def test_the_decision_kernel_is_text_that_the_oldest_driver_with_conditional_graphs_takes() -> None:
    """CUDA 12.4 takes PTX up to 8.4; made by whichever NVRTC pip finds it would be newer than a board's driver."""
    version, target = re.findall(rb"^\.(?:version|target) (.+)$", DECIDE_PTX, re.MULTILINE)
    assert (b"7.0", b"sm_50") == (version, target)
    assert DECIDE_PTX.isascii()
    assert 1 == DECIDE_PTX.count(b"\0")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["sm_75", "sm_87", "sm_110"])
def test_nvidias_assembler_takes_the_decision_kernel(architecture: str, tmp_path: Path) -> None:
    """To the code of a Turing GPU, an Orin and a Thor, as their drivers do when they load it."""
    ptxas = shutil.which("ptxas") or shutil.which("ptxas", path="/usr/local/cuda/bin")
    if ptxas is None:
        pytest.skip("ptxas is not installed")
    file = tmp_path / "decide.ptx"
    file.write_bytes(DECIDE_PTX.rstrip(b"\0"))
    command = [ptxas, "-c", f"-arch={architecture}", "-o", str(tmp_path / "decide.o"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr


@pytest.mark.slow
def test_nvcc_takes_the_kernel_of_the_benchmark(tmp_path: Path) -> None:
    """NVIDIA's own compiler; NVRTC is the same one."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not installed")
    file = tmp_path / "kernel.cu"
    file.write_bytes(_kernel_stage._SOURCE)
    command = [nvcc, "-dc", "-arch=sm_87", "-o", str(tmp_path / "kernel.o"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
