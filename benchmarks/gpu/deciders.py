"""Who decides on a GPU: (a) the host, (b) the host with a graph per stage, (c) the GPU; same exits as the CPU, and the time between stages.

    python -m benchmarks deciders [--samples 10000]

Needs an NVIDIA GPU, CUDA 12.4 or newer, torch with CUDA, pycuda and cuda-python 12.8 or newer; not TensorRT. For TensorRT itself:
edgeexit doctor --backend tensorrt
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgeexit
from benchmarks.gpu._kernel_stage import KernelStages
from edgeexit.backends import Settings
from edgeexit.backends.cuda import (
    CudaDevice,
    CudaStream,
    Decider,
    DeciderUnavailable,
    DeviceDecider,
    DeviceMemory,
    GraphDecider,
    HostDecider,
    StagePlan,
)
from edgeexit.backends.cuda.choice import make_forced_thresholds
from edgeexit.backends.example_inputs import make_random_inputs
from edgeexit.bundle import Bundle
from edgeexit.compiler.compilation import compile_model
from edgeexit.conformance.networks import write_network
from edgeexit.errors import HardwareMissing
from edgeexit.hardware import find_device_key, read_device_facts
from edgeexit.runtime.loading import open_runner
from edgeexit.util.documents import dumps
from edgeexit.util.units import seconds as as_time

EDGE = 1e-4
"""A score as near to its threshold as this may fall either way."""

_ROUNDS = 200
_NETWORKS = ("alexnet-size", "resnet-size")


@dataclass(frozen=True)
class Bodies:
    """Stages on the GPU, and how to give them an input.

    Attributes:
        name: name of the network.
        plans: the stages.
        choose: makes sample i the next input.
        scores: float32 [n, exits] as the CPU computes them.
    """

    name: str
    plans: Sequence[StagePlan]
    choose: Callable[[int], None]
    scores: NDArray[np.float32]


def main() -> None:
    """Run everything and record it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--samples", type=int, default=10_000, help="inputs whose exits are compared with the CPU's")
    parser.add_argument(
        "--output", type=Path, help="the JSON file; default: benchmarks/results/<device>/gpu-deciders.json"
    )
    arguments = parser.parse_args()
    device = CudaDevice(spin=True)
    try:
        with device.active("measuring"), closing(CudaStream(device)) as stream:
            results = [
                result
                for bodies in open_bodies(stream, arguments.samples)
                for result in measure_deciders(stream, bodies)
            ]
    finally:
        device.close()
    document = {
        "schema": "edgeexit.gpu-deciders/1",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "tool": f"edgeexit {edgeexit.__version__}",
        "device": {"key": find_device_key(), "facts": read_device_facts(), "gpu": device.facts, "wait": device.wait},
        "results": results,
    }
    path = arguments.output or Path(__file__).parent.parent / "results" / find_device_key() / "gpu-deciders.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dumps(document), encoding="utf-8")
    print(f"recorded in {path}")


def open_bodies(stream: CudaStream, samples: int) -> Iterator[Bodies]:
    """Scripted kernels, then networks of the papers' size run by torch. Each is closed when the next is asked for."""
    memory = DeviceMemory(stream.device)
    try:
        yield make_scripted_bodies(stream, memory, samples)
    finally:
        stream.synchronize()
        memory.close()
    with tempfile.TemporaryDirectory() as folder:
        for name in _NETWORKS:
            bundle = compile_model(write_network(name, Path(folder)), Path(folder) / f"{name}.eexit", seconds=0)
            memory = DeviceMemory(stream.device)
            try:
                yield make_torch_bodies(stream, memory, bundle, name, samples)
            finally:
                stream.synchronize()
                memory.close()


def make_scripted_bodies(stream: CudaStream, memory: DeviceMemory, samples: int) -> Bodies:
    """Three stages of 100 µs, one kernel each: all that is above 100 µs per stage lies between them."""
    scores = np.random.default_rng(0).standard_normal((samples, 3)).astype(np.float32)
    stages = KernelStages(stream.device, memory, scores, (100e-6, 100e-6, 100e-6))
    return Bodies("kernels of 100 µs", stages.plans, stages.choose, scores)


def make_torch_bodies(stream: CudaStream, memory: DeviceMemory, bundle: Bundle, name: str, samples: int) -> Bodies:
    """The bundle's stages by torch on this stream; TF32 off, as everywhere where answers are compared."""
    import torch

    from benchmarks.gpu._torch_stage import TorchStage

    if not torch.cuda.is_available():
        msg = "this torch has no CUDA: install the build for your CUDA from pytorch.org."
        raise HardwareMissing(msg)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    inputs = make_random_inputs(bundle.manifest.inputs, seed=1, batch=samples)
    scores = compute_cpu_scores(bundle, inputs)
    external = torch.cuda.ExternalStream(stream.handle)  # type: ignore[no-untyped-call, unused-ignore]
    buffers: dict[str, torch.Tensor] = {}
    pinned = {}
    for spec in bundle.manifest.inputs:
        pinned[spec.name] = memory.allocate_pinned(spec.shape_at_1, np.float32)
        buffers[spec.name] = torch.zeros(spec.shape_at_1, device="cuda")
    plans = []
    for entry in bundle.manifest.stages:
        with torch.cuda.stream(external):
            stage = TorchStage(bundle.file(entry.file), buffers, "cuda")
        copies = [(buffers[n].data_ptr(), pinned[n].host) for n in entry.inputs] if entry.exit == 1 else []
        run = _stage_on(stream, stage, external, copies)
        plans.append(_with_score(stream, memory, run, buffers[entry.score].data_ptr()))

    def choose(sample: int) -> None:
        for spec in bundle.manifest.inputs:
            pinned[spec.name].host[...] = inputs[spec.name][sample : sample + 1]

    return Bodies(f"{name}, torch", plans, choose, scores)


def _stage_on(stream: CudaStream, stage: Callable[[], None], external: Any, copies: Any) -> Callable[[], None]:
    """The stage on torch's view of our stream, behind the copies of its inputs."""
    import torch

    def run() -> None:
        for address, source in copies:
            stream.copy_in(address, source)
        with torch.cuda.stream(external):
            stage()

    return run


def _with_score(stream: CudaStream, memory: DeviceMemory, run: Callable[[], None], score: int) -> StagePlan:
    """The plan of a stage whose score lies at an address of the GPU."""
    host = memory.allocate_pinned((1,), np.float32).host

    def enqueue(_stream: int) -> None:
        run()
        stream.copy_out(host, score)

    return StagePlan(enqueue, host, score)


def compute_cpu_scores(bundle: Bundle, inputs: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Inner scores of every exit by ONNX Runtime."""
    with open_runner(bundle, Settings()) as runner:
        return runner.replay(inputs)[0]


def measure_deciders(stream: CudaStream, bodies: Bodies) -> Iterator[dict[str, Any]]:
    """One row per decider: its exits against the CPU's, its times, and what lies between the stages."""
    alone = [_time_stage(stream, plan) for plan in bodies.plans]
    memory = DeviceMemory(stream.device)
    makers: dict[str, Callable[[], Decider]] = {
        "host": lambda: HostDecider(stream, bodies.plans),
        "graph": lambda: GraphDecider(stream, bodies.plans),
        "device": lambda: DeviceDecider(stream, bodies.plans, memory),
    }
    print(f"\n{bodies.name}: stages alone {', '.join(map(as_time, alone))}")
    try:
        for name, make in makers.items():
            try:
                decider = make()
            except DeciderUnavailable as error:
                print(f"  {name:7} not available: {error}")
                yield {"bodies": bodies.name, "decider": name, "reason": str(error)}
                continue
            try:
                yield _make_row(decider, bodies, alone)
            finally:
                decider.close()
    finally:
        stream.synchronize()
        memory.close()


def _make_row(decider: Decider, bodies: Bodies, alone: Sequence[float]) -> dict[str, Any]:
    wrong, close = compare_exits(decider, bodies)
    exits = range(1, decider.exits + 1)
    times = [_median_time(decider, make_forced_thresholds(decider.exits, exit)) for exit in exits]
    gaps = [time - sum(alone[:exit]) for time, exit in zip(times, exits, strict=True)]
    shown = " / ".join(f"{as_time(t)} (gap {as_time(g)})" for t, g in zip(times, gaps, strict=True))
    print(f"  {decider.name:7} {shown}; {wrong} wrong exits, {close} at a threshold")
    return {
        "bodies": bodies.name,
        "decider": decider.name,
        "samples": len(bodies.scores),
        "wrong_exits": wrong,
        "at_a_threshold": close,
        "median_s": times,
        "stages_alone_s": list(alone),
        "gap_s": gaps,
    }


def compare_exits(decider: Decider, bodies: Bodies) -> tuple[int, int]:
    """How many samples left elsewhere than on the CPU, and how many have a score at its threshold (those may)."""
    early = bodies.scores[:, :-1]
    thresholds = tuple(float(t) for t in np.float32(np.median(early, axis=0)))
    wrong = close = 0
    for sample, scores in enumerate(early):
        sure = np.flatnonzero(scores >= np.asarray(thresholds, np.float32))
        expected = int(sure[0]) + 1 if len(sure) else decider.exits
        bodies.choose(sample)
        if decider.run(thresholds) != expected:
            at_edge = bool((np.abs(scores - thresholds) <= EDGE).any())
            close += at_edge
            wrong += not at_edge
    return wrong, close


def _median_time(decider: Decider, thresholds: tuple[float, ...]) -> float:
    decider.run(thresholds)
    spent = []
    for _ in range(_ROUNDS):
        start = perf_counter()
        decider.run(thresholds)
        spent.append(perf_counter() - start)
    return median(spent)


def _time_stage(stream: CudaStream, plan: StagePlan) -> float:
    """Seconds of a stage on the GPU: many behind each other as one graph's worth of work, so that enqueueing falls out where it can."""
    decider: Decider
    try:
        decider = GraphDecider(stream, [plan])
    except DeciderUnavailable:
        decider = HostDecider(stream, [plan])
    assert isinstance(decider, HostDecider)
    try:
        runs = []
        for _ in range(5):
            stream.synchronize()
            start = perf_counter()
            for _ in range(_ROUNDS):
                decider.launch(0)
            stream.synchronize()
            runs.append((perf_counter() - start) / _ROUNDS)
        return median(runs)
    finally:
        decider.close()


if __name__ == "__main__":
    main()
