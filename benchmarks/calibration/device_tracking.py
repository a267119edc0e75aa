"""Real runs: calibrate on this device to one target after another, run the policy on fresh data, and compare predicted with measured.

    python -m benchmarks.calibration.device_tracking [--runs 20]     needs torch, MNIST and CIFAR-10; about 20 s a run

Three networks (LeNet with one branch on MNIST, five exits on MNIST and on CIFAR-10, the latter two trained here for one epoch), staged and
fused, each to means between its fastest and its slowest exit. Thresholds come from the calibration set; then the policy runs on the test
set, never seen before. A run counts where the state check over all of it found nothing but what it always finds here (`standing`: a virtual
machine hides its clocks); the others are repeated, and listed.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import edgeexit
from benchmarks.calibration._shared import record
from benchmarks.common import calibrate_runner, find_case
from edgeexit.calibration import Calibration
from edgeexit.calibration.device import PolicyTiming, time_exits, try_policy
from edgeexit.calibration.judge import NOISE_FACTOR, TRACKING
from edgeexit.data import Dataset, load_data
from edgeexit.hardware import judge, read_device_state
from edgeexit.runtime import Runner

SHARES = (0.3, 0.45, 0.6, 0.75)
"""Where between the fastest and the slowest exit the mean is to lie."""
MODES = ("staged", "fused")
SETS = {"lenet-mnist": "mnist", "five-exits-mnist": "mnist", "five-exits-cifar10": "cifar10"}


def compile_bundles(names: list[str], folder: Path) -> dict[str, Path]:
    """Compile every network; the folder of each bundle, which holds both modes."""
    made = {}
    for name in names:
        model = find_case(name).model if name == "lenet-mnist" else _export_trained(name, folder)
        inputs = load_data(f"{SETS[name]}:calibration").take(slice(64)).inputs
        made[name] = edgeexit.compile(model, folder / f"{name}.eexit", inputs=inputs).path
        print(f"compiled {name}", flush=True)
    return made


def _export_trained(name: str, folder: Path) -> Path:
    import torch

    from benchmarks.calibration.real_tables import train

    torch.set_num_threads(1)
    network = train(SETS[name], epochs=1, seed=0)
    path, example = folder / f"{name}.onnx", load_data(f"{SETS[name]}:calibration").x[:1]
    edgeexit.export(network, torch.from_numpy(example), path)
    return path


def calibrate_and_run(
    runner: Runner, calibration: Dataset, fresh: Dataset, *, share: float, seed: int, seconds: float
) -> dict[str, Any]:
    """Calibrate and run on fresh data, between two looks at the state of the device."""
    before = read_device_state()
    target = choose_target(runner, calibration, share, seed)
    result = calibrate_runner(runner, calibration, target, seed=seed, seconds=seconds, name=calibration.name)
    trial = try_policy(runner, fresh, seconds / 2, seed)
    validity = judge(before, read_device_state())
    return {**compare_with_prediction(result, trial), "validity": validity.status, "reasons": list(validity.reasons)}


def choose_target(runner: Runner, data: Dataset, share: float, seed: int) -> str:
    """A mean between the fastest and the slowest exit as they are just now, as a share of the backbone: feasible by construction."""
    costs = time_exits(runner, data, 1.0, seed)
    low, high = float(costs.typical_s.min()), float(costs.typical_s.max())
    return f"mean<={(low + share * (high - low)) / costs.backbone_typical_s:.3f}x"


def compare_with_prediction(result: Calibration, trial: PolicyTiming) -> dict[str, Any]:
    """What one run says: the mean on fresh data against the prediction, in noise floors, and apart from who left where."""
    assert result.measured is not None
    predicted, floor = result.predicted.mean_s, max(result.noise_floor, trial.noise_floor)
    rates = np.bincount(trial.leaves, minlength=len(trial.costs.typical_s)) / len(trial.leaves)
    error = trial.mean_s / predicted - 1
    return {
        "target": result.target,
        "predicted_mean_s": predicted,
        "fresh_mean_s": trial.mean_s,
        "error": error,
        "noise_floor": floor,
        "within": abs(error) <= max(TRACKING, NOISE_FACTOR * floor),
        "validation_error": result.measured.mean_s / predicted - 1,
        "device_error": trial.mean_s / float(rates @ trial.costs.typical_s) - 1,
        "met": result.met,
        "method": result.choice.method,
    }


def plan_runs(names: list[str]) -> Iterator[tuple[str, str, float]]:
    """Network, mode and share of one run after another: every network and mode before any a second time."""
    for turn in itertools.count():
        for place, (name, mode) in enumerate(itertools.product(names, MODES)):
            yield name, mode, SHARES[(turn + place) % len(SHARES)]


def main() -> None:
    """Run the experiment that the command line describes, print its table and record its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="that count")
    parser.add_argument("--tries", type=int, default=40, help="at the most")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--networks", nargs="*", default=list(SETS), choices=list(SETS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    now = read_device_state()
    standing, rows = set(judge(now, now).reasons), []
    sets = {s: (load_data(f"{s}:calibration"), load_data(f"{s}:test")) for s in {SETS[n] for n in options.networks}}
    with tempfile.TemporaryDirectory() as folder:
        made = compile_bundles(options.networks, Path(folder))
        for run, (name, mode, share) in enumerate(itertools.islice(plan_runs(options.networks), options.tries)):
            with edgeexit.load(made[name], mode=mode) as runner:
                found = calibrate_and_run(runner, *sets[SETS[name]], share=share, seed=run, seconds=options.seconds)
            counts = found["validity"] != "invalid" and set(found["reasons"]) <= standing
            row = {"network": name, "mode": mode, "share": share, **found, "counts": counts}
            rows.append(row)
            print({k: v for k, v in row.items() if k != "reasons"}, flush=True)
            if sum(r["counts"] for r in rows) == options.runs:
                break
    record("device-tracking", {"standing": sorted(standing), **summarize(rows), "instances": rows})


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How often the calibration was right, of the runs during which the machine stayed quiet."""
    counted = [r for r in rows if r["counts"]]
    return {
        "runs": len(rows),
        "counted": len(counted),
        "valid": sum(r["validity"] == "valid" for r in rows),
        "within": sum(r["within"] for r in counted),
        "met": sum(r["met"] for r in counted),
        "largest_error": max((abs(r["error"]) for r in counted), default=None),
        "median_error": float(np.median([abs(r["error"]) for r in counted])) if counted else None,
        "largest_device_error": max((abs(r["device_error"]) for r in counted), default=None),
        "median_noise_floor": float(np.median([r["noise_floor"] for r in counted])) if counted else None,
    }


if __name__ == "__main__":
    main()
