"""What the parts of the cascade losses share: the variants that are trained, the exit rule, the pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.papers._parts import Findings, Request
from benchmarks.papers._training import Run, Runs, Variant
from edgeexit.report.plot.figure import BACKBONE, Axis, Bar, BarFigure, Figure, Line, Picture, choose_exit_tone
from edgeexit.training import TrainingRecipe, load_recipe

THRESHOLD = 0.6
"""Section 5."""
SHOWN = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Thresholds whose figures are recorded with intervals."""
GRID = np.linspace(0, 1, 21)
"""Thresholds of the curves."""
LOSSES = ("sum", "soft", "firm")
PLACES = ("p2", "p1")
PRINTED_FIRM = {"alpha": 128.0, "penalty": 0.6, "elementwise": True, "last_gated": True}
READINGS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "soft-logits": ("soft", {"reading": "logits"}),
    "firm-logits": ("firm", {**PRINTED_FIRM, "reading": "logits"}),
    "firm-whole": ("firm", {"alpha": 128.0, "penalty": 0.6}),
    "firm-whole-logits": ("firm", {"alpha": 128.0, "penalty": 0.6, "reading": "logits"}),
}
"""Other readings: P* given to a framework's cross-entropy as logits; the step of the most probable class for the whole answer."""


# ---------------------------------------------------------------- what is trained


def list_loss_variants(request: Request, recipe: str, prefix: str, *, readings: bool) -> dict[str, Variant]:
    """The network without the exit, the three losses at both places, and other readings of two of them with one seed."""
    found = {f"{prefix}-base": make_base_variant(request, recipe)}
    for place in PLACES:
        for loss in LOSSES:
            found[f"{prefix}-{loss}-{place}"] = make_loss_variant(request, recipe, prefix, loss, place)
    for name, (loss, options) in READINGS.items() if readings else ():
        variant = make_loss_variant(request, recipe, prefix, loss, "p2")
        other = variant.recipe.with_phase("cascade", options=options)
        found[f"{prefix}-{name}-p2"] = replace(variant, recipe=other, seeds=1)
    return found


def make_base_variant(request: Request, recipe: str) -> Variant:
    """The network without its exit."""
    return Variant(load_sized_recipe(request, recipe, ()).without_phase("cascade"))


def make_loss_variant(request: Request, recipe: str, prefix: str, loss: str, place: str) -> Variant:
    """One loss at one place: firm from the base network's weights, the others from fresh ones."""
    presets = ([] if loss == "firm" else [loss]) + ([] if place == "p2" else [place])
    whole = load_sized_recipe(request, recipe, presets)
    return Variant(whole, earlier=f"{prefix}-base") if loss == "firm" else Variant(whole.without_phase("base"))


def load_sized_recipe(request: Request, recipe: str, presets: Sequence[str]) -> TrainingRecipe:
    """The recipe with the paper's schedule; the quick one is trained on the digits that edgeexit ships."""
    names = [*presets, "quick" if request.quick else "paper"]
    found = load_recipe(recipe, preset=",".join(names))
    return replace(found.with_epochs(2), data="digits") if request.quick else found


# ---------------------------------------------------------------- the paper's exit rule


@dataclass(frozen=True)
class Answers:
    """What a network with one early exit says about every test sample.

    Attributes:
        confidence: highest probability of the early exit, float32 [n].
        right: whether each exit is right, bool [n, 2].
    """

    confidence: NDArray[np.float32]
    right: NDArray[np.bool_]

    def find_leaving(self, threshold: float) -> NDArray[np.bool_]:
        """Which samples leave early, bool [n]: those whose confidence is *above* the threshold, as section 3.1 has it.

        edgeexit's `max_softmax` leaves at the threshold, too; at 1.0 a probability that float32 rounds to 1 would leave.
        """
        return self.confidence > threshold

    def judge(self, threshold: float) -> NDArray[np.bool_]:
        """Which samples are answered rightly, bool [n]."""
        return np.where(self.find_leaving(threshold), self.right[:, 0], self.right[:, 1])


def read_answers(run: Run, part: str = "test") -> Answers:
    """The answers of a trained network."""
    recorded = run.record_exits(part)
    table = recorded.make_table("max_softmax", run.list_macs())
    return Answers(table.scores[:, 0], recorded.logits.argmax(-1) == recorded.labels[:, None])


def record_thresholds(answers: Mapping[str, Mapping[int, Answers]], shown: Sequence[float] = SHOWN) -> dict[str, Any]:
    """Right answers and early exits of every sample at some thresholds, by key and seed."""
    samples: dict[str, dict[int, Any]] = {}
    for name, by_seed in answers.items():
        for t in shown:
            samples[f"{name}: accuracy at {t:g}"] = {seed: a.judge(t) for seed, a in by_seed.items()}
            samples[f"{name}: early at {t:g}"] = {seed: a.find_leaving(t) for seed, a in by_seed.items()}
        for exit in (1, 2):
            samples[f"{name}: exit {exit}"] = {seed: a.right[:, exit - 1] for seed, a in by_seed.items()}
    return samples


def average_curves(by_seed: Mapping[int, Answers]) -> dict[str, list[float]]:
    """Accuracy and early share against the threshold, means over the seeds, over `GRID`."""
    accuracy = [[a.judge(t).mean() for t in GRID] for a in by_seed.values()]
    early = [[a.find_leaving(t).mean() for t in GRID] for a in by_seed.values()]
    return {"accuracy": np.mean(accuracy, axis=0).tolist(), "early": np.mean(early, axis=0).tolist()}


# ---------------------------------------------------------------- figures 5 to 10


def examine_losses(runs: Runs, prefix: str, title: str) -> Findings:
    """Figures 5 to 7 of a data set (8 to 10 of the other): convergence, and what each threshold does."""
    base = runs[f"{prefix}-base"]
    answers = {
        name.removeprefix(f"{prefix}-"): {seed: read_answers(run) for seed, run in by_seed.items()}
        for name, by_seed in runs.items()
        if name != f"{prefix}-base"
    }
    plain = {seed: run.record_exits("test", "base") for seed, run in base.items()}
    right = {seed: found.logits[:, 0].argmax(-1) == found.labels for seed, found in plain.items()}
    curves = {name: average_curves(by_seed) for name, by_seed in answers.items()}
    history = {name.removeprefix(f"{prefix}-"): average_history(by_seed) for name, by_seed in runs.items()}
    accuracy = float(np.mean([values.mean() for values in right.values()]))
    return Findings(
        samples={"base: accuracy": right, **record_thresholds(answers)},
        details={"thresholds": GRID.tolist(), "curves": curves, "epochs": history},
        notes=NOTES,
        pictures=draw_figures(prefix, title, curves, history, accuracy),
    )


NOTES = (
    "The network is a reading of the text: the paper's figure of it is lost (see edgeexit.nets.cascade_cnn).",
    "10,000 of the 60,000 training images are kept for calibration, so that an epoch has 50,000.",
    "Losses are those of whole epochs, where the paper draws one of every 100 steps; accuracy per epoch is that of the calibration part at "
    "threshold 0.6, where the paper draws the test part.",
    "A sample leaves early where the highest probability is above the threshold (section 3.1); edgeexit's max_softmax also leaves at it.",
)


def average_history(by_seed: Mapping[int, Run]) -> dict[str, list[float]]:
    """Training loss, and accuracy at the recipe's threshold on the calibration part, after every epoch; means over the seeds."""
    histories = [run.list_history([*run.recipe.phases][-1]) for run in by_seed.values()]
    return {
        "loss": np.mean([[epoch["loss"] for epoch in h] for h in histories], axis=0).tolist(),
        "accuracy": np.mean([[_read_accuracy(epoch) for epoch in h] for h in histories], axis=0).tolist(),
    }


def _read_accuracy(epoch: Mapping[str, Any]) -> float:
    early = epoch.get("early_exit")
    return float(early["accuracy"] if early else epoch["calibration_accuracy"][-1])


def draw_figures(
    prefix: str,
    title: str,
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    history: Mapping[str, Mapping[str, Sequence[float]]],
    base: float,
) -> list[Picture]:
    """Accuracy per epoch, accuracy and early share against the threshold, and bars at threshold 0.6."""
    shown = {f"{loss}-{place}" for loss in LOSSES for place in PLACES}
    epochs = {name: values["accuracy"] for name, values in history.items() if name in {*shown, "base"}}
    against = {kind: {n: c[kind] for n, c in curves.items() if n in shown} for kind in ("accuracy", "early")}
    steps = np.arange(1.0, 1.0 + max(map(len, epochs.values())))
    name, threshold = f"cascade-losses-{prefix}", Axis("threshold")
    return [
        Figure(
            f"{name}-epochs",
            f"{title}: accuracy per epoch",
            "Calibration part, threshold 0.6, means over the seeds.",
            Axis("epoch"),
            Axis("accuracy, %", scale=0.01),
            draw_lines(steps, epochs),
        ),
        Figure(
            f"{name}-accuracy",
            f"{title}: accuracy against the threshold",
            "Test part, means over the seeds; the dashed grey line is the network without the exit.",
            threshold,
            Axis("accuracy, %", scale=0.01),
            draw_lines(GRID, {**against["accuracy"], "base": [base] * len(GRID)}),
        ),
        Figure(
            f"{name}-early",
            f"{title}: samples that leave early, against the threshold",
            "Test part, means over the seeds.",
            threshold,
            Axis("samples that leave early, %", scale=0.01),
            draw_lines(GRID, against["early"]),
        ),
        draw_bars(f"{name}-bars", title, curves),
    ]


def draw_lines(xs: NDArray[np.float64], series: Mapping[str, Sequence[float]]) -> tuple[Line, ...]:
    """One line for each series: a colour for each loss, dashed at p1 and for the base network."""
    return tuple(
        Line(xs[: len(ys)], np.array(ys), choose_tone(name), name, dashed=name == "base" or name.endswith("-p1"))
        for name, ys in series.items()
    )


def choose_tone(name: str) -> str:
    """The colour of a loss, the same in every picture."""
    loss = name.split("-", maxsplit=1)[0]
    return BACKBONE if loss not in LOSSES else choose_exit_tone(1 + LOSSES.index(loss))


def draw_bars(name: str, title: str, curves: Mapping[str, Mapping[str, Sequence[float]]]) -> BarFigure:
    """Accuracy and early share at threshold 0.6 of every loss at p2."""
    at = int(np.argmin(abs(GRID - THRESHOLD)))
    bars = tuple(
        Bar(f"{loss}-p2, {what}", ((choose_tone(loss), 100 * curves[f"{loss}-p2"][kind][at], ""),))
        for kind, what in (("accuracy", "accuracy"), ("early", "leave early"))
        for loss in LOSSES
    )
    caption = "Test part, means over the seeds."
    return BarFigure(name, f"{title}: accuracy and early exits at threshold 0.6", caption, Axis("%", low=0.0), bars)
