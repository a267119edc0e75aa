"""The cascade losses at equal measured latency. Needs a quiet machine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgeexit
from benchmarks.common import calibrate_runner
from benchmarks.experiments._runs import open_network
from benchmarks.papers.frame.deployment import make_example
from benchmarks.papers.frame.parts import Findings
from benchmarks.papers.frame.training import Run, Runs


def examine_latency(runs: Runs, *, share: float, seconds: float) -> Findings:
    """Accuracy of each loss at the same measured mean latency: each network compiled and calibrated to it on this machine.

    Args:
        runs: of one data set, in which all networks cost the same.
        share: the latency asked for, as a share of the way from the first exit's latency to the last exit's, as the first network has them.
        seconds: of timing for each calibration.
    """
    samples: dict[str, dict[int, NDArray[Any]]] = {}
    values: dict[str, dict[int, float]] = {}
    limit_s: float | None = None
    for name, by_seed in runs.items():
        for seed, run in by_seed.items():
            with tempfile.TemporaryDirectory() as folder:
                limit_s, right, found = calibrate_run(run, Path(folder), limit_s, share=share, seconds=seconds)
            samples.setdefault(f"{name}: accuracy", {})[seed] = right
            for what, value in found.items():
                values.setdefault(f"{name}: {what}", {})[seed] = value
    return Findings(samples=samples, values=values, details={"limit_s": limit_s})


def calibrate_run(
    run: Run, folder: Path, limit_s: float | None, *, share: float, seconds: float
) -> tuple[float, NDArray[Any], dict[str, float]]:
    """Compile a network and calibrate it to a mean latency.

    Returns:
        The limit in seconds (chosen from this network's latencies where none is given), which test samples are answered rightly, and what
        was measured.
    """
    known, test = run.load_part("calibration"), run.load_part("test")
    example = make_example(run)
    with open_network(run.load_network(), example, folder, "max_softmax") as runner:
        if limit_s is None:
            first = edgeexit.calibrate(runner, known.inputs, known.labels, target="accuracy>=0", seconds=seconds)
            costs = [row.mean_s for row in first.exits]
            limit_s = costs[0] + share * (costs[-1] - costs[0])
        target = f"mean<={1e6 * limit_s:.6g}us"
        calibration = calibrate_runner(runner, known, target, seconds=seconds)
        scores, logits = runner.replay(test.inputs)
    table = edgeexit.replay_table(logits, test.labels, None, scores=scores, macs=run.list_macs())
    leaves = table.leaves_at(calibration.inner_thresholds)
    assert table.correct is not None, "test samples have labels"
    right = np.take_along_axis(table.correct, leaves[:, None], axis=1)[:, 0]
    measured = calibration.measured
    assert measured is not None, "calibrate runs what it chose"
    found = {
        "leave early": float((leaves < table.exits - 1).mean()),
        "predicted mean, s": calibration.predicted.mean_s,
        "measured mean, s": measured.mean_s,
    }
    return limit_s, right, found
