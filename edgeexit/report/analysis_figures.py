"""The pictures of an analysis."""

from __future__ import annotations

import numpy as np

from edgeexit.analysis.network import CurveFigures, NetworkAnalysis
from edgeexit.calibration.headroom import Headroom
from edgeexit.report.plot.figure import (
    BACKBONE,
    CRITERION,
    INK,
    POLICY,
    TARGET,
    Axis,
    Bar,
    BarFigure,
    Figure,
    Line,
    Mark,
    Picture,
    Points,
    choose_exit_tone,
    make_latency_axis,
)
from edgeexit.util import units

_BARS = 40
"""Most classes in the picture of classes."""
_LOOKS = {"anytime": ("one exit", BACKBONE), "budgeted": ("algorithm 1", CRITERION), "searched": ("our search", POLICY)}


def plot_analysis(analysis: NetworkAnalysis) -> list[Picture]:
    """Accuracy against each cost, who overthinks by pair of exits, and where each class leaves."""
    found: list[Picture] = [_plot_curves(analysis, headroom) for headroom in analysis.headroom]
    found.append(_plot_overthinking(analysis))
    if 0 < len(analysis.classes) <= _BARS:
        found.append(_plot_classes(analysis))
    return found


def _plot_curves(analysis: NetworkAnalysis, found: Headroom) -> Figure:
    marks: list[Mark] = [_draw_curve(curve) for curve in analysis.curves if curve.unit == found.unit]
    anytime = next(c for c in analysis.curves if c.unit == found.unit and c.name == "anytime")
    for k, (cost, accuracy) in enumerate(zip(anytime.cost, anytime.accuracy, strict=True), 1):
        tone = choose_exit_tone(k, len(anytime.cost))
        marks.append(
            Points(np.array([cost]), np.array([accuracy]), tone, note=f"exit {k}", note_below=True, large=True)
        )
    for oracle in analysis.oracles:
        if oracle.unit == found.unit:
            note = "perfect, hopeless skipped" if oracle.skip_hopeless else "perfect rule"
            at = np.array([oracle.cost]), np.array([oracle.accuracy])
            marks.append(Points(*at, TARGET, note=note, note_below=not oracle.skip_hopeless, large=True))
    marks.append(Points(np.array([found.cost]), np.array([found.accuracy]), INK, note="policy", large=True))
    seconds = found.unit == "s"
    caption = (
        f"Mean cost and accuracy on {analysis.samples} samples; thresholds chosen on {analysis.chosen_samples} others. "
        "No rule is above or left of the perfect one."
    )
    x = make_latency_axis("mean latency", found.last_cost) if seconds else Axis("mean multiply-accumulates (M)", 1e6)
    name, what = ("analysis-time", "time") if seconds else ("analysis-macs", "multiply-accumulates")
    return Figure(name, f"Accuracy against {what}", caption, x, Axis("accuracy (%)", 0.01), tuple(marks))


def _draw_curve(curve: CurveFigures) -> Line:
    label, tone = _LOOKS[curve.name]
    order = np.argsort(curve.cost, kind="stable")
    xs, ys = np.array(curve.cost)[order], np.array(curve.accuracy)[order]
    return Line(xs, ys, tone, label, dashed=curve.name == "anytime", thick=curve.name == "searched")


def _plot_overthinking(analysis: NetworkAnalysis) -> BarFigure:
    exits = len(analysis.exits)
    pairs = analysis.overthinking.pairs
    bars = tuple(
        Bar(
            f"exit {i + 1} against {j + 1}",
            (
                (choose_exit_tone(j + 1, exits), pairs[j][i], f"only exit {j + 1} right"),
                (TARGET, pairs[i][j], "later exit spoils"),
            ),
        )
        for i in range(exits)
        for j in range(i + 1, exits)
    )
    caption = (
        f"Of every pair of exits, the samples that only one of them has right. {units.percent(analysis.overthinking.any_pair)} of the "
        "samples are right at some exit and wrong at a later one."
    )
    return BarFigure(
        "analysis-overthinking", "Where later exits mend, and where they hurt", caption, Axis("samples (%)", 0.01), bars
    )


def _plot_classes(analysis: NetworkAnalysis) -> BarFigure:
    exits = len(analysis.exits)
    bars = tuple(
        Bar(
            c.name or str(c.label),
            tuple((choose_exit_tone(k, exits), rate, f"exit {k}") for k, rate in enumerate(c.exit_rates, 1)),
        )
        for c in analysis.classes
    )
    caption = "Share of each class's samples that the policy lets leave at each exit."
    return BarFigure(
        "analysis-classes", "Where each class leaves", caption, Axis("samples (%)", 0.01, high=100.0), bars
    )
