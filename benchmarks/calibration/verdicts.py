"""Are verdicts true: calibrations of feasible targets, half of them beside a busy process, held against a quiet long run.

    python -m benchmarks verdicts [--runs 100] [--seconds 2] [--truth-seconds 10] [--case lenet-digits]

Each run takes another seed and another target, feasible on this machine by construction, and calibrates in quick mode; every other one
beside processes that do nothing but compute. Then, with those stopped, the thresholds run for long on the test set, which calibration never
saw. A statement is false where the long run's own 99 % interval lies on the other side of the limit; where only its value does, it is
counted as `contradicted`. Start it on a machine that does nothing else: the truth is only as quiet as that.
"""

from __future__ import annotations

import argparse
import collections
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import edgeexit
from benchmarks.calibration._shared import record
from benchmarks.common import find_case, open_uncalibrated
from edgeexit.calibration import Calibration, parse_target
from edgeexit.calibration.decision import MET, NOT_MET, UNDECIDED
from edgeexit.calibration.device import MeasuredCosts, attach_costs, replay, time_exits, try_policy
from edgeexit.calibration.judge import PolicyRun, check_bounds, explain_noise
from edgeexit.calibration.replay import ReplayTable
from edgeexit.calibration.result import BoundCheck, PolicyPerformance
from edgeexit.calibration.uncertainty import ExitSample
from edgeexit.data import Dataset, load_data
from edgeexit.errors import TargetNotMet
from edgeexit.hardware import read_device_state
from edgeexit.measure.statistics import nearest_rank
from edgeexit.runtime import Runner

QUIET_SECONDS = 4.0
"""Of the timing that says which targets are feasible."""


@dataclass(frozen=True, eq=False)
class World:
    """A network on this machine while it is quiet: its data, and what every exit does and costs."""

    runner: Runner
    known: Dataset
    fresh: Dataset
    table: ReplayTable
    fresh_table: ReplayTable
    costs: MeasuredCosts


def open_world(name: str, folder: Path) -> World:
    """Compile a case, and time its exits on a quiet machine."""
    case = find_case(name)
    runner = open_uncalibrated(case, folder)
    known, fresh = load_data(case.calibration), load_data(case.test)
    costs = time_exits(runner, known, QUIET_SECONDS, 0)
    table, fresh_table = (attach_costs(replay(runner, data), costs) for data in (known, fresh))
    return World(runner, known, fresh, table, fresh_table, costs)


def make_feasible_targets(world: World) -> Iterator[str]:
    """One target after another that thresholds meet, at a share of the way from the fastest exit to the slowest."""
    rng = np.random.default_rng(0)
    low, high = float(world.costs.typical_s[0]), float(world.costs.typical_s[-1])
    backbone = world.costs.backbone_typical_s
    last = float(world.table.correct[:, -1].mean()) if world.table.correct is not None else 1.0
    while True:
        mean_s = low + float(rng.uniform(0.2, 0.9)) * (high - low)
        yield f"mean<={mean_s / backbone:.3f}x"
        yield f"mean<={mean_s * 1e6:.1f}us"
        yield f"mean<={mean_s / backbone:.3f}x, accuracy>={last - 0.05:.3f}"
        yield f"drop<={rng.uniform(2, 6):.1f}"
        yield f"p99<={high * rng.uniform(1.5, 4) * 1e6:.0f}us, agreement>=0.9"
        yield f"rate1>={rng.uniform(0.1, 0.6):.2f}, drop<={rng.uniform(3, 6):.1f}"


@contextmanager
def keep_busy(processes: int) -> Iterator[None]:
    """Keep so many processes busy while the body runs."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def judge_calibration(world: World, target: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Calibrate, beside busy processes for every odd seed, and hold what was said against the truth."""
    load = options.busy if seed % 2 else 0
    try:
        with keep_busy(load):
            said = edgeexit.calibrate(
                world.runner,
                world.known.inputs,
                world.known.labels,
                target=target,
                seed=seed,
                seconds=options.seconds,
                name=world.known.name,
                dry_run=True,
            )
    except TargetNotMet as refusal:
        return {"target": target, "busy": load, "bounds": NOT_MET, "false": [target], "reason": str(refusal)}
    truth, quiet = measure_truth(world, said, options.truth_seconds, seed)
    return {"target": target, "busy": load, **compare_checks(said, truth), "truth_quiet": quiet}


def measure_truth(world: World, said: Calibration, seconds: float, seed: int) -> tuple[tuple[BoundCheck, ...], bool]:
    """Every bound held against a long run on the test set, and whether the machine was quiet meanwhile."""
    runner = world.runner
    runner.inner_thresholds = said.inner_thresholds
    before = read_device_state()
    trial = try_policy(runner, world.fresh, seconds, seed + 1)
    states = before, read_device_state()
    table = attach_costs(world.fresh_table, trial.costs)
    outcome = table.evaluate_leaves(trial.leaves)
    figures = PolicyPerformance(
        samples=len(world.fresh),
        accuracy=outcome.accuracy,
        agreement=outcome.agreement,
        mean_s=trial.mean_s,
        p50_s=nearest_rank(trial.latency_s, 50.0),
        p99_s=nearest_rank(trial.latency_s, 99.0),
        exit_rates=outcome.exit_rates,
        energy_j=None,
        macs=outcome.macs,
    )
    run = PolicyRun(figures, table, ExitSample.from_thresholds(table, said.inner_thresholds), trial, (), proved=False)
    quiet = not explain_noise(trial, trial.costs, states, runner.settings.threads)
    return check_bounds(table, parse_target(said.target), said.predicted, run), quiet


def compare_checks(said: Calibration, truth: Sequence[BoundCheck]) -> dict[str, Any]:
    """What the calibration said of every bound, beside what a long run found."""
    rows, false, contradicted = [], [], []
    for claim, true in zip(said.checks, truth, strict=True):
        rows.append({
            "bound": claim.bound, "said": claim.state, "true": true.state, "interval": [claim.low, claim.high], "value": true.measured,
            "limit": true.limit,
        })  # fmt: skip
        if {claim.state, true.state} == {MET, NOT_MET}:
            false.append(claim.bound)
        if claim.state != UNDECIDED and (claim.state == MET) != _holds(true):
            contradicted.append(claim.bound)
    return {
        "bounds": said.verdict.bounds,
        "machine": said.verdict.machine,
        "noise": said.verdict.noise,
        "chosen_for": said.chosen_for,
        "checks": rows,
        "false": false,
        "contradicted": contradicted,
    }


def _holds(check: BoundCheck) -> bool:
    assert check.measured is not None
    return check.measured >= check.limit if ">=" in check.bound else check.measured <= check.limit


def summarize(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How often each verdict was right: of all runs, and of those beside busy processes."""
    counts = {
        kind: dict(collections.Counter(r["bounds"] for r in rows if bool(r["busy"]) == (kind == "busy")))
        for kind in ("quiet", "busy")
    }
    return {
        "runs": len(rows),
        "said": counts,
        "false_met": sum(r["bounds"] == MET and bool(r["false"]) for r in rows),
        "false_not_met": sum(r["bounds"] == NOT_MET and bool(r["false"]) for r in rows),
        "undecided": sum(r["bounds"] == UNDECIDED for r in rows),
        "false_statements_on_single_bounds": sum(len(r["false"]) for r in rows),
        "contradicted": sum(len(r.get("contradicted", ())) for r in rows),
        "truth_quiet": sum(bool(r.get("truth_quiet")) for r in rows),
    }


def main() -> None:
    """Run the experiment that the command line describes, print its table and record its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=2.0, help="of timing in each calibration")
    parser.add_argument("--truth-seconds", type=float, default=10.0, help="of the long run")
    parser.add_argument("--busy", type=int, default=1, help="processes that compute beside every other calibration")
    parser.add_argument("--case", default="lenet-digits")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        world = open_world(options.case, Path(folder))
        for seed, target in zip(range(options.runs), make_feasible_targets(world), strict=False):
            rows.append(judge_calibration(world, target, seed, options))
            print({k: v for k, v in rows[-1].items() if k != "checks"}, flush=True)
    record("verdicts", {"options": vars(options), **summarize(rows), "instances": rows})


if __name__ == "__main__":
    main()
