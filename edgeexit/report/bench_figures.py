"""The pictures of a result, in the order in which a reader wants them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeexit.calibration.targets import parse_target
from edgeexit.criteria import find_known_criterion
from edgeexit.errors import InputError
from edgeexit.measure import BenchResult
from edgeexit.measure.result.parts import Breakdown, LatencyReport
from edgeexit.measure.statistics import NORMAL_95
from edgeexit.report.extras import plot_extras
from edgeexit.report.plot.figure import (
    BACKBONE,
    CRITERION,
    GRID,
    INK,
    MUTED,
    POLICY,
    TARGET,
    Area,
    Axis,
    Bar,
    BarFigure,
    Figure,
    Floats,
    Line,
    Mark,
    Picture,
    Points,
    ReferenceLine,
    choose_exit_tone,
    make_latency_axis,
    thin_curves,
)
from edgeexit.report.sweep import ThresholdSweep, sweep_thresholds
from edgeexit.report.tables import compute_speedup
from edgeexit.report.timeline import plot_over_time
from edgeexit.util import units

_INFERENCES = Axis("inferences (%)", 0.01, False, 0.0, 102.0)


def plot_result(result: BenchResult) -> list[Picture]:
    """Every picture that the result holds the data for."""
    found, swept = list[Picture](), sweep_thresholds(result)
    if swept is not None:
        found += [
            plot_frontier(result, swept),
            plot_accuracy_over_thresholds(result, swept),
            plot_exit_rates_over_thresholds(result, swept),
        ]
    if "mixture_s" in result.raw:
        found.append(plot_latency_distribution(result))
    found += [plot_exit_costs(result), plot_closure(result)]
    found += plot_extras(result)
    return [*found, *plot_over_time(result)]


def _count_points(result: BenchResult) -> int:
    """Of each curve: fewer where there are many exits, so that a page stays small."""
    return max(100, 500 // max(1, result.subject.exits // 4))


def _make_time_axis(result: BenchResult, label: str, largest_s: float | None = None, *, log: bool = False) -> Axis:
    return make_latency_axis(label, largest_s or result.latency.backbone.mean_s, log=log)


def _format_quality_label(result: BenchResult) -> str:
    return "agreement with the backbone (%)" if result.accuracy.overall is None else "accuracy (%)"


def plot_frontier(result: BenchResult, swept: ThresholdSweep) -> Figure:
    """Accuracy against mean latency over all thresholds: BranchyNet's Fig. 3, with the knee, the policy and the backbone."""
    accuracy, latency = result.accuracy, result.latency
    order = np.argsort(swept.mean_cost, kind="stable")
    xs, ys = thin_curves(swept.mean_cost[order], swept.accuracy[order])
    knee = swept.knee()
    chosen = accuracy.agreement if accuracy.overall is None else accuracy.overall
    straight = 1.0 if accuracy.backbone is None else accuracy.backbone
    interval = latency.mixture.mean_ci95
    half_s = 0.0 if interval is None else (interval.high - interval.low) / 2.0
    half = NORMAL_95 * float(np.sqrt(chosen * (1.0 - chosen) / result.workload.n))
    knee_note = f"knee: {units.significant(swept.own[knee], 3)} {result.subject.threshold_unit}"
    marks: tuple[Mark, ...] = (
        Line(xs, ys, choose_exit_tone(1), "other thresholds (from the forced exits)"),
        replace(
            _make_dot(float(swept.mean_cost[knee]), float(swept.accuracy[knee]), INK, knee_note, knee_note),
            note_below=True,
        ),
        _make_dot(latency.backbone.mean_s, straight, BACKBONE, "backbone", "backbone"),
        replace(
            _make_dot(latency.mixture.mean_s, chosen, POLICY, "this policy", "this policy"),
            spread=(half_s, half, min(half, 1.0 - chosen)),
        ),
    )
    caption = (
        f"The measured policy is {units.ratio(compute_speedup(result))} as fast as the backbone in the mean. "
        "Crosses are 95 % intervals; the line is what other thresholds would give at the measured cost of each exit."
    )
    x = _make_time_axis(result, "mean latency", float(max(swept.mean_cost.max(), latency.backbone.mean_s)))
    return Figure(
        "accuracy-latency", "Accuracy against latency", caption, x, Axis(_format_quality_label(result), 0.01), marks
    )


def _make_dot(x: float, y: float, tone: str, label: str, note: str) -> Points:
    return Points(np.array([x]), np.array([y]), tone, label, note, large=True)


def plot_exit_rates_over_thresholds(result: BenchResult, swept: ThresholdSweep) -> Figure:
    """Exit rates against the threshold: half of BranchyNet's Fig. 4."""
    order = np.argsort(swept.own, kind="stable")
    below, marks = np.zeros(len(order)), list[Mark]()
    for k in range(result.subject.exits):
        above = below + swept.shares[order, k]
        xs, bottom, top = thin_curves(swept.own[order], below, above, most=_count_points(result))
        marks.append(Area(xs, bottom, top, choose_exit_tone(k + 1, result.subject.exits), f"exit {k + 1}"))
        below = above
    caption = "The share of samples that leave at each exit, stacked, if this threshold stands at every exit."
    title, y = "Exits against the threshold", Axis("share (%)", 0.01, False, 0.0, 100.0)
    marks += _list_used_thresholds(result)
    return Figure("exits-threshold", title, caption, _make_threshold_axis(result, swept), y, tuple(marks))


def plot_accuracy_over_thresholds(result: BenchResult, swept: ThresholdSweep) -> Figure:
    """Overall accuracy against the threshold: the other half of BranchyNet's Fig. 4."""
    order = np.argsort(swept.own, kind="stable")
    xs, ys = thin_curves(swept.own[order], swept.accuracy[order])
    straight = 1.0 if result.accuracy.backbone is None else result.accuracy.backbone
    marks: list[Mark] = [
        Line(xs, ys, choose_exit_tone(1), "early exit"),
        Line(xs, np.full(len(xs), straight), BACKBONE, "backbone", dashed=True),
        *_list_used_thresholds(result),
    ]
    caption = (
        "Where the line lies above the backbone, early exits are right about samples that the last exit gets wrong."
    )
    axis = _make_threshold_axis(result, swept)
    return Figure(
        "accuracy-threshold",
        "Accuracy against the threshold",
        caption,
        axis,
        Axis(_format_quality_label(result), 0.01),
        tuple(marks),
    )


def _list_used_thresholds(result: BenchResult) -> list[Mark]:
    used = [(k, t) for k, t in enumerate(result.subject.thresholds, 1) if np.isfinite(t)]
    tones = {k: choose_exit_tone(k, result.subject.exits) for k, _ in used}
    return [
        ReferenceLine(t, vertical=True, tone=tones[k], label=f"exit {k}: {units.significant(t, 3)}") for k, t in used
    ]


def _make_threshold_axis(result: BenchResult, swept: ThresholdSweep) -> Axis:
    """Entropies of a trained network spread over many decades; probabilities do not."""
    subject, positive = result.subject, swept.own[swept.own > 0]
    rule = find_known_criterion(subject.criterion)
    log = rule is not None and rule.logarithmic and len(positive) > 0
    lowest = float(np.quantile(positive, 0.05)) if log else None
    return Axis(f"{subject.criterion} threshold ({subject.threshold_unit})", 1.0, log, lowest)


def plot_latency_distribution(result: BenchResult) -> Figure:
    """The latency's distribution as stacked contributions of the exits, beside the backbone's."""
    raw, marks = result.raw, list[Mark]()
    values, exits = raw["mixture_s"].astype(np.float64), raw["mixture_exit"]
    grid = np.geomspace(values.min(), max(values.max(), float(raw["backbone_s"].max())), _count_points(result))
    below = np.zeros(len(grid))
    for latency in result.latency.per_exit:
        own = np.sort(values[exits == latency.exit])
        above = below + (latency.share * _compute_ecdf(own, grid) if len(own) else 0.0)
        marks.append(
            Area(grid, below, above, choose_exit_tone(latency.exit, result.subject.exits), f"exit {latency.exit}")
        )
        below = above
    marks.append(Line(grid, below, INK, "early exit", thick=True))
    marks.append(
        Line(
            grid, _compute_ecdf(np.sort(raw["backbone_s"].astype(np.float64)), grid), BACKBONE, "backbone", dashed=True
        )
    )
    target = _find_latency_target(result)
    target_s = None if target is None else target[1]
    if target is not None:
        marks.append(ReferenceLine(target[1], vertical=True, tone=TARGET, label=f"target: {target[0]}"))
    high_s = max(nearest for nearest in (result.latency.backbone.percentile(99.9).value_s, target_s or 0.0)) * 1.3
    axis = _make_time_axis(result, "latency", log=True)
    x = Axis(axis.label, axis.scale, True, float(values.min()) / axis.scale / 1.1, high_s / axis.scale)
    caption = "How many of all inferences are at most this slow, and which exits they are made of. The axis ends a little beyond p99.9."
    return Figure("distribution", "Distribution of the latency", caption, x, _INFERENCES, tuple(marks))


def _compute_ecdf(ordered: Floats, grid: Floats) -> Floats:
    return np.asarray(np.searchsorted(ordered, grid, side="right") / len(ordered), np.float64)


def _find_latency_target(result: BenchResult) -> tuple[str, float] | None:
    """The first latency bound of the calibration's target, as written and in seconds."""
    try:
        bounds = parse_target(result.subject.target).bounds if result.subject.target else ()
    except InputError:  # of a newer edgeexit
        return None
    bound = next((b for b in bounds if b.kind.of_time), None)
    if bound is None:
        return None
    return str(bound), bound.limit * (result.latency.backbone.mean_s if bound.relative else 1.0)


def plot_exit_costs(result: BenchResult) -> BarFigure:
    """Time of leaving at each exit: stages, criteria and overhead, beside the backbone and the mixture."""
    latency, shares = result.latency, [units.percent(entry.share, 1) for entry in result.latency.per_exit]
    parted = _list_forced_parts(latency) if latency.breakdown is None else _list_measured_parts(latency.breakdown)
    bars = [
        Bar(f"exit {k} · {share}", tuple(parts)) for k, (share, parts) in enumerate(zip(shares, parted, strict=True), 1)
    ]
    longest_s = max(sum(length for _, length, _ in parts) for parts in parted)
    bars.append(Bar("early exit", ((POLICY, latency.mixture.typical_s, "early exit"),)))
    bars.append(Bar("backbone", ((BACKBONE, latency.backbone.typical_s, "backbone"),)))
    tax_s = latency.per_exit[-1].forced.typical_s - latency.backbone.typical_s
    within = None if latency.breakdown is None else latency.breakdown.reason
    caption = (
        "Medians of the forced exits; early exit weights them by their shares. Reaching the last exit through all heads and criteria costs "
        f"{units.seconds(tax_s)} more than the backbone."
    ) + (f" {within.capitalize()}." if within else "")
    x = _make_time_axis(result, "latency", max(latency.backbone.typical_s, longest_s))
    return BarFigure("costs", "Where the time goes", caption, x, tuple(bars))


def _list_measured_parts(breakdown: Breakdown) -> list[list[tuple[str, float, str]]]:
    """Of leaving at each exit: every stage and criterion up to it, and what is not in any engine."""
    engines, found = list[tuple[str, float, str]](), []
    for cost in breakdown.exits:
        engines.append(
            (choose_exit_tone(cost.exit, len(breakdown.exits)), max(0.0, cost.stage_s), f"stage {cost.exit}")
        )
        if cost.gate_s is not None:
            engines.append((CRITERION, max(0.0, cost.gate_s), "criteria"))
        found.append([*engines, (GRID, max(0.0, cost.overhead_s), "overhead")])
    return found


def _list_forced_parts(latency: LatencyReport) -> list[list[tuple[str, float, str]]]:
    """For a result without a breakdown: what leaving one exit later adds."""
    parts, found, before_s = list[tuple[str, float, str]](), [], 0.0
    for entry in latency.per_exit:
        added_s = max(0.0, entry.forced.typical_s - before_s)
        parts.append((choose_exit_tone(entry.exit, len(latency.per_exit)), added_s, f"to exit {entry.exit}"))
        before_s += added_s
        found.append(list(parts))
    return found


def plot_closure(result: BenchResult) -> Figure:
    """Predicted from forced exits against measured mix, process by process."""
    per_exit = result.latency.per_exit
    predicted = np.sum([e.share * np.array(e.forced.process_typical_s) for e in per_exit], axis=0)
    measured = np.array(result.latency.mixture.process_typical_s)
    both = np.concatenate([predicted, measured])
    room = 0.05 * float(both.max())
    line = np.array([both.min() - room, both.max() + room])
    marks = (
        Line(line, line, MUTED, "predicted = measured", dashed=True),
        Points(predicted, measured, POLICY, "one process each", large=True),
    )
    error = units.change(result.latency.closure.error)
    caption = (
        f"Σ share · forced median beside the typical latency of the mixture; over all processes they differ by {error}."
    )
    x, y = (
        _make_time_axis(result, label, float(both.max()))
        for label in ("from the forced exits", "measured in the mixture")
    )
    return Figure("closure", "Closure: do the exits explain the mixture?", caption, x, y, marks)


def plot_overlay(results: list[tuple[str, BenchResult]]) -> Figure | None:
    """The distributions of several results in one picture; None where fewer than two have raw samples."""
    held = [(name, r) for name, r in results if "mixture_s" in r.raw]
    if len(held) < 2:
        return None
    low = min(float(r.raw["mixture_s"].min()) for _, r in held)
    high = max(r.latency.mixture.percentile(99.9).value_s for _, r in held) * 1.3
    grid = np.geomspace(low, high, 500)
    marks = tuple(
        Line(
            grid,
            _compute_ecdf(np.sort(r.raw["mixture_s"].astype(np.float64)), grid),
            choose_exit_tone(i, len(held)),
            name,
            thick=True,
        )
        for i, (name, r) in enumerate(held, 1)
    )
    axis = _make_time_axis(held[0][1], "latency", log=True)
    caption = "Early exit of each result: how many of all inferences are at most this slow."
    return Figure(
        "overlay", "Distributions of the latency", caption, axis, Axis("inferences (%)", 0.01, False, 0.0, 102.0), marks
    )
