"""Several results on one page: one table and one chart of accuracy against latency for all, then each against the first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from html import escape

import numpy as np

from edgeexit.calibration import Calibration
from edgeexit.errors import InputError
from edgeexit.measure import BenchResult, compare_results
from edgeexit.measure.statistics import Interval
from edgeexit.report.bench_figures import plot_overlay
from edgeexit.report.calibration_tables import compute_quality_interval
from edgeexit.report.html import CONTENTS, render_box, render_figures, render_heading, render_table
from edgeexit.report.names import shorten_name
from edgeexit.report.plot.figure import (
    BACKBONE,
    Axis,
    Figure,
    Floats,
    Line,
    Mark,
    Picture,
    Points,
    choose_exit_tone,
    make_latency_axis,
    thin_curves,
)
from edgeexit.report.sources import Item
from edgeexit.report.sweep import sweep_thresholds
from edgeexit.report.table import Table
from edgeexit.report.tables import format_interval, format_share, make_comparison_table
from edgeexit.util import units

POLICY_KEYS = ("criterion", "exits", "thresholds", "mode")
"""Keys in which compared results may differ; any other difference must be named."""


@dataclass(frozen=True)
class Row:
    """One result as a point: its quality (accuracy, or agreement where there are no labels) and mean latency with 95 % intervals."""

    name: str
    quality: float
    quality_ci95: Interval | None
    mean_s: float
    mean_ci95: Interval | None
    p99_s: float
    backbone_s: float
    backbone_quality: float | None
    labelled: bool
    criterion: str
    settings: str
    kind: str


def make_comparison_title(items: Sequence[tuple[str, Item]]) -> str:
    """Title and subject of a page of several results."""
    kinds = {isinstance(item, BenchResult) for _, item in items}
    words = {True: "benchmarks", False: "calibrations"}
    what = words[kinds.pop()] if len(kinds) == 1 else "results"
    return f"{len(items)} {what} compared"


def render_comparison(items: Sequence[tuple[str, Item]], vary: Collection[str] = ()) -> str:
    """The head of the page: the chart and the table of all, and every benchmark against the first."""
    results = [(name, item) for name, item in items if isinstance(item, BenchResult)]
    words = f"Benchmarks are compared with {results[0][0]}, the first." if len(results) > 1 else ""
    return (
        f'{render_heading(1, make_comparison_title(items))}<p class="sub">{escape(words)}</p>{CONTENTS}'
        f"{render_figures(plot_jointly(items))}{render_table(make_joint_table(items), 2)}"
        f"{''.join(_render_pair(results[0], other, vary) for other in results[1:])}"
    )


def plot_jointly(items: Sequence[tuple[str, Item]]) -> list[Picture]:
    """Accuracy against latency for all items, and the distributions of those benchmarks that kept their samples."""
    found: list[Picture | None] = [plot_joint_chart(items)]
    found.append(plot_overlay([(name, item) for name, item in items if isinstance(item, BenchResult)]))
    return [picture for picture in found if picture is not None]


def make_row(name: str, item: Item) -> Row:
    """A benchmark or a calibration as one row."""
    return _make_bench_row(name, item) if isinstance(item, BenchResult) else _make_calibration_row(name, item)


def _make_bench_row(name: str, result: BenchResult) -> Row:
    accuracy, latency, s = result.accuracy, result.latency, result.subject
    labelled = accuracy.overall is not None
    return Row(
        name=name,
        quality=accuracy.agreement if accuracy.overall is None else accuracy.overall,
        quality_ci95=accuracy.overall_ci95 if labelled else accuracy.agreement_ci95,
        mean_s=latency.mixture.mean_s,
        mean_ci95=latency.mixture.mean_ci95,
        p99_s=latency.mixture.percentile(99.0).value_s,
        backbone_s=latency.backbone.mean_s,
        backbone_quality=accuracy.backbone if labelled else 1.0,
        labelled=labelled,
        criterion=s.criterion,
        settings=f"{s.backend}, {s.mode}, {s.precision}",
        kind=result.latency.against_backbone.verdict,
    )


def _make_calibration_row(name: str, calibration: Calibration) -> Row:
    point, s = calibration.measured or calibration.predicted, calibration.settings
    labelled = point.accuracy is not None
    half_s = calibration.tolerance * point.mean_s
    return Row(
        name=name,
        quality=(point.accuracy if labelled else point.agreement) or 0.0,
        quality_ci95=compute_quality_interval(point),
        mean_s=point.mean_s,
        mean_ci95=Interval(point.mean_s - half_s, point.mean_s + half_s) if calibration.measured else None,
        p99_s=point.p99_s,
        backbone_s=calibration.backbone_mean_s,
        backbone_quality=None,
        labelled=labelled,
        criterion=calibration.criterion,
        settings=", ".join(str(s[k]) for k in ("backend", "mode", "precision") if k in s),
        kind=f"target {calibration.verdict.bounds}" + ("" if calibration.measured else ", not run"),
    )


def make_joint_table(items: Sequence[tuple[str, Item]]) -> Table:
    """One row per item."""
    rows = [make_row(name, item) for name, item in items]
    cells = [
        (
            row.name,
            row.criterion,
            row.settings,
            format_share(row.quality, row.quality_ci95),
            units.seconds(row.mean_s) + (f" ({format_interval(row.mean_ci95)})" if row.mean_ci95 else ""),
            units.seconds(row.p99_s),
            units.ratio(row.backbone_s / row.mean_s),
            row.kind,
        )
        for row in rows
    ]
    labelled = {row.labelled for row in rows}
    what = "accuracy or agreement" if len(labelled) > 1 else "accuracy" if True in labelled else "agreement"
    columns = ("", "criterion", "settings", what, "mean", "p99", "against its backbone", "verdict")
    return Table(
        "All side by side",
        columns,
        tuple(cells),
        "In brackets: 95 % intervals. Against its backbone: how many times as fast it is in the mean.",
    )


def plot_joint_chart(items: Sequence[tuple[str, Item]]) -> Figure | None:
    """Accuracy against mean latency of all, on one scale; None where fewer than two can be shown together."""
    rows = [(i, make_row(name, item), item) for i, (name, item) in enumerate(items, 1)]
    labelled = any(row.labelled for _, row, _ in rows)
    shown = [entry for entry in rows if entry[1].labelled == labelled]
    if len(shown) < 2:
        return None
    marks = [mark for i, row, item in shown for mark in _make_marks(row, item, choose_exit_tone(i, len(rows)))]
    caption = (
        "Each point is one result with its 95 % intervals; the line of its colour is what other thresholds would give. "
        "Grey points are the backbones. Points further up and to the left are better."
    )
    x = make_latency_axis("mean latency", max(row.backbone_s for _, row, _ in shown))
    y = Axis("accuracy (%)" if labelled else "agreement with the backbone (%)", 0.01)
    return Figure("joint-accuracy-latency", "Accuracy against latency, all results", caption, x, y, tuple(marks))


def _make_marks(row: Row, item: Item, tone: str) -> list[Mark]:
    curve = _make_curve(item)
    marks: list[Mark] = [] if curve is None else [Line(curve[0], curve[1], tone)]
    if row.backbone_quality is not None:
        marks.append(Points(np.array([row.backbone_s]), np.array([row.backbone_quality]), BACKBONE, "backbone"))
    side = 0.0 if row.mean_ci95 is None else (row.mean_ci95.high - row.mean_ci95.low) / 2
    below, above = (
        (0.0, 0.0)
        if row.quality_ci95 is None
        else (row.quality - row.quality_ci95.low, row.quality_ci95.high - row.quality)
    )
    name = shorten_name(row.name, 24)
    point = Points(np.array([row.mean_s]), np.array([row.quality]), tone, name, name, large=True)
    return [*marks, replace(point, spread=(side, below, above))]


def _make_curve(item: Item) -> tuple[Floats, ...] | None:
    """Mean latency and quality of other thresholds, from the fastest to the slowest."""
    if isinstance(item, BenchResult):
        swept = sweep_thresholds(item)
        if swept is None:
            return None
        order = np.argsort(swept.mean_cost, kind="stable")
        return thin_curves(swept.mean_cost[order], swept.accuracy[order])
    points = sorted(item.curve, key=lambda p: p.mean_s)
    if len(points) < 2:
        return None
    quality = [(p.agreement if p.accuracy is None else p.accuracy) or 0.0 for p in points]
    return np.array([p.mean_s for p in points]), np.array(quality)


def make_comparison_tables(items: Sequence[tuple[str, Item]], vary: Collection[str] = ()) -> list[Table]:
    """The table of all, and one for each benchmark that can be compared with the first."""
    results = [(name, item) for name, item in items if isinstance(item, BenchResult)]
    found = [make_joint_table(items)]
    for other in results[1:]:
        compared = _compare_pair(results[0], other, vary)
        found += [compared] if isinstance(compared, Table) else []
    return found


def _render_pair(first: tuple[str, BenchResult], other: tuple[str, BenchResult], vary: Collection[str]) -> str:
    compared = _compare_pair(first, other, vary)
    if isinstance(compared, Table):
        return render_table(compared)
    lines = compared.splitlines()
    differing = [line.strip() for line in lines if line.startswith("  ")]
    remedy = f" {escape(lines[-1])}" if len(lines) > 1 else ""
    words = f"They differ in what a comparison has to keep equal.{remedy}"
    return render_heading(3, f"{other[0]}: not compared with {first[0]}") + render_box(words, differing or lines)


def _compare_pair(first: tuple[str, BenchResult], other: tuple[str, BenchResult], vary: Collection[str]) -> Table | str:
    """The table, or why there is none."""
    try:
        compared = compare_results(first[1], other[1], vary={*POLICY_KEYS, *vary})
    except InputError as error:
        return str(error)
    shown = make_comparison_table(first[1], other[1], compared, (first[0], other[0]))
    return replace(shown, title=f"{other[0]} against {first[0]}", mark=compared.comparison.verdict)
