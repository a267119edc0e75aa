"""The cascade losses at equal multiply-accumulates. It is not in the paper, which fixes the threshold.

A threshold means another thing to another loss, so that figures at T = 0.6 compare thresholds as much as losses. Here each network gets the
thresholds that are best for it on the calibration part within the same mean cost, and is judged on the test part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.papers.cascade_losses.figures import choose_tone
from benchmarks.papers.frame.parts import BySeed, Findings, SamplesBySeed
from benchmarks.papers.frame.training import Run, Runs
from edgeexit.analysis import compute_searched_curve
from edgeexit.calibration import ReplayTable
from edgeexit.report.plot.figure import Axis, Figure, Line

BUDGETS = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Mean costs, as shares of the way from the first exit's cost to the last exit's."""

TITLES = {"mnist": "MNIST", "noisy": "Noisy MNIST", "cifar10": "CIFAR-10, B-AlexNet"}


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


def examine_equal_macs(runs: Runs) -> Findings:
    """The losses at the same mean multiply-accumulates, with a picture for each data set."""
    found = compare_at_equal_macs(runs, "max_softmax")
    return replace(found, pictures=draw_trade_offs(found.samples, found.values))


def compare_at_equal_macs(runs: Runs, criterion: str) -> Findings:
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


def draw_trade_offs(samples: Mapping[str, SamplesBySeed], values: Mapping[str, BySeed]) -> list[Figure]:
    """Accuracy against mean cost, a picture for each data set (the first word of the names), means over the seeds."""
    names = list(dict.fromkeys(key.split(":")[0] for key in samples))
    figures = []
    for prefix in dict.fromkeys(name.split("-")[0] for name in names):
        lines = []
        for name in (n for n in names if n.startswith(f"{prefix}-")):
            keys = [f"at {100 * share:g} %" for share in BUDGETS]
            xs = [np.mean([*values[f"{name}: MACs used {key}"].values()]) for key in keys]
            ys = [np.mean([v.mean() for v in samples[f"{name}: accuracy {key}"].values()]) for key in keys]
            loss = name.removeprefix(f"{prefix}-")
            lines.append(
                Line(
                    np.array(xs), np.array(ys), choose_tone(loss), loss, dashed=loss.endswith(("started-p2", "trained"))
                )
            )
        caption = "Test part, thresholds chosen on the calibration part, means over the seeds."
        x, y = Axis("multiply-accumulates, k", scale=1e3), Axis("accuracy, %", scale=0.01)
        title = f"{TITLES[prefix]}: accuracy at equal cost"
        figures.append(Figure(f"cascade-losses-{prefix}-equal-macs", title, caption, x, y, tuple(lines)))
    return figures


def _judge_run(run: Run, criterion: str) -> Iterator[tuple[str, NDArray[Any], float]]:
    tables, macs = read_tables(run, criterion), run.list_macs()
    budgets = [macs[0] + share * (macs[-1] - macs[0]) for share in BUDGETS]
    for share, (right, outcome) in zip(BUDGETS, judge_within(tables, budgets), strict=True):
        yield f"at {100 * share:g} %", right, float(outcome.macs)
