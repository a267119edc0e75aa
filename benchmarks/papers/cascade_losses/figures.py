"""Figures 5 to 10 of the cascade losses: convergence, and what each threshold does; figure 11: what the penalty does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.papers.cascade_losses.variants import (
    GRID,
    LOSSES,
    PLACES,
    THRESHOLD,
    Answers,
    average_curves,
    read_answers,
    record_thresholds,
)
from benchmarks.papers.frame.parts import Findings
from benchmarks.papers.frame.printed import format_estimate
from benchmarks.papers.frame.training import Run, Runs, load_named_part
from edgeexit.data.noisy_mnist import PEPPER, SALT, SIGMA, add_noise
from edgeexit.report.plot.figure import (
    BACKBONE,
    Axis,
    Bar,
    BarFigure,
    Figure,
    ImageGrid,
    Line,
    Picture,
    choose_exit_tone,
)
from edgeexit.report.table import Table
from edgeexit.util import units


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
        notes=(*NOTES, describe_schedule(base)),
        pictures=draw_figures(prefix, title, curves, history, accuracy),
    )


NOTES = (
    "The network is a reading of the text: the paper's figure of it is lost (see edgeexit.nets.cascade_cnn).",
    "10,000 of the 60,000 training images are kept for calibration, so that an epoch has 50,000.",
    "Losses are those of whole epochs, where the paper draws one of every 100 steps; accuracy per epoch is that of the calibration part at "
    "threshold 0.6, where the paper draws the test part.",
    "A sample leaves early where the highest probability is above the threshold (section 3.1); edgeexit's max_softmax also leaves at it.",
)


def describe_schedule(base: Mapping[int, Run]) -> str:
    """Epochs and step size beside the printed ones."""
    phase = next(iter(base.values())).recipe.phases["base"]
    own = f"{phase.epochs} epochs at {phase.optimizer.rate:g}"
    if math.isclose(phase.epochs * phase.optimizer.rate, PRINTED_PATH):
        return f"Trained for {own}; the paper has 20 at 0.001, the same sum of step sizes."
    return f"Trained for {own}; the paper has 20 at 0.001."


PRINTED_PATH = 20 * 0.001
"""Epochs times step size of section 5."""


def show_values(record: Mapping[str, Any]) -> list[Table]:
    """What the paper's text gives no numbers of: accuracy and early exits at threshold 0.6, and each exit by itself."""
    values, at = record["values"], f"{THRESHOLD:g}"
    names = [key.split(":")[0] for key in values if key.endswith(f": accuracy at {at}")]
    keys = (f"accuracy at {at}", f"early at {at}", "exit 1", "exit 2")
    rows = [(name, *(format_estimate(values[f"{name}: {key}"], units.percent) for key in keys)) for name in names]
    if "base: accuracy" in values:
        rows.insert(0, ("base", format_estimate(values["base: accuracy"], units.percent), "", "", ""))
    columns = ("", "accuracy", "leave early", "exit 1 by itself", "exit 2 by itself")
    note = "In brackets: 95 % intervals over the seeds, of one seed over the samples."
    return [Table(f"{record['part']}: at threshold {at}", columns, tuple(rows), note)]


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
    """Loss and accuracy per epoch, accuracy and early share against the threshold, and bars at threshold 0.6."""
    shown = {f"{loss}-{place}" for loss in LOSSES for place in PLACES}
    epochs = {name: values["accuracy"] for name, values in history.items() if name in {*shown, "base"}}
    against = {kind: {n: c[kind] for n, c in curves.items() if n in shown} for kind in ("accuracy", "early")}
    losses = {name: values["loss"] for name, values in history.items() if name in {*shown, "base"}}
    steps = np.arange(1.0, 1.0 + max(map(len, epochs.values())))
    name, threshold = f"cascade-losses-{prefix}", Axis("threshold")
    return [
        Figure(
            f"{name}-loss",
            f"{title}: training loss per epoch",
            "Means over the seeds. The losses are not comparable with each other; firm starts from trained weights.",
            Axis("epoch"),
            Axis("loss"),
            draw_lines(steps, losses),
        ),
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


# ---------------------------------------------------------------- figure 4


def draw_noisy_samples(data: str) -> ImageGrid:
    """Figure 4: images without noise, with the Gaussian noise, and with all noise of the set `noisy-mnist`."""
    images = load_named_part(f"{data}:test").x[:10]
    rows = (
        ("as they are", images),
        (f"Gaussian, σ = {SIGMA:g}", add_noise(images, 0, salt=0.0, pepper=0.0)),
        (f"and {SALT:.0%} salt, {PEPPER:.0%} pepper", add_noise(images, 0)),
    )
    caption = "The strengths are ours, as the paper prints none. The first images of the test part."
    return ImageGrid("cascade-losses-noisy-samples", "Noisy MNIST", caption, rows)


# ---------------------------------------------------------------- figure 11


def examine_penalties(runs: Runs) -> Findings:
    """Accuracy and early exits at threshold 0.6 against the penalty λ."""
    answers = {
        name.removeprefix("noisy-"): {seed: read_answers(run) for seed, run in by_seed.items()}
        for name, by_seed in runs.items()
        if not name.endswith("-base")
    }
    notes = (
        *NOTES,
        "Each is trained for 2 epochs at 0.004 from the base network; the paper's firm networks have 20 at 0.001.",
    )
    samples = record_thresholds(answers, (THRESHOLD,))
    return Findings(samples=samples, notes=notes, pictures=[draw_penalties(answers)])


def draw_penalties(answers: Mapping[str, Mapping[int, Answers]]) -> Figure:
    """Accuracy and early share of firm networks named `firm-<place>-<λ>`, means over the seeds."""
    lines = []
    for place in PLACES:
        of_place = {float(n.rsplit("-", 1)[1]): a for n, a in answers.items() if n.startswith(f"firm-{place}-")}
        for k, what in enumerate(("accuracy", "leave early")):
            found = [[_rate(a, what) for a in by_seed.values()] for by_seed in of_place.values()]
            means = np.array([np.mean(values) for values in found])
            label = f"{what}, {place}"
            lines.append(Line(np.array([*of_place]), means, choose_exit_tone(1 + k), label, dashed=place == "p1"))
    return Figure(
        "cascade-losses-penalty",
        "Noisy MNIST: the firm loss against its penalty",
        "Test part at threshold 0.6, means over the seeds.",
        Axis("penalty λ"),
        Axis("%", scale=0.01),
        tuple(lines),
    )


def _rate(answers: Answers, what: str) -> float:
    chosen = answers.judge(THRESHOLD) if what == "accuracy" else answers.find_leaving(THRESHOLD)
    return float(chosen.mean())
