"""Tables and pictures of energy and cache behaviour, as far as a result holds them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeexit.measure import BenchResult
from edgeexit.measure.cache.report import CacheReport, CacheResult, Level
from edgeexit.measure.cache.sweep import CacheSweep, SweepPoint
from edgeexit.measure.energy.report import EnergyReport, EnergyUncertainty
from edgeexit.measure.statistics import Interval
from edgeexit.report.plot.figure import (
    BACKBONE,
    INK,
    POLICY,
    Axis,
    Figure,
    Floats,
    Line,
    Mark,
    Picture,
    Points,
    choose_exit_tone,
)
from edgeexit.report.sweep import sweep_thresholds
from edgeexit.report.table import Table
from edgeexit.util import units


def make_extra_tables(result: BenchResult) -> list[Table]:
    """Energy, cache misses and working sets, as far as they are there."""
    energy = result.energy
    tables = [] if energy is None else [_make_energy_table(energy), *map(_make_energy_table, energy.others)]
    if result.cache is None:
        return tables
    report = result.cache.report
    tables += [_make_cache_table(part) for part in (report.hardware, report.simulated) if part is not None]
    return [*tables, _make_working_sets_table(report)]


def plot_extras(result: BenchResult) -> list[Picture]:
    """Accuracy against energy, and runtime and cache misses against the threshold."""
    found: list[Picture | None] = [] if result.energy is None else [plot_energy_frontier(result, result.energy)]
    found += plot_cache_sweep(result.cache.sweep) if result.cache is not None and result.cache.sweep is not None else []
    return [picture for picture in found if picture is not None]


def _make_energy_table(energy: EnergyReport) -> Table:
    rows = [
        (
            call.name,
            _format_with_bounds(call.gross_j, call.gross_ci95),
            _format_with_bounds(call.net_j, call.net_ci95),
            units.watts(call.power_w),
            _format_budget(call.budget),
            call.reason or "",
        )
        for call in energy.calls
    ]
    closure = energy.closure
    note = (
        f"Scope: {energy.scope} ({' + '.join(energy.subject)}), {energy.kind}; "
        f"idle {units.watts(energy.idle_w)}. Net is above idle."
        + ("" if closure is None else f" Closure: the exits explain the mixture to {units.change(closure)}.")
        + "".join(f" {reason}." for reason in (*energy.notes, *energy.validity.reasons))
    )
    return Table(
        f"Energy of one inference, by {energy.meter}",
        ("", "gross", "net", "power", "error at most", "not there because"),
        tuple(rows),
        note,
    )


def _format_with_bounds(value: float | None, interval: Interval | None) -> str:
    around = "" if interval is None else f" ({units.joules(interval.low)} … {units.joules(interval.high)})"
    return units.joules(value) + around


def _format_budget(budget: EnergyUncertainty | None) -> str:
    return units.joules(None if budget is None else budget.gross_j)


def _make_cache_table(report: CacheReport) -> Table:
    levels = [level.name for level in report.calls[0].levels]
    columns = ("", "instructions", *(f"{name} misses (rate)" for name in levels))
    rows = [
        (call.name, units.format_number(call.instructions), *(_format_level(level) for level in call.levels))
        for call in report.calls
    ]
    closure = ", ".join(f"{name} {units.change(error)}" for name, error in report.closure.items())
    note = "Per inference. " + (f"Closure: {closure}. " if closure else "") + " ".join(f"{n}." for n in report.notes)
    return Table(f"Caches, {report.source}: {report.device}", columns, tuple(rows), note)


def _format_level(level: Level) -> str:
    rate = "" if level.rate is None else f" ({units.percent(level.rate)})"
    return units.format_number(level.misses) + rate


def _make_working_sets_table(report: CacheResult) -> Table:
    rows = tuple(
        (
            f"exit {entry.exit}",
            units.bytes_(entry.weight_bytes),
            units.bytes_(entry.activation_bytes),
            entry.fits or "unknown",
        )
        for entry in report.analytic
    )
    kinds = (
        ("hardware", report.hardware, report.hardware_reason),
        ("simulated", report.simulated, report.simulated_reason),
    )
    why = [f"no {kind} figures: {reason}" for kind, part, reason in kinds if part is None]
    note = "Bytes on paper that leaving there touches at least once." + "".join(f" {text.rstrip('.')}." for text in why)
    return Table("Working sets", ("", "weights", "activations", "fits into"), rows, note)


def plot_energy_frontier(result: BenchResult, energy: EnergyReport) -> Figure | None:
    """Accuracy against the energy of an inference over all thresholds; None where the exits have no energies."""
    exits = [f"exit {e.exit}" for e in result.latency.per_exit]
    net = {call.name: call.net_j for call in energy.calls}
    has_net = all(net.get(name) is not None for name in (*exits, "mix", "backbone"))
    joules = net if has_net else {call.name: call.gross_j for call in energy.calls}
    costs = [joules.get(name) for name in exits]
    mix, straight = joules.get("mix"), joules.get("backbone")
    if mix is None or straight is None or any(c is None for c in costs):
        return None
    scale, unit = units.joules_scale(max(float(straight or 0.0), *(c or 0.0 for c in costs)))
    caption = f"Energy of {energy.scope} by {energy.meter}; the line is what other thresholds would give at the energy of each exit."
    what = "net energy" if has_net else "gross energy"
    x, y = Axis(f"{what} of one inference ({unit})", scale), Axis("accuracy (%)", 0.01)
    marks = (
        *_make_energy_curve(result, np.array(costs, np.float64)),
        *_make_energy_points(result, float(mix), float(straight)),
    )
    return Figure("accuracy-energy", "Accuracy against energy", caption, x, y, marks)


def _make_energy_curve(result: BenchResult, costs_j: Floats) -> list[Mark]:
    """Accuracy and time at other thresholds, with the knee; nothing without the scores of the accuracy pass."""
    swept = sweep_thresholds(result, costs_j)
    if swept is None:
        return []
    order, knee = np.argsort(swept.mean_cost, kind="stable"), swept.knee()
    at = swept.mean_cost[knee : knee + 1], swept.accuracy[knee : knee + 1]
    note = f"knee: {units.significant(swept.own[knee], 3)} {result.subject.threshold_unit}"
    return [
        Line(swept.mean_cost[order], swept.accuracy[order], choose_exit_tone(1), "other thresholds"),
        Points(*at, INK, note, note, large=True, note_below=True),
    ]


def _make_energy_points(result: BenchResult, mix_j: float, straight_j: float) -> list[Mark]:
    accuracy = result.accuracy
    chosen = accuracy.agreement if accuracy.overall is None else accuracy.overall
    best = 1.0 if accuracy.backbone is None else accuracy.backbone
    return [
        Points(np.array([straight_j]), np.array([best]), BACKBONE, "backbone", "backbone", large=True),
        Points(np.array([mix_j]), np.array([chosen]), POLICY, "this policy", "this policy", large=True),
    ]


def plot_cache_sweep(swept: CacheSweep) -> list[Figure]:
    """Runtime and cache misses against the threshold; none where no cache was seen."""
    points = sorted((p for p in swept.points if p.cache is not None), key=_get_leaving_share)
    whose = f"Caches of {swept.device}, {swept.source}; thresholds loosen from left to right."
    return [_plot_misses(points, whose), _plot_miss_rates(points, whose)] if points else []


def _get_leaving_share(point: SweepPoint) -> float:
    return 1.0 - point.shares[-1]


def _get_levels(point: SweepPoint) -> Sequence[Level]:
    return () if point.cache is None else point.cache.levels


def _collect_level(points: Sequence[SweepPoint], name: str) -> list[Level]:
    return [level for point in points for level in _get_levels(point) if level.name == name]


def _collect_rates(points: Sequence[SweepPoint], name: str) -> Floats:
    rates = [level.rate for level in _collect_level(points, name)]
    return np.array([np.nan if rate is None else rate for rate in rates], np.float64)


def _plot_misses(points: Sequence[SweepPoint], whose: str) -> Figure:
    """Runtime and misses per inference, relative to no early exit: BranchyNet's Fig. 6."""
    xs = np.array([_get_leaving_share(p) for p in points])
    runtime = np.array([p.latency_s for p in points])
    marks: list[Mark] = [Line(xs, runtime / runtime[0], INK, "runtime", thick=True)]
    for place, level in enumerate(_get_levels(points[0]), 1):
        values = np.array([found.misses for found in _collect_level(points, level.name)])
        if values[0] > 0:
            marks.append(Line(xs, values / values[0], choose_exit_tone(place), f"{level.name} misses"))
    caption = f"Per inference, as a share of what it is when nothing leaves early. {whose}"
    x, y = Axis("samples that leave early (%)", 0.01), Axis("relative to no early exit (%)", 0.01, low=0.0)
    return Figure("cache-misses", "Runtime and cache misses against the threshold", caption, x, y, tuple(marks))


def _plot_miss_rates(points: Sequence[SweepPoint], whose: str) -> Figure:
    """Misses over accesses: may rise while misses fall, since the denominator shrinks."""
    xs = np.array([_get_leaving_share(p) for p in points])
    marks = tuple(
        Line(xs, _collect_rates(points, level.name), choose_exit_tone(place), level.name)
        for place, level in enumerate(_get_levels(points[0]), 1)
        if level.rate is not None
    )
    caption = f"Misses over accesses: a rate may rise while misses fall, because accesses fall too. {whose}"
    x, y = Axis("samples that leave early (%)", 0.01), Axis("miss rate (%)", 0.01, low=0.0)
    return Figure("cache-rates", "Cache miss rates against the threshold", caption, x, y, marks)
