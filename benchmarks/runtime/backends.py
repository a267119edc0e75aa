"""The runtimes of this machine side by side: each backend staged, fused and straight through, interleaved in one process.

    python -m benchmarks backends [--backends onnxruntime,openvino,mnn] [--networks lenet-mnist,alexnet-cifar10,resnet-cifar10]

On the shipped network and on two of the papers' size (random weights: the time does not depend on them), or on cases of
`benchmarks/models/`, each forced to every exit. Answers
are not looked at here; edgeexit doctor --backend NAME does that.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import edgeexit
from benchmarks.common import HERE, find_case, print_table
from edgeexit.backends import Settings
from edgeexit.backends.example_inputs import make_random_inputs
from edgeexit.bundle import Bundle
from edgeexit.compiler.compilation import compile_model
from edgeexit.conformance.networks import BUILDERS, write_network
from edgeexit.hardware import find_device_key, judge, read_device_facts, read_device_state
from edgeexit.measure.timing import time_interleaved
from edgeexit.runtime import Runner
from edgeexit.runtime.loading import open_runner
from edgeexit.util.documents import dumps
from edgeexit.util.units import ratio
from edgeexit.util.units import seconds as as_time

NETWORKS = ("lenet-digits", "alexnet-size", "resnet-size")


def main() -> None:
    """Time everything, print it, record it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--backends", default="onnxruntime,openvino", help="names, separated by commas")
    parser.add_argument("--networks", default=",".join(NETWORKS), help="theirs, or names of cases")
    parser.add_argument("--seconds", type=float, default=10.0, help="per network")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--output",
        type=Path,
        help="the JSON file; the default is in benchmarks/results/<device>/",
    )
    arguments = parser.parse_args()
    before = read_device_state()
    names, networks = arguments.backends.split(","), arguments.networks.split(",")
    with tempfile.TemporaryDirectory() as folder:
        results = {n: time_backends(n, names, arguments.threads, arguments.seconds, Path(folder)) for n in networks}
    after = read_device_state()
    document = {
        "schema": "edgeexit.benchmark.backends/1",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "tool": edgeexit.__version__,
        "device": {
            "key": find_device_key(),
            "facts": read_device_facts(),
            "before": before.to_document(),
            "after": after.to_document(),
        },
        "validity": judge(before, after).to_document(),
        "options": {"backends": names, "threads": arguments.threads, "seconds": arguments.seconds},
        "networks": results,
    }
    path = arguments.output or HERE / "results" / find_device_key() / _name_record(arguments)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dumps(document), encoding="utf-8")
    print(f"recorded in {path}")


def _name_record(arguments: argparse.Namespace) -> str:
    usual = arguments.networks == ",".join(NETWORKS)
    return "backends.json" if usual else f"backends-{arguments.networks.replace(',', '-')}.json"


def time_backends(name: str, backends: Sequence[str], threads: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Median seconds of leaving at each exit, and through the backbone, per backend and mode."""
    model = write_network(name, folder) if name in BUILDERS else find_case(name).model
    bundle = compile_model(model, folder / f"{name}.eexit", seconds=0)
    inputs = [make_random_inputs(bundle.manifest.inputs, seed) for seed in range(16)]
    with ExitStack() as opened:
        calls: dict[str, Callable[[int], object]] = {}
        for backend in backends:
            for mode in ("staged", "fused"):
                runner = opened.enter_context(open_runner(bundle, Settings(backend, mode, threads=threads)))
                for exit in range(1, bundle.manifest.exits + 1):
                    calls[f"{backend} {mode} {exit}"] = partial(_forced, runner, inputs, exit)
            backbone = opened.enter_context(runner.backbone())
            calls[f"{backend} backbone"] = partial(_call_backbone, backbone, inputs)
        found = time_interleaved(calls, seconds=seconds)
    medians = {key: samples.median_s for key, samples in found.items()}
    _print(name, bundle, backends, medians)
    return medians


def _forced(runner: Runner, inputs: Sequence[Any], exit: int, i: int) -> object:
    return runner.forced(inputs[i % len(inputs)], exit=exit)


def _call_backbone(backbone: Any, inputs: Sequence[Any], i: int) -> object:
    return backbone(inputs[i % len(inputs)])


def _print(name: str, bundle: Bundle, backends: Sequence[str], medians: dict[str, float]) -> None:
    exits = range(1, bundle.manifest.exits + 1)
    base = medians[f"{backends[0]} backbone"]
    rows = [
        (
            backend,
            mode,
            *(as_time(medians[f"{backend} {mode} {k}"]) for k in exits),
            ratio(medians[f"{backend} {mode} {exits[-1]}"] / base),
        )
        for backend in backends
        for mode in ("staged", "fused")
    ]
    rows += [
        (
            b,
            "backbone",
            *[""] * (len(exits) - 1),
            as_time(medians[f"{b} backbone"]),
            ratio(medians[f"{b} backbone"] / base),
        )
        for b in backends
    ]
    columns = ("backend", "mode", *(f"exit {k}" for k in exits), f"last exit / {backends[0]} backbone")
    print_table(f"{name}: median time of leaving at each exit", columns, rows)


if __name__ == "__main__":
    main()
