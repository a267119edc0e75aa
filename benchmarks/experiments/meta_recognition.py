"""Does a learned confidence head at each exit beat entropy at the same latency? (BranchyNet, section V-B, which leaves it as future work)

    python -m benchmarks meta_recognition --run runs/alexnet

Four scores on the same trained network, each compiled into its stages: entropy; the largest softmax probability; a small perceptron on
the sorted softmax, its entropy and the agreement with earlier exits; and OpenMax's extra class. The last two are fitted on one half of
the calibration part, thresholds of all four are chosen on the other half, and the figures are from the test part. Every score pays for
itself: budgets are mean latencies that the same machine measured, all scores interleaved.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import Case, open_plain, print_table, record, time_variants
from benchmarks.experiments._runs import load_joint, load_plain, make_example, open_network
from edgeexit.calibration import ReplayTable, optimise, replay_table
from edgeexit.data import Dataset, load_data
from edgeexit.exporter import export
from edgeexit.hardware import read_device_state
from edgeexit.measure.statistics import NORMAL_95
from edgeexit.runtime import Runner
from edgeexit.training import TrainingRecipe
from edgeexit.training.meta import fit_openmax_heads, fit_softmax_heads
from edgeexit.training.run_folder import read_run_recipe
from edgeexit.util import units

SHARES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
"""Budgets between leaving everything at the first exit (0) and at the last (1), by the costs of the entropy network."""


class Rule(NamedTuple):
    """One score: the network that makes it, and the criterion that it is compiled with."""

    network: torch.nn.Module
    criterion: str


def make_rules(run: Path, fit: Dataset) -> dict[str, Rule]:
    """The four criteria that are compared; the learned ones are fitted on `fit`."""
    return {
        "entropy": Rule(load_joint(run), "entropy"),
        "max softmax": Rule(load_joint(run), "max_softmax"),
        "perceptron": Rule(fit_softmax_heads(load_joint(run), fit), "learned"),
        "OpenMax": Rule(fit_openmax_heads(load_joint(run), fit), "learned"),
    }


def split_halves(data: Dataset, seed: int = 0) -> tuple[Dataset, Dataset]:
    """The samples divided into two halves at random."""
    order = np.random.default_rng(seed).permutation(len(data))
    middle = len(order) // 2
    return data.take(np.sort(order[:middle])), data.take(np.sort(order[middle:]))


def replay(runner: Runner, data: Dataset, costs: NDArray[np.float64]) -> ReplayTable:
    """Every exit on every sample of a part of the data under one score, with the measured costs [N]."""
    scores, logits = runner.replay(data.inputs)
    return replay_table(logits, data.y, None, scores=scores, cost_s=costs)


def measure_costs(
    runners: Mapping[str, Runner], plain: Runner, data: Dataset, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Typical seconds of leaving at each exit, [N] per score, and of the plain network."""
    variants: dict[str, Any] = {"plain": plain}
    for name, runner in runners.items():
        variants |= {f"{name} {k}": partial(runner.forced, exit=k) for k in range(1, runner.exits + 1)}
    timed = time_variants(variants, data, seconds=arguments.seconds, repeats=arguments.repeats)
    typical = {variant: t.latency.typical_s for variant, t in timed.items()}
    per_rule = {n: np.array([typical[f"{n} {k}"] for k in range(1, r.exits + 1)]) for n, r in runners.items()}
    return {"plain": typical["plain"], **per_rule}


def rank_samples(part: ReplayTable) -> list[float]:
    """Area under the ROC curve of each early exit's score as a predictor of its being right."""
    assert part.correct is not None
    return [_auc(part.scores[:, k], part.correct[:, k]) for k in range(part.exits - 1)]


def _auc(score: NDArray[np.float32], right: NDArray[np.bool_]) -> float:
    order = np.argsort(score, kind="stable")
    values, places = np.unique(score[order], return_inverse=True)
    ends = np.bincount(places, minlength=len(values)).cumsum()
    middle_rank = np.empty(len(score))
    middle_rank[order] = ((np.append(0, ends[:-1]) + ends + 1) / 2)[places]
    wins = middle_rank[right].sum() - right.sum() * (right.sum() + 1) / 2
    return float(wins / (right.sum() * (~right).sum()))


def compare(
    budgets: Sequence[float], choose: Mapping[str, ReplayTable], test: Mapping[str, ReplayTable]
) -> list[dict[str, Any]]:
    """Per budget and score: test accuracy, mean latency, and the paired difference from entropy with its 95 % interval."""
    rows = []
    for budget in budgets:
        answers = {name: _judge_score(budget, choose[name], test[name]) for name in choose}
        base = answers["entropy"]["right"]
        row: dict[str, Any] = {"budget_s": budget}
        for name, answer in answers.items():
            difference = answer.pop("right").astype(float) - base
            half = NORMAL_95 * difference.std() / np.sqrt(len(difference))
            row[name] = {**answer, "over_entropy": float(difference.mean()), "interval_95": float(half)}
        rows.append(row)
    return rows


def _judge_score(budget: float, choose: ReplayTable, test: ReplayTable) -> dict[str, Any]:
    policy = optimise(choose, f"mean<={budget * 1e6:.6f}us")
    leaves = test.leaves_at(policy.thresholds)
    assert test.correct is not None
    right = test.correct[np.arange(len(leaves)), leaves]
    return {"right": right, "accuracy": float(right.mean()), "mean_s": test.evaluate_leaves(leaves).mean_s}


def main() -> None:
    """Run the experiment that the command line describes, print its table and record its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished `edgeexit train`")
    parser.add_argument("--seconds", type=float, default=6.0, help="of timing in each repeat, all variants together")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    before, recipe = read_device_state(), read_run_recipe(arguments.run)
    fit, chosen_on = split_halves(load_data(f"{recipe.data}:calibration"))
    test = load_data(f"{recipe.data}:test")
    with tempfile.TemporaryDirectory() as scratch:
        runners = open_networks(make_rules(arguments.run, fit), recipe, Path(scratch))
        export(load_plain(arguments.run), make_example(recipe), Path(scratch) / "plain.onnx")
        costs = measure_costs(runners, open_plain(runners["entropy"], Path(scratch) / "plain.onnx"), test, arguments)
        on_choose, on_test = ({n: replay(r, part, costs[n]) for n, r in runners.items()} for part in (chosen_on, test))
    first, last = max(float(costs[n][0]) for n in runners), float(costs["entropy"][-1])
    rows = compare([first + s * (last - first) for s in SHARES], on_choose, on_test)
    columns = ("mean latency at most", *runners)
    note = (
        "Accuracy on the test part; in brackets the difference from entropy in points with its 95 % interval, paired."
    )
    print_table(
        f"{arguments.run.name}: scores at equal measured latency",
        columns,
        [_format_row(r, list(runners)) for r in rows],
        note,
    )
    areas = {n: rank_samples(part) for n, part in on_test.items()}
    head = ("score", *(f"exit {k}" for k in range(1, len(costs["entropy"]))))
    print_table(
        "area under the ROC curve: correct against wrong predictions",
        head,
        [(n, *(f"{a:.4f}" for a in x)) for n, x in areas.items()],
    )
    arguments.run = arguments.run.name
    body = {"costs_s": {n: np.asarray(c).tolist() for n, c in costs.items()}, "budgets": rows, "auroc": areas}
    record("meta_recognition", Case(str(arguments.run), Path(), None, "", ""), arguments, body, before)


def open_networks(found: Mapping[str, Rule], recipe: TrainingRecipe, folder: Path) -> dict[str, Runner]:
    """Every score's network, exported, compiled and opened."""
    return {
        name: open_network(rule.network, make_example(recipe), folder / str(i), rule.criterion)
        for i, (name, rule) in enumerate(found.items())
    }


def _format_row(row: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    cells = [units.seconds(row["budget_s"])]
    for name in names:
        r = row[name]
        against = "" if name == "entropy" else f" ({100 * r['over_entropy']:+.2f} ± {100 * r['interval_95']:.2f})"
        cells.append(f"{units.percent(r['accuracy'])}{against}")
    return tuple(cells)


if __name__ == "__main__":
    main()
