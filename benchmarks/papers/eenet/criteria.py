"""Is a learned confidence worth its loss? The same trained exits under three criteria, at equal cost (not in the thesis).

Thresholds are searched on the calibration part for each criterion and budget, and judged on the test part. Cost is counted
(multiply-accumulates) or measured: then each criterion's own program is timed, since a softmax costs time that a learned score does not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import make_noise, open_plain, time_variants
from benchmarks.experiments._runs import open_under_criteria
from benchmarks.papers.cascade_losses.equal_cost import compare_at_equal_macs, judge_within
from benchmarks.papers.eenet.networks import THRESHOLD
from benchmarks.papers.frame.estimates import Estimate, compare_samples
from benchmarks.papers.frame.parts import Findings, Request
from benchmarks.papers.frame.training import Run, Runs
from edgeexit.analysis import compute_anytime_curve
from edgeexit.calibration import ReplayTable
from edgeexit.exporter import export
from edgeexit.report.plot.figure import BACKBONE, CRITERION, POLICY, Axis, Figure, Line, Picture, Points
from edgeexit.training.metrics import RecordedExits
from edgeexit.util import units

CRITERIA = ("learned", "max_softmax", "entropy")
_TONES = dict(zip(CRITERIA, (POLICY, CRITERION, BACKBONE), strict=True))

BUDGETS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Mean costs as shares of leaving at the last exit; those below the first exit's are left out."""


@dataclass(frozen=True)
class Compared:
    """One trained network under every criterion.

    Attributes:
        budgets: mean costs at which they are compared, in `unit`, and last that of the thesis's threshold.
        full: what leaving at the last exit costs.
        right: which test samples are answered rightly, bool [n], by criterion and budget.
        mean: what the test samples cost in the mean, by criterion and budget.
        at_half: mean cost and accuracy of the learned confidence at the thesis's threshold.
        anytime: cost and accuracy of each exit by itself.
        unit: "s" or "MAC".
    """

    budgets: tuple[float, ...]
    full: float
    right: Mapping[str, Sequence[NDArray[np.bool_]]]
    mean: Mapping[str, Sequence[float]]
    at_half: tuple[float, float]
    anytime: tuple[NDArray[np.float64], NDArray[np.float64]]
    unit: str


def compare_criteria(
    chosen_on: RecordedExits, used_on: RecordedExits, costs: Mapping[str, Sequence[float]], *, timed: bool
) -> Compared:
    """Search thresholds for every criterion and budget on one part and judge them on the other.

    Args:
        chosen_on: the calibration part.
        used_on: the test part.
        costs: of leaving at each exit by criterion, [N], in seconds where `timed`, else in multiply-accumulates.
        timed: whether the costs are seconds.
    """
    chosen, used = ({c: _make_table(part, c, costs[c], timed) for c in CRITERIA} for part in (chosen_on, used_on))
    half = [THRESHOLD] * (used["learned"].exits - 1)
    full, first = used["learned"].mean_cost[-1], max(table.mean_cost[0] for table in used.values())
    asked = (*(b * full for b in BUDGETS if b * full >= first), _find_mean(chosen["learned"], half))
    budgets = tuple(float(max(b, first)) for b in asked)
    right, mean = {}, {}
    for name in CRITERIA:
        judged = [*judge_within({"calibration": chosen[name], "test": used[name]}, budgets)]
        right[name] = [answered for answered, _ in judged]
        mean[name] = [float(outcome.mean_s if timed else outcome.macs) for _, outcome in judged]
    anytime = compute_anytime_curve(used["learned"])
    outcome = used["learned"].evaluate(half)
    at_half = _find_mean(used["learned"], half), outcome.quality
    return Compared(
        budgets, float(full), right, mean, at_half, (anytime.cost, anytime.accuracy), used["learned"].cost_unit
    )


def _make_table(recorded: RecordedExits, criterion: str, costs: Sequence[float], timed: bool) -> ReplayTable:
    if not timed:
        return recorded.make_table(criterion, costs)
    return recorded.make_table(criterion, range(1, len(costs) + 1)).with_costs([[cost] for cost in costs])


def _find_mean(table: ReplayTable, thresholds: Sequence[float]) -> float:
    return float(np.asarray(table.mean_cost)[table.leaves_at(thresholds)].mean())


# ---------------------------------------------------------------- costs


@dataclass(frozen=True)
class Costs:
    """What leaving at each exit costs.

    Attributes:
        exits: by criterion, [N], in one unit.
        plain: what the network without exits costs in that unit; None where it is not needed.
        details: for the record.
    """

    exits: Mapping[str, Sequence[float]]
    plain: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def list_shares(self, mean: float) -> dict[str, float]:
        """Time of each exit, and the mean at the thesis's threshold, as shares of the plain network's; empty for counted costs."""
        if self.plain is None:
            return {}
        shares = {f"exit {k} in time": cost / self.plain for k, cost in enumerate(self.exits["learned"], 1)}
        return {**shares, "cost in time": mean / self.plain}


def count_costs(run: Run) -> Costs:
    """Multiply-accumulates of leaving at each exit, the same under every criterion."""
    return Costs(dict.fromkeys(CRITERIA, run.list_macs()))


def measure_costs(run: Run, plain: Run, *, brief: bool) -> Costs:
    """Typical seconds of leaving at each exit under each criterion and of the plain network, all timed interleaved.

    Args:
        run: the network with exits.
        plain: the same architecture without exits.
        brief: for tests: a moment instead of twenty seconds.
    """
    shape = run.load_part("test").shape
    example = torch.zeros(1, *shape)
    seconds, repeats = (0.05, 1) if brief else (4.0, 5)
    with tempfile.TemporaryDirectory() as scratch:
        runners = open_under_criteria(run.load_network(), example, Path(scratch), CRITERIA)
        export(plain.load_network(), example, Path(scratch) / "plain.onnx")
        variants: dict[str, Any] = {"plain": open_plain(runners["learned"], Path(scratch) / "plain.onnx")}
        for criterion, runner in runners.items():
            variants |= {f"{criterion} {k}": partial(runner.forced, exit=k) for k in range(1, runner.exits + 1)}
        timed = time_variants(variants, make_noise(shape), seconds=seconds, repeats=repeats, trace=256)
        for runner in runners.values():
            runner.close()
    typical = {name: one.latency.typical_s for name, one in timed.items()}
    exits = {c: [typical[f"{c} {k}"] for k in range(1, r.exits + 1)] for c, r in runners.items()}
    return Costs(exits, typical["plain"], {"seconds": typical})


# ---------------------------------------------------------------- findings


def examine_criteria(request: Request, runs: Runs, *, timed: bool) -> Findings:
    """Every network under the three criteria, at equal multiply-accumulates or at equal measured time."""
    samples: dict[str, dict[int, NDArray[np.bool_]]] = {}
    values: dict[str, dict[int, float]] = {}
    details: dict[str, Any] = {}
    notes: list[str] = []
    pictures: list[Picture] = []
    for name, by_seed in runs.items():
        if name.endswith("plain"):
            continue
        plain = runs.get(f"{name.split('-')[0]}-plain", {})
        found = {}
        for seed, run in by_seed.items():
            costs = measure_costs(run, plain[seed], brief=request.quick) if timed else count_costs(run)
            parts = run.record_exits("calibration"), run.record_exits("test")
            found[seed] = compare_criteria(*parts, costs.exits, timed=timed)
            details[f"{name}-{seed}"] = {**costs.details, **_describe(found[seed])}
            for key, share in costs.list_shares(found[seed].at_half[0]).items():
                values.setdefault(f"{name}: {key}", {})[seed] = share
        own = _collect(name, found)
        samples |= own
        notes += _compare(name, own)
        pictures.append(draw_criteria(name, next(iter(found.values())), timed=timed))
    return Findings(samples=samples, values=values, details=details, notes=notes, pictures=pictures)


def _name_budget(k: int, compared: Compared) -> str:
    """As a share of the last exit's cost."""
    if k + 1 == len(compared.budgets):
        return "the mean cost of threshold 0.5"
    return f"{units.percent(BUDGETS[k - len(compared.budgets) + 1], 0)} of the last exit's cost"


def _collect(name: str, found: Mapping[int, Compared]) -> dict[str, dict[int, NDArray[np.bool_]]]:
    """Right answers by criterion and budget; budgets that not every seed has are left out."""
    by_key: dict[str, dict[int, NDArray[np.bool_]]] = {}
    for seed, compared in found.items():
        for criterion in CRITERIA:
            for k, right in enumerate(compared.right[criterion]):
                key = f"{name}: {criterion} at {_name_budget(k, compared)}"
                by_key.setdefault(key, {})[seed] = right
    return {key: by_seed for key, by_seed in by_key.items() if len(by_seed) == len(found)}


def examine_training(runs: Runs) -> Findings:
    """Learned confidences with their loss against exits that are all trained to answer, under `max_softmax`, at equal operations."""
    samples: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for name, by_seed in runs.items():
        found = compare_at_equal_macs(
            {name.rsplit("-", 1)[1]: by_seed}, "max_softmax" if name.endswith("sum") else "learned"
        )
        samples |= found.samples
        values |= found.values
    notes = [
        f"{key} against the sum of losses: {_format(compare_samples(flags, samples[_name_ordinary(key)]))}"
        for key, flags in samples.items()
        if key != _name_ordinary(key)
    ]
    return Findings(samples=samples, values=values, notes=[*found.notes, *notes])


def _name_ordinary(key: str) -> str:
    """The same figure of the network that is trained by the sum."""
    return f"sum: {key.split(': ', 1)[1]}"


def _compare(name: str, samples: Mapping[str, Mapping[int, NDArray[np.bool_]]]) -> Iterator[str]:
    """How far the learned confidence lies above each other criterion at each budget, paired by sample and seed."""
    for key, learned in samples.items():
        budget = key.removeprefix(f"{name}: learned at ")
        if budget != key:
            for other in CRITERIA[1:]:
                difference = compare_samples(learned, samples[f"{name}: {other} at {budget}"])
                yield f"{name}: learned against {other} at {budget}: {_format(difference)}"


def _format(difference: Estimate) -> str:
    low, high = (100 * (value or 0.0) for value in (difference.low, difference.high))
    return f"{units.points(difference.mean)} ({low:+.2f} to {high:+.2f} over {difference.over})."


def _describe(compared: Compared) -> dict[str, Any]:
    return {
        "unit": compared.unit,
        "budgets": compared.budgets,
        "mean_cost": compared.mean,
        "accuracy": {c: [float(r.mean()) for r in right] for c, right in compared.right.items()},
        "threshold_0.5": {"mean_cost": compared.at_half[0], "accuracy": compared.at_half[1]},
        "each_exit": {"cost": compared.anytime[0].tolist(), "accuracy": compared.anytime[1].tolist()},
    }


def draw_criteria(name: str, compared: Compared, *, timed: bool) -> Figure:
    """Accuracy against mean cost under each criterion, the thesis's threshold and each exit by itself."""
    label, scale = ("mean latency, µs", 1e-6) if timed else ("mean multiply-accumulates, k", 1e3)
    marks: list[Line | Points] = []
    for criterion in CRITERIA:
        order = np.argsort(compared.mean[criterion])
        accuracy = np.array([float(right.mean()) for right in compared.right[criterion]])
        xs, dashed = np.asarray(compared.mean[criterion])[order], criterion == "entropy"
        marks.append(Line(xs, accuracy[order], _TONES[criterion], criterion, dashed=dashed, thick=True))
    cost, right = compared.at_half
    marks.append(Points(np.array([cost]), np.array([right]), POLICY, "threshold 0.5", large=True))
    return Figure(
        f"eenet-criteria-{name}{'-latency' if timed else ''}",
        f"{name}: three criteria on the same exits",
        "Test part; thresholds searched on the calibration part at each budget. The large point is the thesis's threshold.",
        Axis(label, scale=scale),
        Axis("accuracy, %", scale=0.01),
        tuple(marks),
    )
