"""int8 beside float32 on networks of a mobile and of a residual kind, in each backend, with the layers that take the time.

    python -m benchmarks int8 [--networks mobilenetv2,resnet20] [--backends onnxruntime,openvino] [--seconds 10]
    python -m benchmarks avx2 python -m benchmarks int8     the same as on a CPU without VNNI

The architectures of `plain_networks` (MobileNetV2 with depthwise convolutions, ResNet-20) with two early exits and random weights: the time
does not depend on them, answers are not looked at. Precisions and backends are interleaved in one process, one thread, staged. Shares of
kinds of layers are those of ONNX Runtime's own profile.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn

import edgeexit
from benchmarks.common import Case, print_table, record
from benchmarks.experiments.plain_networks import NETWORKS
from edgeexit.backends import Settings
from edgeexit.backends.example_inputs import make_random_inputs
from edgeexit.bundle import Bundle
from edgeexit.hardware import read_device_facts, read_device_state
from edgeexit.measure.timing import TimedSamples, time_interleaved
from edgeexit.runtime import Runner
from edgeexit.runtime.loading import open_runner
from edgeexit.util.units import percent, ratio
from edgeexit.util.units import seconds as as_time

PRECISIONS = ("float32", "int8")
_PLACES = (0.3, 0.6)
_INPUTS, _PROFILED = 16, 200


class WithExits(nn.Module):
    """A classifier that is a sequence of blocks, with a linear head after its first third and after two thirds."""

    def __init__(self, blocks: nn.Sequential, width: int) -> None:
        super().__init__()
        cuts = [0, *(round(share * len(blocks)) for share in _PLACES), len(blocks)]
        self.parts = nn.ModuleList(blocks[a:b] for a, b in pairwise(cuts))
        x, heads = torch.zeros(1, 3, width, width), []
        for part in self.parts[:-1]:
            x = part.eval()(x)
            heads.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(x.shape[1], 10)))
        self.heads = nn.ModuleList(heads)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Logits of each exit."""
        found = []
        for part, head in zip(self.parts, (*self.heads, nn.Identity()), strict=True):
            x = part(x)
            found.append(head(x))
        return found


def main() -> None:
    """Compile, time, profile, print, record."""
    parser = argparse.ArgumentParser("int8", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--networks", default="mobilenetv2,resnet20", help="names between commas")
    parser.add_argument("--backends", default="onnxruntime,openvino", help="names between commas")
    parser.add_argument("--width", type=int, default=32, help="of the images, in pixels")
    parser.add_argument("--seconds", type=float, default=10.0, help="of timing, per network")
    parser.add_argument("--folder", type=Path, help="of the JSON files; the default is benchmarks/results/<device>/")
    arguments = parser.parse_args()
    vnni = sorted(set(read_device_facts().get("isa", "").split()) & {"avx512_vnni", "avx_vnni"})
    for name in arguments.networks.split(","):
        before = read_device_state()
        with tempfile.TemporaryDirectory() as folder:
            model = export(name, arguments.width, Path(folder))
            bundles = {p: compile_in(model, p, arguments.width) for p in PRECISIONS}
            found = time_all(bundles, arguments.backends.split(","), arguments.seconds)
            kinds = {p: profile(b.file(b.manifest.backbone), arguments.width) for p, b in bundles.items()}
        show(name, found, kinds)
        body = {"vnni": vnni, "exits": found, "kinds_s": kinds}
        arguments.output = arguments.folder and arguments.folder / f"int8-{name}.json"
        record("int8", Case(name, model, None, "noise", "noise"), arguments, body, before)


def export(name: str, width: int, folder: Path) -> Path:
    """The network with random weights and batch norms that have seen noise, as an ONNX file."""
    torch.manual_seed(0)
    blocks = NETWORKS[name]()
    assert isinstance(blocks, nn.Sequential)
    module = WithExits(blocks, width).train()
    with torch.no_grad():
        module(torch.randn(64, 3, width, width))
    path = folder / f"{name}.onnx"
    edgeexit.export(module.eval(), torch.zeros(1, 3, width, width), path)
    return path


def compile_in(model: Path, precision: str, width: int) -> Bundle:
    """The network in a precision, beside its file; int8 with ranges from noise."""
    noise = np.random.default_rng(0).standard_normal((64, 3, width, width)).astype(np.float32)
    return edgeexit.compile(model, model.with_name(f"{precision}.eexit"), precision=precision, inputs=noise, seconds=0)


def time_all(bundles: Mapping[str, Bundle], backends: Sequence[str], seconds: float) -> list[dict[str, Any]]:
    """Of each backend and exit: median seconds in each precision, and int8 over float32 by pairs of blocks."""
    with ExitStack() as opened:
        calls: dict[str, Callable[[int], object]] = {}
        for backend in backends:
            for precision, bundle in bundles.items():
                inputs = [make_random_inputs(bundle.manifest.inputs, seed) for seed in range(_INPUTS)]
                runner = opened.enter_context(open_runner(bundle, Settings(backend, "staged", precision)))
                for k in range(1, runner.exits + 1):
                    calls[f"{backend} {precision} {k}"] = partial(_leave, runner, inputs, k)
        timed = time_interleaved(calls, seconds=seconds)
    exits = range(1, next(iter(bundles.values())).manifest.exits + 1)
    return [
        _compare(backend, k, {p: timed[f"{backend} {p} {k}"] for p in bundles}) for backend in backends for k in exits
    ]


def _leave(runner: Runner, inputs: Sequence[Any], k: int, i: int) -> object:
    return runner.forced(inputs[i % len(inputs)], exit=k)


def _compare(backend: str, k: int, timed: Mapping[str, TimedSamples]) -> dict[str, Any]:
    beside = timed["int8"].block_medians_s / timed["float32"].block_medians_s
    medians = {f"{precision}_s": found.median_s for precision, found in timed.items()}
    return {"backend": backend, "exit": k, **medians, "ratio": float(np.median(beside))}


def profile(model: Path, width: int) -> dict[str, float]:
    """Seconds that ONNX Runtime's kernels of each kind take in one run of the network without exits."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = 1, True
    options.profile_file_prefix = str(model.parent / "profile")
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((1, 3, width, width)).astype(np.float32)
    for _ in range(_PROFILED):
        session.run(None, {session.get_inputs()[0].name: x})
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes: dict[tuple[str, str], list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            nodes.setdefault((event["args"]["op_name"], event["name"]), []).append(event["dur"] * 1e-6)
    found: dict[str, float] = {}
    for (kind, _), durations in nodes.items():  # a median: on a busy machine a few kernels wait for a time slice
        found[kind] = found.get(kind, 0.0) + float(np.median(durations))
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def show(name: str, found: Sequence[Mapping[str, Any]], kinds: Mapping[str, Mapping[str, float]]) -> None:
    """Print both tables."""
    rows = [
        (one["backend"], str(one["exit"]), as_time(one["float32_s"]), as_time(one["int8_s"]), ratio(one["ratio"]))
        for one in found
    ]
    print_table(f"{name}: int8 beside float32", ("backend", "exit", "float32", "int8", "int8 / float32"), rows)
    parts = [
        (precision, kind, as_time(seconds), percent(seconds / sum(each.values()), 0))
        for precision, each in kinds.items()
        for kind, seconds in each.items()
    ]
    print_table(f"{name}: kernels of ONNX Runtime, without exits", ("precision", "kind", "time", "share"), parts)


if __name__ == "__main__":
    main()
