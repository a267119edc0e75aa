"""No exit tax on any network: forced exit k beside a model of its own, for every network of edgeexit/nets, with random weights.

    python -m benchmarks.graph.networks [--only msdnet vit] [--seconds 15]

The model of its own is the scored network cut to what forced k computes, criteria included, as one ONNX Runtime session behind the same
Runner (see benchmarks/runtime/exit_tax.py, which does the same for a trained network and its data). Judged is the mode that the compile
chose on this device; the other is recorded beside it. Limits: within 5 % from 200 µs on; below, within 10 % or 3 µs.

Every opening is a process of its own: on one processor (Intel Xeon), in the process that compiled, and opened the bundle again and again,
the later exits of MSDNet, ViT and DenseNet lay 5 to 15 % above in both modes; on another (AMD EPYC) they did not. The memory that sessions
leave behind in the arena that all stages share is the likely cause. A compile times the two modes in fresh processes, too.

What is left of the tax of the staged mode: its stages run the very nodes of the whole network, in the same time by ONNX Runtime's
profiler; the entry into the runtime takes about 1.5 µs per stage, which is what the three stages of the 28 µs of `signal` show; and
boundary tensors take room in the caches that one session would use again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import edgeexit
from benchmarks.common import Case, print_table, record, wrap_program
from benchmarks.runtime.exit_tax import OwnModel, is_within_limits
from edgeexit.backends.base import Settings
from edgeexit.bundle import Bundle
from edgeexit.hardware import read_device_state
from edgeexit.measure.timing import time_interleaved
from edgeexit.report.doubts import cut_bytes
from edgeexit.runtime import Runner
from edgeexit.runtime.loading import open_runner
from edgeexit.util import units

NETWORKS: dict[str, dict[str, Any]] = {
    "lenet": {},
    "lenet/paper": {"branches": "paper"},
    "alexnet": {},
    "alexnet/paper": {"branches": "paper"},
    "resnet": {},
    "resnet/paper": {"branches": "paper"},
    "eenet": {},
    "eenet8": {},
    "msdnet": {},
    "msdnet/isc": {"collaboration": "fc"},
    "vit": {},
    "signal": {},
    "resnet-cascade": {},
    "cascade-cnn": {},
    "densenet": {},
}
_LEARNED = {"eenet", "eenet8", "resnet-cascade"}


@dataclass(frozen=True)
class Row:
    """One exit of one network in one mode.

    Attributes:
        network: its name.
        exit: from 1.
        mode: `staged` or `fused`.
        chosen: whether the compile chose that mode.
        own_s: median of the model of its own.
        ratio: ratio of the forced exit to it, by pairs of blocks that ran side by side, so that a machine that changes speed changes both.
        ratios: ratios that of each opening.
        within: the limits.
    """

    network: str
    exit: int
    mode: str
    chosen: bool
    own_s: float
    ratio: float
    ratios: tuple[float, ...]
    within: bool


def compile_network(network: str, folder: Path) -> Bundle:
    """Export the network with random weights, and compile it."""
    import torch

    from edgeexit.nets.registry import build, find_network

    name = network.partition("/")[0]
    torch.manual_seed(0)
    module = build(name, **NETWORKS[network]).eval()
    model = folder / "m.onnx"
    edgeexit.export(module, torch.zeros(1, *find_network(name).input_shape), model)
    criterion = "learned" if name in _LEARNED else "entropy"
    return edgeexit.compile(model, folder / "b.eexit", criterion=criterion, seconds=2.0)


def measure(network: str, bundle: Bundle, seconds: float, openings: int) -> tuple[list[Row], float]:
    """Rows of one network, and the median of its backbone; medians over several openings, as where memory lies moves each by percents."""
    each = [_measure_opening(bundle.path, seconds / openings, seed) for seed in range(openings)]
    median = {name: float(np.median([found[name] for found in each])) for name in each[0]}
    [timing] = bundle.manifest.timings.values()
    rows = []
    for exit in range(1, bundle.manifest.exits + 1):
        own_s = median[f"own {exit}"]
        for mode in ("staged", "fused"):
            name = f"{mode} {exit} / own"
            good = is_within_limits(own_s * median[name], own_s)
            ratios = tuple(found[name] for found in each)
            rows.append(Row(network, exit, mode, mode == timing.faster, own_s, median[name], ratios, good))
    return rows, median["backbone"]


def _measure_opening(path: Path, seconds: float, seed: int) -> dict[str, float]:
    """What `_medians` measures, in a process of its own."""
    options = ["--bundle", str(path), "--seconds", str(seconds), "--seed", str(seed)]
    command = [sys.executable, "-m", "benchmarks.graph.networks", *options]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {name: float(s) for name, s in json.loads(done.stdout).items()}


def _medians(bundle: Bundle, seconds: float, seed: int) -> dict[str, float]:
    """Median seconds of the backbone and of every model of its own, and median ratios to it, all of them opened anew."""
    with open_runner(bundle, Settings(mode="staged")) as staged, open_runner(bundle, Settings(mode="fused")) as fused:
        [spec] = bundle.manifest.inputs
        x = [np.random.default_rng(n).standard_normal(spec.shape_at_1).astype(np.float32) for n in range(16)]
        variants = _variants(bundle, {"staged": staged, "fused": fused})
        calls = {name: partial(_call, variant, x) for name, variant in variants}
        timed = time_interleaved(calls, seconds=seconds, seed=seed)
    found = {name: s.median_s for name, s in timed.items() if name == "backbone" or name.startswith("own")}
    for exit in range(1, bundle.manifest.exits + 1):
        own = timed[f"own {exit}"].block_medians_s
        for mode in ("staged", "fused"):
            found[f"{mode} {exit} / own"] = float(np.median(timed[f"{mode} {exit}"].block_medians_s / own))
    return found


def _variants(bundle: Bundle, runners: dict[str, Runner]) -> Iterator[tuple[str, Any]]:
    yield "backbone", runners["staged"].backbone()
    for exit in range(1, bundle.manifest.exits + 1):
        own = wrap_program(runners["staged"], OwnModel(runners["staged"], exit))
        yield f"own {exit}", partial(own.forced, exit=exit)
        for mode, runner in runners.items():
            yield f"{mode} {exit}", partial(runner.forced, exit=exit)


def _call(variant: Any, inputs: list[Any], i: int) -> object:
    return variant(inputs[i % len(inputs)])


def main() -> None:
    """Run the experiment that the command line describes, print its table and record its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--seconds", type=float, default=15.0, help="of timing per network, all variants together")
    parser.add_argument("--openings", type=int, default=5, help="how often everything is opened anew in that time")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--bundle", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bundle:
        print(json.dumps(_medians(Bundle.open(arguments.bundle), arguments.seconds, arguments.seed)))
        return
    before, rows, networks = read_device_state(), [], {}
    for network in arguments.only:
        with tempfile.TemporaryDirectory() as scratch:
            bundle = compile_network(network, Path(scratch))
            found, backbone_s = measure(network, bundle, arguments.seconds, arguments.openings)
        manifest = bundle.manifest
        networks[network] = {
            "backbone_s": backbone_s,
            "macs": [s.macs for s in manifest.stages],
            "cut_bytes": [cut_bytes(manifest, k) for k in range(1, manifest.exits)],
            "exits": [vars(row) for row in found],
        }
        rows += found
        print_table(
            network,
            ("exit", "mode", "own model", "forced", "by opening", "extra", "limit"),
            [_format_row(r) for r in found],
        )
    judged = [r for r in rows if r.chosen]
    summary = {"judged": len(judged), "within": sum(r.within for r in judged)}
    print(f"{summary['within']} of {summary['judged']} exits within the limits in the chosen mode")
    case = Case("random-weights", Path(), None, "", "")
    record("networks", case, arguments, {"summary": summary, "networks": networks}, before)


def _format_row(row: Row) -> tuple[str, ...]:
    mode = f"{row.mode} (chosen)" if row.chosen else row.mode
    spread = f"{min(row.ratios):.2f} to {max(row.ratios):.2f}"
    extra = units.seconds((row.ratio - 1) * row.own_s)
    good = "within" if row.within else "beyond"
    return (str(row.exit), mode, units.seconds(row.own_s), units.ratio(row.ratio), spread, extra, good)


if __name__ == "__main__":
    main()
