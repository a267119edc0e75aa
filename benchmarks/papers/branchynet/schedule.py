"""B-AlexNet trained by the paper's own schedule: what the printed thresholds do on it, figures 3 and 4.

Its exits cost what those of the recorded case cost, whose network is the same with other weights, so that nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import Case
from benchmarks.experiments.branchynet import SCREENS, Found, choose, draw_figure_3, draw_figure_4, make_row, sweep
from benchmarks.papers.branchynet.table_1 import (
    AT_PRINTED,
    BESIDE,
    CHOSEN,
    CLOCKS,
    find_case_records,
    format_accuracy,
    format_rates,
    format_thresholds,
)
from benchmarks.papers.branchynet.table_1_printed import read_printed_row
from benchmarks.papers.branchynet.training import ONE_SEED
from benchmarks.papers.frame.parts import Findings, Request
from benchmarks.papers.frame.training import Run, Runs, Variant
from edgeexit.calibration import ReplayTable, replay_table
from edgeexit.criteria import criterion
from edgeexit.report.plot.figure import Picture
from edgeexit.report.table import Table
from edgeexit.training import load_recipe
from edgeexit.util import units

ENTROPY = criterion("entropy")
NOTES = (
    "Trained in bfloat16; branches where the authors' code has them. 10,000 of the 50,000 training images are kept for calibration.",
    "No augmentation: the paper names none. Its code crops and flips, which makes exits less confident as a rule.",
    "Gains are computed from the recorded costs of the exits of alexnet-cifar10, the same network with other weights.",
    "The plain network is the one that the exits start from, as in the paper.",
)


SHORT: Mapping[str, int] = {"plain": 20, "joint": 40}
"""Epochs of the phases of part `schedule-short`."""


def list_schedules(
    request: Request, epochs: Mapping[str, int] | None = None, name: str = "paper"
) -> dict[str, Variant]:
    """The paper's schedule, with fewer epochs where they are given; the short version trains one on the digits that edgeexit ships."""
    recipe = load_recipe("alexnet-cifar10", preset="paper,bfloat16")
    for phase, number in (epochs or {}).items():
        recipe = recipe.with_phase(phase, epochs=number)
    if request.quick:
        recipe = replace(recipe.with_epochs(1), data="digits", precision="float32")
    return {name: Variant(recipe)}


@dataclass(frozen=True)
class Replayed:
    """A trained network on both parts of the data, its costs those of the honest clock."""

    calibration: ReplayTable
    test: ReplayTable
    confidence: NDArray[np.float64]
    """Mean of the largest probability of each exit on the test part, [N]."""


def examine_schedule(request: Request, runs: Runs, name: str = "paper") -> Findings:  # noqa: ARG001 - one signature for all
    """Right answers, exit rates and gains at the printed thresholds, and what the calibration part would choose."""
    costs = read_costs()
    samples: dict[str, dict[int, Any]] = {}
    values: dict[str, dict[int, float]] = {}
    details: dict[str, Any] = {}
    pictures: list[Picture] = []
    for seed, run in runs[name].items():
        replayed = replay_run(run, costs)
        chosen = choose(replayed.calibration, replayed.test, ENTROPY, costs, SCREENS["alexnet"])
        chosen[AT_PRINTED] = make_row(replayed.test, ENTROPY, costs, read_printed_row("alexnet").thresholds)
        for key, found in list_samples(replayed.test).items():
            samples.setdefault(key, {})[seed] = found
        for key, value in list_values(replayed, chosen[AT_PRINTED]).items():
            values.setdefault(key, {})[seed] = value
        rows = list(sweep(replayed.test, ENTROPY, costs, SCREENS["alexnet"]))
        details[str(seed)] = {
            "chosen": chosen,
            "below_at_exit_1": {r["thresholds"][0]: r["exit_rates"][0] for r in rows},
        }
        pictures = pictures or draw_pictures(f"alexnet-{name}-schedule", replayed, chosen, rows, costs)
    notes = [describe_epochs(next(iter(runs[name].values()))), *NOTES, *([ONE_SEED] if len(runs[name]) == 1 else [])]
    return Findings(samples=samples, values=values, details=details, notes=notes, pictures=pictures)


def read_costs() -> dict[str, Any]:
    """Seconds of leaving at each exit under both clocks, and of the plain network, as recorded."""
    costs = find_case_records()[BESIDE["alexnet"]]["costs_s"]
    return {"plain": costs["plain"], **{clock: np.array(costs[clock]) for clock in CLOCKS}}


def replay_run(run: Run, costs: Mapping[str, Any]) -> Replayed:
    """Every exit of a trained network on both parts, beside its plain network."""
    tables, confidence = {}, np.zeros(0)
    for part in ("calibration", "test"):
        found, plain = (run.record_exits(part, phase) for phase in ("joint", "plain"))
        tables[part] = replay_table(
            found.logits, found.labels, ENTROPY, cost_s=costs["honest"], plain=plain.logits[:, 0].argmax(-1)
        )
        shifted = np.exp(found.logits - found.logits.max(-1, keepdims=True))
        confidence = (1 / shifted.sum(-1)).mean(axis=0)
    return Replayed(tables["calibration"], tables["test"], confidence)


def list_samples(test: ReplayTable) -> dict[str, NDArray[Any]]:
    """Per test sample: right answers of the plain network, of every exit and at the printed thresholds, and where it leaves then."""
    assert test.correct is not None
    leaves = test.leaves_at([ENTROPY.inner(t) for t in read_printed_row("alexnet").thresholds])
    exits = range(test.exits)
    return {
        "plain: accuracy": test.backbone_right,
        **{f"exit {k + 1}: accuracy": test.correct[:, k] for k in exits},
        "printed thresholds: accuracy": test.correct[np.arange(len(test)), leaves],
        **{f"printed thresholds: leave at exit {k + 1}": leaves == k for k in exits},
    }


def list_values(replayed: Replayed, at_printed: Mapping[str, Any]) -> dict[str, float]:
    """Gains at the printed thresholds, and how far each exit's confidence lies above its accuracy."""
    assert replayed.test.correct is not None
    above = replayed.confidence - replayed.test.correct.mean(axis=0)
    return {
        "printed thresholds: gain, paper's clock": at_printed["gain"]["paper"],
        "printed thresholds: gain, honest clock": at_printed["gain"]["honest"],
        **{f"exit {k}: confidence above accuracy": float(value) for k, value in enumerate(above, 1)},
    }


def describe_epochs(run: Run) -> str:
    """How long it was trained, beside the authors' code."""
    plain, joint = (run.recipe.phases[name] for name in ("plain", "joint"))
    own = f"{plain.epochs} + {joint.epochs} epochs, batch {joint.batch}"
    return f"{own}; the authors' code has 50 + 100 and 512, the paper prints neither."


def draw_pictures(
    name: str, replayed: Replayed, chosen: dict[str, Any], rows: list[dict[str, Any]], costs: dict[str, Any]
) -> list[Picture]:
    """Figures 3 and 4 of the network."""
    case = Case(name, Path(), None, "", "", "alexnet", "code")
    found = Found(ENTROPY, costs, replayed.calibration, replayed.test, chosen, float("nan"))
    return [draw_figure_3(case, found, rows), draw_figure_4(case, ENTROPY, replayed.test)]


def show_schedule(record: Mapping[str, Any]) -> list[Table]:
    """The printed row; by seed the printed thresholds and those that the calibration part would choose; how confident the exits are."""
    printed = read_printed_row("alexnet")
    rates, thresholds = format_rates(printed.exit_rates), format_thresholds(printed.thresholds)
    accuracy, gain = units.percent(printed.accuracy), units.ratio(printed.gain_cpu)
    rows: list[tuple[str, ...]] = [("printed, CPU", thresholds, accuracy, gain, "", rates)]
    for seed, found in record["details"].items():
        for name in (AT_PRINTED, CHOSEN):
            row = found["chosen"][name]
            gains = [units.ratio(row["gain"][clock]) for clock in CLOCKS]
            thresholds, rates = format_thresholds(row["thresholds"]), format_rates(row["exit_rates"])
            rows.append((f"{name}, seed {seed}", thresholds, format_accuracy(row), *gains, rates))
    columns = ("", "T", "accuracy", "gain, paper's clock", "gain, honest clock", "leave at exit 1, 2, …")
    return [
        Table("B-AlexNet by the paper's schedule", columns, tuple(rows), " ".join(record["notes"])),
        Table("Its exits", EXIT_COLUMNS, tuple(list_exits(record["values"]))),
    ]


EXIT_COLUMNS = ("", "accuracy", "mean confidence above it, points")


def list_exits(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The plain network, then every exit: accuracy, and how far the mean of its largest probability lies above."""
    plain = read_printed_row("alexnet").plain_accuracy
    yield (f"plain network (printed: {units.percent(plain)})", units.percent(values["plain: accuracy"]["mean"]), "")
    for k in takewhile(lambda k: f"exit {k}: accuracy" in values, count(1)):
        accuracy, above = (values[f"exit {k}: {what}"]["mean"] for what in ("accuracy", "confidence above accuracy"))
        yield (f"exit {k}", units.percent(accuracy), units.points(above).removesuffix(" points"))
