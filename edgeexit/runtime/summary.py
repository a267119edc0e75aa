"""A runner in short."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeexit.util.display import Summary
from edgeexit.util.units import format_count

if TYPE_CHECKING:
    from edgeexit.runtime.runner import Runner


def format_runner_summary(runner: Runner) -> Summary:
    """Settings and thresholds, and the target of the calibration that they came from."""
    s, thresholds = runner.settings, ", ".join(f"{t:.4g}" for t in runner.thresholds)
    calibration = runner.calibration
    target = _describe_uncalibrated(runner) if calibration is None else str(calibration.target)
    line = f"{s.backend}, {s.mode}, {s.precision}, {format_count(s.threads, 'thread')}, thresholds [{thresholds}]"
    facts = (
        ("bundle", str(runner.bundle.path)),
        ("settings", f"{s.backend}, {s.mode}, {s.precision}, {format_count(s.threads, 'thread')}"),
        ("exits", str(runner.exits)),
        ("thresholds", f"{thresholds} {runner.criterion.unit} ({runner.criterion.name})"),
        ("calibrated for", target),
    )
    return Summary(runner.bundle.path.name, line, facts)


def _describe_uncalibrated(runner: Runner) -> str:
    if runner.has_default_thresholds:
        return "none: the thresholds are those that the model came with"
    return "none: it leaves early only where thresholds are set"
