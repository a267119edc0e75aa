"""The cascade losses at equal cost: in multiply-accumulates, in measured time, and on CIFAR-10. None of it is in the paper, which fixes T.

A threshold means another thing to another loss, so that figures at T = 0.6 compare thresholds as much as losses. Here each network gets the
thresholds that are best for it on the calibration part within the same mean cost, and is judged on the test part.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgeexit
from benchmarks.experiments._runs import open_network
from benchmarks.papers._parts import Findings
from benchmarks.papers._training import Run, Runs
from edgeexit.analysis import compute_searched_curve
from edgeexit.calibration import ReplayTable, parse_target
from edgeexit.evaluate import evaluate_on_device
from edgeexit.exporter import export
from edgeexit.util.documents import to_document

BUDGETS = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Mean costs, as shares of the way from the first exit's cost to the last exit's."""


def read_tables(run: Run, criterion: str) -> dict[str, ReplayTable]:
    """Replay tables in multiply-accumulates of the part that thresholds are chosen on, and of the one that they are used on."""
    macs = run.list_macs()
    return {part: run.record_exits(part).make_table(criterion, macs) for part in ("calibration", "test")}


def judge_within(tables: Mapping[str, ReplayTable], budgets: Sequence[float]) -> Iterator[tuple[NDArray[Any], Any]]:
    """For each mean cost, which test samples are answered rightly, bool [n], and the outcome; thresholds chosen on the calibration part."""
    table = tables["test"]
    assert table.correct is not None, "test samples have labels"
    curve = compute_searched_curve(tables["calibration"], table, budgets=budgets)
    assert curve.thresholds is not None, "the search gives thresholds"
    for thresholds in curve.thresholds:
        leaves = table.leaves_at(thresholds)
        yield np.take_along_axis(table.correct, leaves[:, None], axis=1)[:, 0], table.evaluate_leaves(leaves)


def examine_equal_macs(runs: Runs, criterion: str = "max_softmax") -> Findings:
    """Accuracy of networks with exits at the same mean multiply-accumulates."""
    samples: dict[str, dict[int, NDArray[Any]]] = {}
    values: dict[str, dict[int, float]] = {}
    for name, by_seed in runs.items():
        for seed, run in by_seed.items():
            for key, right, macs in _judge_run(run, criterion):
                samples.setdefault(f"{name}: accuracy {key}", {})[seed] = right
                values.setdefault(f"{name}: MACs used {key}", {})[seed] = macs
    notes = (
        "Cost is that of the multiply-accumulates up to the exit that answers; a budget of 10 % is the first exit's cost and a tenth of "
        "the way to the last exit's. Thresholds are the best within it on calibration samples: the cost on the test part differs a little.",
    )
    return Findings(samples=samples, values=values, notes=notes)


def _judge_run(run: Run, criterion: str) -> Iterator[tuple[str, NDArray[Any], float]]:
    tables, macs = read_tables(run, criterion), run.list_macs()
    budgets = [macs[0] + share * (macs[-1] - macs[0]) for share in BUDGETS]
    for share, (right, outcome) in zip(BUDGETS, judge_within(tables, budgets), strict=True):
        yield f"at {100 * share:g} %", right, float(outcome.macs)


# ---------------------------------------------------------------- measured


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
    example = _make_example(run)
    with open_network(run.load_network(), example, folder, "max_softmax") as runner:
        if limit_s is None:
            first = edgeexit.calibrate(runner, known.inputs, known.labels, target="accuracy>=0", seconds=seconds)
            costs = [row.mean_s for row in first.exits]
            limit_s = costs[0] + share * (costs[-1] - costs[0])
        target = f"mean<={1e6 * limit_s:.6g}us"
        calibration = edgeexit.calibrate(runner, known.inputs, known.labels, target=target, seconds=seconds)
        runner.inner_thresholds = calibration.inner_thresholds
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


def examine_deployment(runs: Runs, *, target: str, preset: str, criterion: str = "max_softmax") -> Findings:
    """Every network compiled, calibrated and measured against its own way straight to the last exit.

    Args:
        runs: the trained networks.
        target: of the calibration.
        preset: of `edgeexit bench`.
        criterion: under which they leave.
    """
    values: dict[str, dict[int, float]] = {}
    details: dict[str, Any] = {}
    for name, by_seed in runs.items():
        for seed, run in by_seed.items():
            with tempfile.TemporaryDirectory() as folder:
                found = deploy_run(run, Path(folder), target=target, preset=preset, criterion=criterion)
            details[f"{name}-{seed}"] = to_document(found)
            values.setdefault(f"{name}: gain", {})[seed] = found.speedup
            values.setdefault(f"{name}: accuracy", {})[seed] = found.accuracy
            off = found.measured_mean_s / found.predicted_mean_s - 1
            values.setdefault(f"{name}: measured over predicted mean", {})[seed] = off
    return Findings(values=values, details=details)


def deploy_run(run: Run, folder: Path, *, target: str, preset: str, criterion: str) -> Any:
    """What `edgeexit.evaluate.evaluate_on_device` finds of a trained network."""
    export(run.load_network(), _make_example(run), folder / "model.onnx")
    return evaluate_on_device(
        folder / "model.onnx",
        folder / "model.eexit",
        run.load_part("calibration"),
        run.load_part("test"),
        parse_target(target),
        criterion=criterion,
        preset=preset,
    )[0]


def _make_example(run: Run) -> Any:
    import torch

    return torch.zeros(1, *run.load_part("test").shape)
