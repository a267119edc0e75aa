"""Real runs: calibrate on this device again and again, to other targets and on other splits, and compare predicted with measured.

    python -m benchmarks.calibration.device_tracking [--runs 20] [--case lenet-digits]

A run counts where the state check found the device usable; `suspect` runs (virtual machine, other load) are reported apart from `valid`.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import edgeexit
from benchmarks.calibration._shared import record
from benchmarks.common import default_case, find_case
from edgeexit.calibration import Calibration
from edgeexit.data import load_data

TARGETS = ("mean<=0.65x", "mean<=0.7x, drop<=1", "mean<=0.85x", "drop<=0.3", "rate2>=0.2")


def row_of(target: str, seed: int, result: Calibration) -> dict[str, Any]:
    """What one run says."""
    assert result.measured is not None
    assert result.replayed_mean_s is not None
    return {
        "target": target,
        "seed": seed,
        "predicted_mean_s": result.predicted.mean_s,
        "measured_mean_s": result.measured.mean_s,
        "error": result.measured.mean_s / result.predicted.mean_s - 1,
        "device_error": result.measured.mean_s / result.replayed_mean_s - 1,
        "noise_floor": result.noise_floor,
        "sampling_error": result.sampling_error,
        "within": abs(result.measured.mean_s / result.predicted.mean_s - 1) <= max(0.02, 1.25 * result.noise_floor),
        "within_with_sampling": result.on_track,
        "device_within": abs(result.measured.mean_s / result.replayed_mean_s - 1)
        <= max(0.02, 1.25 * result.noise_floor),
        "met": result.met,
        "validity": result.validity,
        "reasons": list(result.reasons),
    }


def main() -> None:
    """Run and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--case", default=default_case())
    options = parser.parse_args()
    case, rows = find_case(options.case), []
    data = load_data(case.calibration)
    with tempfile.TemporaryDirectory() as folder:
        bundle = edgeexit.compile(case.model, Path(folder) / "case.eexit", inputs=data.take(slice(64)).inputs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runner = edgeexit.load(bundle.path)
        for run in range(options.runs):
            target = TARGETS[run % len(TARGETS)]
            result = edgeexit.calibrate(
                runner, data.inputs, data.labels, target=target, seed=run, seconds=options.seconds
            )
            rows.append(row_of(target, run, result))
            print({k: v for k, v in rows[-1].items() if k != "reasons"}, flush=True)
        runner.close()
    body = {
        "case": case.name,
        "samples": len(data),
        "runs": len(rows),
        "valid": sum(r["validity"] == "valid" for r in rows),
        "within": sum(r["within"] for r in rows),
        "within_with_sampling": sum(bool(r["within_with_sampling"]) for r in rows),
        "device_within": sum(r["device_within"] for r in rows),
        "largest_error": float(max(abs(r["error"]) for r in rows)),
        "median_noise_floor": float(np.median([r["noise_floor"] for r in rows])),
        "instances": rows,
    }
    record(f"device-tracking-{case.name}", body)


if __name__ == "__main__":
    main()
