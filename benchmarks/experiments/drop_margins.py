"""Does a bound on the drop hold on data never seen? Thresholds chosen at the bound beside thresholds chosen with room.

    python -m benchmarks drop_margins runs/resnet20-exits/model.onnx -o benchmarks/results/training/drop-margins-resnet20.json

Runs the model of `python -m benchmarks adopt` on the calibration and the test part of CIFAR-10 once, then chooses thresholds on many
random draws of the calibration part, and holds each against the test part. Costs are multiply-accumulates: nothing is timed.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.calibration import ReplayTable, optimise, parse_target, replay_table
from edgeexit.calibration.margins import TimingErrors, tighten_target
from edgeexit.calibration.solver.problem import build_problem
from edgeexit.calibration.solver.search import Effort
from edgeexit.calibration.targets import Target
from edgeexit.compiler.probe import open_model
from edgeexit.data import load_data
from edgeexit.errors import InputError
from edgeexit.graph import find_exits, read_model
from edgeexit.graph.cost import count_costs_to_reach
from edgeexit.util.atomic import write_bytes

_CHOOSE = 0.8
"""Share of the samples that thresholds are chosen on, as calibrate has it."""


def read_arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser("drop_margins", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path, help="model.onnx of `adopt`")
    parser.add_argument("--out", "-o", type=Path, required=True)
    parser.add_argument("--target", default="drop<=0.5")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--samples", type=int, nargs="+", default=[1000, 3000, 8000])
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def run_part(model: Path, part: str) -> ReplayTable:
    """Every exit's answer to every sample of a part, with the multiply-accumulates of leaving there in place of seconds."""
    net, data = read_model(model), load_data(f"cifar10:{part}")
    if data.labels is None:
        raise InputError(f"{data.name} has no labels")
    names = [exit.logits for exit in find_exits(net)]
    run = open_model(net, names)
    rows = [run({net.inputs[0].name: batch}) for batch in np.array_split(data.x, len(data) // 250)]
    logits = np.stack([np.concatenate([row[name] for row in rows]) for name in names], axis=1)
    macs: NDArray[np.float64] = np.array(count_costs_to_reach(net, names))
    return replay_table(np.asarray(logits, np.float32), data.labels, "entropy", cost_s=macs / macs[-1])


def hold_against(choose: ReplayTable, test: ReplayTable, wanted: Target) -> dict[str, float]:
    """What thresholds chosen for this target do on the test part."""
    assert test.correct is not None, "there are labels"
    policy = optimise(choose, wanted, effort=Effort(work=10.0))
    outcome = test.evaluate(policy.thresholds)
    drop = 100 * float(test.correct[:, -1].mean() - (outcome.accuracy or 0.0))
    return {"chosen_for": wanted.bounds[0].limit, "macs_share": round(outcome.mean_s, 4), "test_drop": round(drop, 3)}


def compare_rules(known: ReplayTable, test: ReplayTable, samples: int, args: argparse.Namespace) -> dict[str, Any]:
    """Both ways of choosing, on every draw of this many samples."""
    asked = parse_target(args.target)
    found: dict[str, list[dict[str, float]]] = {"at the bound": [], "with room": []}
    for draw in range(args.draws):
        order = np.random.default_rng([args.seed, draw]).permutation(len(known))[:samples]
        choose = known.take(order[: int(_CHOOSE * samples)])
        wanted = tighten_target(build_problem(choose, asked), TimingErrors(0.0, 0.0), samples)
        for name, target in (("at the bound", asked), ("with room", wanted)):
            found[name].append(hold_against(choose, test, target))
    return {name: {**summarize(draws, asked.bounds[0].limit), "draws": draws} for name, draws in found.items()}


def summarize(draws: list[dict[str, float]], limit: float) -> dict[str, float]:
    """Means over the draws, and the share of them that keep the bound on the test part."""
    drops, macs = (np.array([draw[key] for draw in draws]) for key in ("test_drop", "macs_share"))
    return {
        "kept": float((drops <= limit).mean()),
        "mean_test_drop": round(float(drops.mean()), 3),
        "largest_test_drop": float(drops.max()),
        "mean_macs_share": round(float(macs.mean()), 4),
    }


def main() -> None:
    """Compare and record."""
    args = read_arguments()
    known, test = run_part(args.model, "calibration"), run_part(args.model, "test")
    results = {str(n): compare_rules(known, test, n, args) for n in args.samples}
    for n, rules in results.items():
        for name, found in rules.items():
            print(f"{n:>6} samples, {name:12}", {k: v for k, v in found.items() if k != "draws"})
    command = shlex.join(["python", "-m", "benchmarks", "drop_margins", *sys.argv[1:]])
    document = {"command": command, "target": args.target, "seed": args.seed, "samples": results}
    write_bytes(args.out, (json.dumps(document, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
