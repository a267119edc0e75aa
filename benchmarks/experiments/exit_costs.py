"""What each exit of BranchyNet's networks costs beside the plain network: branches of the paper, of the code and of our own.

    python -m benchmarks exit_costs [--network alexnet]

Costs do not depend on the weights, so these are fresh ones; which samples can leave is another matter (`branchynet`). Everything runs
through the same Runner with the same settings; shares are of the plain network's typical time.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import Case, make_noise, open_plain, print_table, record, time_variants
from benchmarks.experiments._runs import open_network
from edgeexit.exporter import export
from edgeexit.hardware import read_device_state
from edgeexit.nets import NETS, build
from edgeexit.runtime import Runner
from edgeexit.util import units

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "lenet": {"code": {"branches": "code"}, "light": {"branches": "light"}},
    "alexnet": {b: {"branches": b} for b in ("paper", "code", "light")},
    "resnet": {b: {"branches": b} for b in ("paper", "code", "light")},
}


def open_fresh(network: str, options: dict[str, Any], folder: Path) -> Runner:
    """A network with fresh weights, exported, compiled and opened."""
    torch.manual_seed(0)
    return open_network(build(network, **options), torch.zeros(1, *NETS[network].input_shape), folder)


def compile_plain(network: str, options: dict[str, Any], runner: Runner, folder: Path) -> Runner:
    """The plain network of the same architecture, opened with the settings of the runner and run through the same Runner."""
    trunk = {k: v for k, v in options.items() if k != "branches"}
    export(build(network, **trunk, exits=False), torch.zeros(1, *NETS[network].input_shape), folder / "plain.onnx")
    return open_plain(runner, folder / "plain.onnx")


def measure_costs(network: str, options: dict[str, Any], arguments: argparse.Namespace) -> dict[str, float]:
    """Typical seconds of the plain network and of each forced exit."""
    data = make_noise(NETS[network].input_shape)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        runner = open_fresh(network, options, folder)
        variants: dict[str, Any] = {"plain": compile_plain(network, options, runner, folder)}
        variants |= {f"exit {k}": partial(runner.forced, exit=k) for k in range(1, runner.exits + 1)}
        timed = time_variants(variants, data, seconds=arguments.seconds, repeats=arguments.repeats, trace=256)
        return {name: variant.latency.typical_s for name, variant in timed.items()}


def main() -> None:
    """Run the experiment that the command line describes, print its table and record its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=sorted(VARIANTS), default="alexnet")
    parser.add_argument("--blocks", type=int, default=3, help="n of the ResNet; 18 is the paper's")
    parser.add_argument("--seconds", type=float, default=3.0, help="of timing in each repeat")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    before, found = read_device_state(), {}
    for name, options in VARIANTS[arguments.network].items():
        extra = {"n": arguments.blocks} if arguments.network == "resnet" else {}
        found[name] = measure_costs(arguments.network, {**options, **extra}, arguments)
    exits = [e for e in next(iter(found.values())) if e != "plain"]
    rows = [
        (name, units.seconds(t["plain"]), *(f"{units.seconds(t[e])} ({t[e] / t['plain']:.2f})" for e in exits))
        for name, t in found.items()
    ]
    print_table(
        f"{arguments.network}: typical time (share of the plain network's)", ("branches", "plain", *exits), rows
    )
    case = Case(arguments.network, Path(), None, "", "")
    record("exit_costs", case, arguments, {"typical_s": found}, before)


if __name__ == "__main__":
    main()
