"""A learned policy against calibrated confidence thresholds on the same cascade, at equal operations and equal measured time.

Not in the paper; the question of every user of a cascade: is a policy worth fitting? Thresholds of every rule, those of the stopping
probabilities too, are the best within a mean cost on samples that no policy was fitted on, and are judged on the test part.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import make_noise, time_variants
from benchmarks.experiments._runs import open_under_criteria
from benchmarks.papers.amortized.policies import Cascade, Setting, fit_alone, record_cascade, with_policies
from benchmarks.papers.frame.parts import Findings, Request
from benchmarks.papers.frame.training import Run, Runs
from edgeexit.analysis import compute_searched_curve
from edgeexit.calibration import ReplayTable
from edgeexit.report.plot.figure import BACKBONE, POLICY, Axis, Figure, Line, Points, choose_exit_tone
from edgeexit.training.metrics import RecordedExits

RULES = ("learned_mean", "learned", "max_softmax", "entropy")
BUDGETS = (0.1, 0.15, 0.25, 0.35, 0.5, 0.7)
"""Mean costs as shares of running the whole cascade."""
_TONES = {
    "learned_mean": POLICY,
    "learned": choose_exit_tone(2, 3),
    "max_softmax": choose_exit_tone(3, 3),
    "entropy": BACKBONE,
}


def examine_thresholds(request: Request, runs: Runs, setting: Setting, *, timed: bool) -> Findings:
    """Accuracy of every rule at equal mean cost, on the classifiers that were trained alone and on those of the joint training.

    Args:
        request: the request.
        runs: classifiers and jointly trained cascade.
        setting: which cascade.
        timed: cost is measured: every rule's own program, for a softmax or a policy costs time as well.
    """
    samples: dict[str, dict[int, NDArray[Any]]] = {}
    values: dict[str, dict[int, float]] = {}
    details: dict[str, Any] = {}
    for seed, run in runs[f"{setting.prefix}classifiers"].items():
        costs = measure_costs(run, brief=request.quick) if timed else None
        details |= {f"seconds of each exit, seed {seed}": costs} if costs else {}
        cascade, alpha = record_cascade(run), setting.joint[""]
        policies = fit_alone(cascade, alpha, seed)
        parts = with_policies(cascade.chosen, policies), with_policies(cascade.test, policies)
        _compare("alone", seed, cascade, parts, costs=costs, samples=samples, values=values)
        joint = record_cascade(runs[f"{setting.prefix}joint"][seed])
        _compare("joint", seed, joint, (joint.chosen, joint.test), costs=costs, samples=samples, values=values)
    notes = (
        "Budgets are shares of the cost of running the whole cascade. Thresholds are the best within a budget on the half of the "
        "calibration part that no policy was fitted on; what they cost on the test part differs a little and is recorded as `used`.",
        "learned_mean answers with the classifiers so far, weighted by their stopping probabilities; the others with the one it stops at.",
    )
    picture = _draw(setting, samples, values, timed=timed)
    return Findings(samples=samples, values=values, details=details, notes=notes, pictures=[picture])


def _compare(
    name: str,
    seed: int,
    cascade: Cascade,
    parts: tuple[RecordedExits, RecordedExits],
    *,
    costs: Mapping[str, Sequence[float]] | None,
    samples: dict[str, dict[int, NDArray[Any]]],
    values: dict[str, dict[int, float]],
) -> None:
    """Put what every rule does within every budget."""
    full = cascade.reach[-1] if costs is None else max(own[-1] for own in costs.values())
    for rule in RULES:
        chosen, used = (_make_table(part, rule, cascade, costs) for part in parts)
        least = float(chosen.mean_cost[0])
        budgets = [max(share * full, least) for share in BUDGETS]
        curve = compute_searched_curve(chosen, used, budgets=budgets)
        assert curve.thresholds is not None, "the search gives thresholds"
        assert used.correct is not None, "test samples have labels"
        for share, thresholds in zip(BUDGETS, curve.thresholds, strict=True):
            leaves = used.leaves_at(thresholds)
            key = f"{name}: {rule} at {share:.0%}"
            samples.setdefault(f"{key}: accuracy", {})[seed] = np.take_along_axis(
                used.correct, leaves[:, None], axis=1
            )[:, 0]
            values.setdefault(f"{key}: used", {})[seed] = float(used.mean_cost[leaves].mean())


def _make_table(
    recorded: RecordedExits, rule: str, cascade: Cascade, costs: Mapping[str, Sequence[float]] | None
) -> ReplayTable:
    table = recorded.make_table(rule, cascade.reach.tolist())
    return table if costs is None else table.with_costs([[cost] for cost in costs[rule]])


def measure_costs(run: Run, *, brief: bool) -> dict[str, list[float]]:
    """Typical seconds of leaving at each exit by rule, all timed in turn; a policy costs what its shape does, whatever its weights are.

    Args:
        run: a cascade with policies.
        brief: a moment, for tests.
    """
    shape = run.load_part("test").shape
    example = torch.zeros(1, *shape)
    seconds, repeats = (0.05, 1) if brief else (4.0, 5)
    with tempfile.TemporaryDirectory() as scratch:
        runners = open_under_criteria(run.load_network(), example, Path(scratch), RULES)
        calls: dict[str, Any] = {
            f"{rule} {k}": partial(runner.forced, exit=k)
            for rule, runner in runners.items()
            for k in range(1, runner.exits + 1)
        }
        timed = time_variants(calls, make_noise(shape), seconds=seconds, repeats=repeats, trace=256)
        for runner in runners.values():
            runner.close()
    return {
        rule: [timed[f"{rule} {k}"].latency.typical_s for k in range(1, runner.exits + 1)]
        for rule, runner in runners.items()
    }


def _draw(
    setting: Setting,
    samples: Mapping[str, Mapping[int, NDArray[Any]]],
    values: Mapping[str, Mapping[int, float]],
    *,
    timed: bool,
) -> Figure:
    """Accuracy against cost on the classifiers that were trained alone, means over the seeds."""
    marks: list[Line | Points] = []
    for rule in RULES:
        keys = [f"alone: {rule} at {share:.0%}" for share in BUDGETS]
        xs = np.array([np.mean([*values[f"{key}: used"].values()]) for key in keys])
        ys = np.array([np.mean([v.mean() for v in samples[f"{key}: accuracy"].values()]) for key in keys])
        # Points as well: a rule that needs no larger budget has a line without length.
        marks += [Line(xs, ys, _TONES[rule], rule, thick=rule.startswith("learned")), Points(xs, ys, _TONES[rule])]
    name = f"amortized-{setting.prefix or 'cifar10-'}{'latency' if timed else 'thresholds'}"
    label = Axis("mean latency, ms", scale=1e-3) if timed else Axis("mean multiply-accumulates, M", scale=1e6)
    title = f"{'MNIST' if setting.prefix else 'CIFAR-10'}: a learned policy and confidence thresholds"
    caption = "Test part; thresholds are the best within each budget on other samples."
    return Figure(name, title, caption, label, Axis("accuracy, %", scale=0.01), tuple(marks))
