"""What training does to a network with exits: start, weights of the losses, depth of the first branch (sections IV, V-A, V-C).

Every part has the plain network beside it, once as it is when the exits start from it and once trained on for as long as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.papers.frame.parts import Findings, Request, SamplesBySeed
from benchmarks.papers.frame.training import Run, Runs, Variant
from edgeexit.criteria import criterion
from edgeexit.report.plot.figure import BACKBONE, Axis, Figure, Line, Mark, Points, choose_exit_tone
from edgeexit.report.table import Table
from edgeexit.training import TrainingRecipe, load_recipe
from edgeexit.training.phases import FRESH
from edgeexit.util import units

CONFIDENT = 0.05
"""Nats: the larger of B-AlexNet's two thresholds in Table I."""
DEPTHS = range(5)
WEIGHTS: Mapping[str, tuple[float, float]] = {
    "first-2-convs": (1.0, 0.3),
    "equal-weights": (1.0, 1.0),
    "light-first": (0.3, 1.0),
}
"""Weights of the first and the last exit by variant; the first is the network of the same name in part `depth`."""

AUGMENTED = "Training images are augmented. The paper does not say so; its code crops and flips those of CIFAR-10."
ONE_SEED = (
    "One seed: the intervals say how far other test images would move a figure, not how far another training would."
)

START_NAMES = {
    "all-exits": "all exits, from the plain network's weights",
    "scratch": "all exits, fresh weights",
    "scratch-longer": "all exits, fresh weights, as long in all",
}
WEIGHT_NAMES = {name: f"weights {first:g} and {last:g}" for name, (first, last) in WEIGHTS.items()}
DEPTH_NAMES = {f"first-{depth}-convs": units.format_count(depth, "convolution") for depth in DEPTHS}


# ---------------------------------------------------------------- what is trained


PRESETS = {"alexnet-cifar10": "short", "lenet-mnist": "quick"}
"""Of the recipes: a few epochs each, so that there is time for many networks with seeds."""


def load_sized_recipe(request: Request, recipe: str) -> TrainingRecipe:
    """The recipe with few epochs; the short version trains one on the digits that edgeexit ships."""
    found = replace(load_recipe(recipe, preset=PRESETS[recipe]), evaluate_every=0)
    return replace(found.with_epochs(1), data="digits", precision="float32") if request.quick else found


def list_start_variants(request: Request, recipe: str, prefix: str = "") -> dict[str, Variant]:
    """All exits from the plain network's weights, from fresh ones, and from fresh ones for as many epochs as both phases have."""
    base = load_sized_recipe(request, recipe)
    started = base.without_phase("control")
    scratch = started.without_phase("plain").with_phase("joint", start=FRESH)
    epochs = base.phases["plain"].epochs + base.phases["joint"].epochs
    return {
        f"{prefix}plain": make_plain_variant(base),
        f"{prefix}all-exits": Variant(started, earlier=f"{prefix}plain"),
        f"{prefix}scratch": Variant(scratch),
        f"{prefix}scratch-longer": Variant(scratch.with_phase("joint", epochs=epochs)),
    }


def list_weight_variants(request: Request, recipe: str, prefix: str = "") -> dict[str, Variant]:
    """The first and the last exit under several weights of their losses."""
    base = load_sized_recipe(request, recipe)
    made = {f"{prefix}{name}": make_two_exits(base, prefix, weights) for name, weights in WEIGHTS.items()}
    return {f"{prefix}plain": make_plain_variant(base), **made}


def list_depth_variants(request: Request) -> dict[str, Variant]:
    """The first and the last exit, with 0 to 4 convolutions in the first branch."""
    base = load_sized_recipe(request, "alexnet-cifar10")
    made = {f"first-{depth}-convs": make_two_exits(base, "", WEIGHTS["first-2-convs"], depth) for depth in DEPTHS}
    return {"plain": make_plain_variant(base), **made}


def make_plain_variant(base: TrainingRecipe) -> Variant:
    """The plain network, and the same trained on for as long as the exits are."""
    return Variant(base.without_phase("joint"))


def make_two_exits(base: TrainingRecipe, prefix: str, weights: Sequence[float], convolutions: int = 2) -> Variant:
    """The network with the first and the last exit only (B-LeNet has no others), from the plain network's weights."""
    options = {"first_only": True, "first_convs": convolutions} if base.network == "alexnet" else {}
    joint = base.without_phase("control").with_phase(
        "joint", loss="branchynet", options={"weights": list(weights)}, network=options
    )
    return Variant(joint, earlier=f"{prefix}plain")


# ---------------------------------------------------------------- what is found out


def examine_training(runs: Runs, prefix: str = "") -> Findings:
    """Right answers of every exit of every variant, and of the plain network, on the test part."""
    samples: dict[str, SamplesBySeed] = {}
    for name, by_seed in runs.items():
        label = name.removeprefix(prefix)
        for seed, run in by_seed.items():
            found = read_plain(run) if label == "plain" else read_exits(run)
            for key, values in found.items():
                samples[f"{label}: {key}"] = {**samples.get(f"{label}: {key}", {}), seed: values}
    plain = runs[f"{prefix}plain"]
    first = next(iter(plain.values())).recipe
    notes = [describe_schedule(first), AUGMENTED, *([ONE_SEED] if len(plain) == 1 else [])]
    return Findings(samples=samples, notes=notes)


def describe_schedule(plain: TrainingRecipe) -> str:
    """How long everything is trained, beside the paper, in a sentence; from the recipe of the plain network."""
    phases = plain.phases
    epochs = f"{phases['plain'].epochs} + {phases['control'].epochs}"
    return f"Trained for {epochs} epochs (the authors' code: 50 + 100), batch {phases['plain'].batch}, a falling step size."


def read_plain(run: Run) -> dict[str, NDArray[np.bool_]]:
    """Right answers of the plain network when the exits start from it, and trained on for as long as they are, bool [n]."""
    found = {}
    for key, phase in {"accuracy": "plain", "accuracy, as long": "control"}.items():
        recorded = run.record_exits("test", phase)
        found[key] = recorded.logits[:, 0].argmax(-1) == recorded.labels
    return found


def read_exits(run: Run) -> dict[str, NDArray[np.bool_]]:
    """Right answers of every exit, and which samples the first is confident about, bool [n]."""
    recorded = run.record_exits("test", "joint")
    right = recorded.logits.argmax(-1) == recorded.labels[:, None]
    count, rule = right.shape[1], criterion("entropy")
    table = recorded.make_table(rule, run.list_macs("joint"))
    names = [*(f"exit {k}" for k in range(1, count)), "last exit"]
    found = {name: right[:, k] for k, name in enumerate(names)}
    return {**found, "confident at exit 1": table.scores[:, 0] >= rule.inner(CONFIDENT)}


def show_training(record: Mapping[str, Any], names: Mapping[str, str]) -> Sequence[Table]:
    """Accuracy of every exit of every variant, and how many samples the first is confident about.

    Args:
        record: of a part.
        names: how the variants are called in the table.
    """
    values = record["values"]
    present = [what for what in SHOWN if any(f"{label}: {what}" in values for label in names)]
    rows = [
        ("plain network", *[""] * (len(present) - 2), format_estimate(values["plain: accuracy"]), ""),
        ("plain network, as long", *[""] * (len(present) - 2), format_estimate(values["plain: accuracy, as long"]), ""),
        *((name, *(format_estimate(values[f"{label}: {what}"]) for what in present)) for label, name in names.items()),
    ]
    return [
        Table(f"{record['part']}: accuracy", ("", *present[:-1], NEAR_CERTAIN), tuple(rows), " ".join(record["notes"]))
    ]


SHOWN = ("exit 1", "exit 2", "last exit", "confident at exit 1")
NEAR_CERTAIN = f"at most {CONFIDENT} nats at exit 1"


def format_estimate(value: Mapping[str, Any]) -> str:
    """The mean, in brackets its interval."""
    interval = "" if value["low"] is None else f" ({units.percent_range(value['low'], value['high'])})"
    return units.percent(value["mean"]) + interval


def examine_depth(runs: Runs) -> Findings:
    """Figure 5, and the mean of all depths with at least one convolution."""
    found = examine_training(runs)
    last = {depth: found.samples[f"first-{depth}-convs: last exit"] for depth in DEPTHS}
    some = {seed: np.mean([last[depth][seed] for depth in DEPTHS if depth], axis=0) for seed in last[0]}
    samples = {**found.samples, "1 to 4 convolutions: last exit": some}
    return replace(found, samples=samples, pictures=[draw_figure_5(samples)])


def _average(by_seed: SamplesBySeed) -> dict[int, float]:
    return {seed: float(np.mean(values)) for seed, values in by_seed.items()}


def draw_figure_5(samples: Mapping[str, SamplesBySeed]) -> Figure:
    """Accuracy of both exits against the convolutions in the first branch: means, and every seed as a point."""
    marks: list[Mark] = []
    xs = np.array(DEPTHS, np.float64)
    for exit, key, label in ((2, "last exit", "last exit"), (1, "exit 1", "exit 1")):
        values = [_average(samples[f"first-{depth}-convs: {key}"]) for depth in DEPTHS]
        means = np.array([np.mean([*by_seed.values()]) for by_seed in values])
        marks.append(Line(xs, means, choose_exit_tone(exit), label, thick=exit == 2))
        of_seeds = (np.array([by_seed[seed] for by_seed in values]) for seed in values[0])
        marks += [Points(xs, found, choose_exit_tone(exit)) for found in of_seeds]
    control = np.mean([*_average(samples["plain: accuracy, as long"]).values()])
    marks.append(Line(xs, np.full(len(xs), control), BACKBONE, "plain network, trained as long", dashed=True))
    return Figure(
        "branchynet-figure-5",
        "B-AlexNet: convolutions in the first branch (BranchyNet, figure 5)",
        "Test accuracy of the network with the first and the last exit only; lines are means over the seeds, points are the seeds.",
        Axis("convolutions in branch 1"),
        Axis("accuracy, %", scale=0.01),
        tuple(marks),
    )
