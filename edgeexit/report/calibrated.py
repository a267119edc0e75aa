"""Tables and pictures of a calibration: what was chosen, out of what, and whether the device did as predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgeexit.calibration import Calibration
from edgeexit.calibration.result import BoundCheck, PolicyPerformance
from edgeexit.calibration.targets import METRICS, parse_target
from edgeexit.measure.shares import share_interval
from edgeexit.measure.statistics import Interval
from edgeexit.report.plot.figure import (
    BACKBONE,
    INK,
    POLICY,
    TARGET,
    Area,
    Axis,
    Bar,
    BarFigure,
    Figure,
    Line,
    Mark,
    Picture,
    Points,
    ReferenceLine,
    choose_exit_tone,
)
from edgeexit.report.table import Table
from edgeexit.report.tables import format_share_with_interval
from edgeexit.report.validity_reasons import sort_by_gravity
from edgeexit.util import units


def plot_calibration(calibration: Calibration) -> list[Picture]:
    """The front with the chosen policy, who leaves where along it, and predicted beside measured."""
    several = len({(p.mean_s, p.exit_rates) for p in calibration.curve}) > 1  # one point makes no curve
    found: list[Picture] = [plot_front(calibration), plot_exit_rates(calibration)] if several else []
    return (
        found
        if calibration.measured is None
        else [*found, plot_predicted_and_measured(calibration, calibration.measured)]
    )


def compute_quality_interval(figures: PolicyPerformance) -> Interval | None:
    """The 95 % interval of the accuracy, or of the agreement where there are no labels."""
    share = figures.agreement if figures.accuracy is None else figures.accuracy
    return None if share is None or not figures.samples else share_interval(share, figures.samples)


def make_calibration_tables(calibration: Calibration) -> list[Table]:
    """The target's bounds, predicted and measured figures, the exits, and how it came about."""
    return [
        _make_checks_table(calibration),
        _make_figures_table(calibration),
        _make_exits_table(calibration),
        _make_setting_table(calibration),
    ]


def _get_quality(point: PolicyPerformance) -> float:
    return (point.agreement if point.accuracy is None else point.accuracy) or 0.0


def _make_axes(calibration: Calibration) -> tuple[Axis, Axis]:
    scale, unit = units.seconds_scale(calibration.backbone_mean_s)
    labelled = calibration.predicted.accuracy is not None
    return Axis(f"mean latency ({unit})", scale), Axis(
        "accuracy (%)" if labelled else "agreement with the backbone (%)", 0.01
    )


def plot_front(calibration: Calibration) -> Figure:
    """Accuracy against mean latency of the best policies, the target's limits, and the chosen one as predicted and as measured."""
    points = sorted(calibration.curve, key=lambda p: p.mean_s)
    xs = np.array([p.mean_s for p in points])
    ys = np.array([(p.agreement if p.accuracy is None else p.accuracy) or 0.0 for p in points])
    marks: list[Mark] = [Line(xs, ys, choose_exit_tone(1), "best policies"), *_make_limit_lines(calibration)]
    marks.append(ReferenceLine(calibration.backbone_mean_s, vertical=True, tone=BACKBONE, label="backbone"))
    predicted = calibration.predicted
    marks.append(_make_dot(predicted.mean_s, _get_quality(predicted), INK, "predicted", (0.0, 0.0, 0.0)))
    if calibration.measured is not None:
        measured, interval = calibration.measured, calibration.accuracy_interval
        good = _get_quality(measured)
        below, above = (0.0, 0.0) if interval is None else (good - interval.low, interval.high - good)
        spread = (calibration.tolerance * measured.mean_s, below, above)
        marks.append(_make_dot(measured.mean_s, good, POLICY, "measured", spread))
    caption = (
        f"Each point of the line is the best policy for its latency on the {calibration.parts.choose} samples that chose. "
        f"The cross is what the device did on {calibration.parts.validate} others."
    )
    x, y = _make_axes(calibration)
    return Figure("calibration-front", "The choice and what it was chosen from", caption, x, y, tuple(marks))


def _make_dot(x: float, y: float, tone: str, label: str, spread: tuple[float, float, float]) -> Points:
    return Points(
        np.array([x]), np.array([y]), tone, label, label, large=True, spread=spread, note_below=label == "predicted"
    )


def _make_limit_lines(calibration: Calibration) -> list[Mark]:
    """The bounds of the target that this picture has an axis for."""
    marks: list[Mark] = []
    for check in calibration.checks:
        if check.bound.startswith("mean"):
            marks.append(ReferenceLine(check.limit, vertical=True, tone=TARGET, label=check.bound))
        elif check.bound.startswith(("accuracy", "agreement")):
            marks.append(ReferenceLine(check.limit, vertical=False, tone=TARGET, label=check.bound))
    return marks


def plot_exit_rates(calibration: Calibration) -> Figure:
    """The share that leaves at each exit, along the front."""
    points = sorted(calibration.curve, key=lambda p: p.mean_s)
    xs, below = np.array([p.mean_s for p in points]), np.zeros(len(points))
    shares, marks = np.array([p.exit_rates for p in points]), list[Mark]()
    for k in range(shares.shape[1]):
        marks.append(Area(xs, below, below + shares[:, k], choose_exit_tone(k + 1, shares.shape[1]), f"exit {k + 1}"))
        below = below + shares[:, k]
    marks.append(ReferenceLine(calibration.predicted.mean_s, vertical=True, tone=POLICY, label="chosen"))
    caption = "Stacked, along the best policies, from the fastest to the slowest."
    y = Axis("share (%)", 0.01, low=0.0, high=100.0)
    return Figure("calibration-rates", "Exits along the front", caption, _make_axes(calibration)[0], y, tuple(marks))


def plot_predicted_and_measured(calibration: Calibration, measured: PolicyPerformance) -> BarFigure:
    """Mean and p99, predicted and measured, beside the backbone."""
    predicted = calibration.predicted
    bars = (
        Bar("mean, predicted", ((INK, predicted.mean_s, "predicted"),)),
        Bar("mean, measured", ((POLICY, measured.mean_s, "measured"),)),
        Bar("mean, backbone", ((BACKBONE, calibration.backbone_mean_s, "backbone"),)),
        Bar("p99, predicted", ((INK, predicted.p99_s, "predicted"),)),
        Bar("p99, measured", ((POLICY, measured.p99_s, "measured"),)),
    )
    scale, unit = units.seconds_scale(calibration.backbone_mean_s)
    error = measured.mean_s / predicted.mean_s - 1.0
    caption = (
        f"The mean is off by {100 * error:+.1f} %; within ±{100 * calibration.tolerance:.1f} % it agrees with the prediction "
        f"(noise floor {units.percent(calibration.noise_floor, 1)}, sampling error {units.percent(calibration.sampling_error, 1)})."
    )
    return BarFigure("calibration-kept", "Predicted and measured", caption, Axis(f"latency ({unit})", scale), bars)


def choice_reason(calibration: Calibration) -> str:
    """Why thresholds were chosen for another target than the one asked for: a closer one, or one that noise may have put out of reach."""
    asked = {bound.slot: bound.limit for bound in parse_target(calibration.target).bounds}
    chosen = parse_target(calibration.chosen_for).bounds
    if any(b.of.sign == "<=" and b.limit > asked.get(b.slot, b.limit) for b in chosen):
        return "the nearest that these times allow: none keeps the target itself, but noise may hide some that do"
    return "so that noise and chance leave the target itself met"


def _make_checks_table(calibration: Calibration) -> Table:
    confidence = "not asked for" if calibration.confidence is None else units.percent(calibration.confidence)
    other = calibration.chosen_for not in ("", calibration.target)
    chosen = f" Chosen for {calibration.chosen_for}, {choice_reason(calibration)}." if other else ""
    note = f"A bound is met where the whole 99 % interval for new data keeps its limit. Proof (--confidence): {confidence}.{chosen}"
    return replace(make_bounds_table(calibration), title=f"Target: {calibration.target}", note=note)


def make_bounds_table(calibration: Calibration) -> Table:
    """Every bound of the target with its limit, what was predicted and measured, its interval, and whether it is met."""
    columns = ("bound", "limit", "predicted", "measured", "for new data (99 %)", "state")
    return Table("Bounds", columns, tuple(map(_make_bound_row, calibration.checks)))


def _make_bound_row(check: BoundCheck) -> tuple[str, ...]:
    values = (format_bound_value(check.bound, v) for v in (check.limit, check.predicted, check.measured))
    interval = "n/a"
    if check.low is not None and check.high is not None:
        interval = f"{format_bound_value(check.bound, check.low)} to {format_bound_value(check.bound, check.high)}"
    state = check.state or ("met" if check.met else "not met")
    return check.bound, *values, interval, "NOT MET" if state == "not met" else state


def format_bound_value(bound: str, value: float | None) -> str:
    """A value in the unit of its bound, such as seconds for `mean<=0.6x` and percentage points for `drop<=1`."""
    if value is None:
        return "not run"
    metric = bound.split("<", maxsplit=1)[0].split(">", maxsplit=1)[0].strip()
    if metric == "drop":
        return f"{value:.2f} points"
    if metric in METRICS and METRICS[metric].tail is not None:
        return f"{units.percent(value)} above"
    shown = {"mean": units.seconds, "energy": units.joules, "macs": units.format_number}
    return shown.get(metric, units.percent)(value)


def _make_figures_table(calibration: Calibration) -> Table:
    both: Sequence[PolicyPerformance | None] = (calibration.predicted, calibration.measured)

    def row(name: str, cells: Sequence[str]) -> tuple[str, ...]:
        return (name, *cells)

    rows = (
        row("samples", ["n/a" if f is None else str(f.samples) for f in both]),
        row("accuracy", [_format_share(f, "accuracy") for f in both]),
        row("agreement with the backbone", [_format_share(f, "agreement") for f in both]),
        row("mean", [units.seconds(None if f is None else f.mean_s) for f in both]),
        row("p99", [units.seconds(None if f is None else f.p99_s) for f in both]),
        row("exit rates", ["n/a" if f is None else ", ".join(units.percent(r, 1) for r in f.exit_rates) for f in both]),
        row("energy", [units.joules(None if f is None else f.energy_j) for f in both]),
    )
    note = (
        f"Backbone: mean {units.seconds(calibration.backbone_mean_s)}, p99 {units.seconds(calibration.backbone_p99_s)}."
    )
    return Table("Predicted and measured", ("", "predicted", "measured"), rows, note)


def _format_share(figures: PolicyPerformance | None, name: str) -> str:
    share = None if figures is None else getattr(figures, name)
    return "n/a" if figures is None else format_share_with_interval(share, figures.samples)


def _make_exits_table(calibration: Calibration) -> Table:
    n = calibration.parts.choose
    rows = tuple(
        (
            str(e.exit),
            *(format_share_with_interval(v, n) for v in (e.accuracy, e.agreement)),
            units.seconds(e.mean_s),
            units.seconds(e.p99_s),
            units.format_number(e.macs),
        )
        for e in calibration.exits
    )
    columns = ("exit", "accuracy", "agreement", "mean", "p99", "MACs")
    return Table("If all samples left at one exit", columns, rows)


def _make_setting_table(calibration: Calibration) -> Table:
    c = calibration
    thresholds = ", ".join(f"{t:.4g}" for t in c.thresholds)
    rows = (
        ("thresholds", f"{thresholds} {c.unit} ({c.criterion}), chosen by: {c.choice.method}"),
        ("device and settings", c.key),
        (
            "data",
            f"{c.parts.data}: {c.parts.choose} chose, {c.parts.certify} certified, {c.parts.validate} validated, seed {c.parts.seed}",
        ),
        ("validity", "; ".join([c.validity, *sort_by_gravity(c.reasons)])),
        ("made", c.created),
    )
    return Table("How it was calibrated", ("", ""), rows)
