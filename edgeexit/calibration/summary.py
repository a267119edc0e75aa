"""A calibration in short."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeexit.measure.shares import find_share_interval
from edgeexit.util import units
from edgeexit.util.display import Summary

if TYPE_CHECKING:
    from edgeexit.calibration.result import Calibration, PolicyPerformance


def format_calibration_summary(calibration: Calibration) -> Summary:
    """Target, thresholds, and what the device did, or what is predicted where nothing was run."""
    c, shown = calibration, calibration.measured or calibration.predicted
    thresholds = " ".join(f"{t:.4g}" for t in c.thresholds)
    bounds, how = c.verdict.bounds, "measured" if c.measured else "predicted"
    line = (
        f"target {bounds}, thresholds {thresholds} {c.unit}, {how} mean {units.seconds(shown.mean_s)} "
        f"({units.ratio(c.speedup)} as fast as the backbone), {_format_quality(shown)}"
    )
    facts = (
        ("target", c.target),
        *c.verdict.lines(),
        ("thresholds", f"{thresholds} {c.unit} ({c.criterion})"),
        (f"mean latency, {how}", units.seconds(shown.mean_s)),
        ("mean latency, backbone", units.seconds(c.backbone_mean_s)),
        ("speed of the backbone", units.ratio(c.speedup)),
        (f"p99 latency, {how}", units.seconds(shown.p99_s)),
        ("quality", f"{_format_quality(shown)}{_format_interval(shown)}"),
        ("leave at each exit", " · ".join(units.percent(rate, 1) for rate in shown.exit_rates)),
        ("device and settings", c.key),
        ("data", f"{c.parts.data}: {c.parts.chose}, {c.parts.validate} validated"),
        *((what, sentence) for what, sentence in c.verdict.lines() if what != "bounds"),
        ("validity", "; ".join([c.validity, *c.reasons])),
    )
    return Summary(c.target, line, facts)


def _format_quality(figures: PolicyPerformance) -> str:
    if figures.accuracy is None:
        return f"agreement {units.percent(figures.agreement)}"
    return f"accuracy {units.percent(figures.accuracy)}"


def _format_interval(figures: PolicyPerformance) -> str:
    share = figures.agreement if figures.accuracy is None else figures.accuracy
    interval = find_share_interval(share, figures.samples)
    return "" if interval is None else f" ({units.percent_range(interval.low, interval.high)})"
