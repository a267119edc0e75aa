"""The figures of a calibration: what was chosen, out of what, and whether the device did as predicted."""

from __future__ import annotations

import numpy as np

from edgeexit.calibration import Calibration
from edgeexit.calibration.result import PolicyPerformance
from edgeexit.calibration.targets import find_metric
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
from edgeexit.util import units


def plot_calibration(calibration: Calibration) -> list[Picture]:
    """The front with the chosen policy, who leaves where along it, and predicted beside measured."""
    several = len({(p.mean_s, p.exit_rates) for p in calibration.curve}) > 1  # one point makes no curve
    found: list[Picture] = [plot_front(calibration), plot_exit_rates(calibration)] if several else []
    if calibration.measured is not None:
        found.append(plot_predicted_and_measured(calibration, calibration.measured))
    return found


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
        metric = find_metric(check.bound)
        if metric is not None and metric.axis:
            vertical = metric.axis == "latency"
            marks.append(ReferenceLine(check.limit, vertical=vertical, tone=TARGET, label=check.bound))
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
        f"The mean is off by {units.change(error)}; within ±{units.percent(calibration.tolerance, 1)} it agrees with the prediction "
        f"(noise floor {units.percent(calibration.noise_floor, 1)}, sampling error {units.percent(calibration.sampling_error, 1)})."
    )
    return BarFigure("calibration-kept", "Predicted and measured", caption, Axis(f"latency ({unit})", scale), bars)
