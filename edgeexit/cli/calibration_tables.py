"""A calibration on the terminal."""

from __future__ import annotations

from edgeexit.calibration import Calibration, parse_target
from edgeexit.calibration.result import PolicyPerformance
from edgeexit.cli.printing import print_list, print_tables, print_text, print_verdict
from edgeexit.report.calibrated import choice_reason, make_bounds_table
from edgeexit.report.table import Table
from edgeexit.report.tables import format_share_with_interval
from edgeexit.util import units

_LISTED = 4
"""Exits whose thresholds and shares fit into one line; of more, the table of the exits has them."""


def print_calibration(result: Calibration) -> None:
    """Print what was chosen, predicted beside measured, every bound, every exit, the remarks, and the verdict last."""
    print_tables([_make_summary_table(result), make_bounds_table(result), _make_exits_table(result)])
    print_list(_list_remarks(result)[:-1])
    print_list(result.reasons, heading=f"The device's state was {result.validity}:", style="yellow")
    for what, sentence in result.verdict.lines():
        state, _, rest = sentence.partition(": ")
        print_verdict(f"{what} {state}", rest)
    print_list(result.verdict.advice)
    print_text(_format_last_line(result))


def _make_summary_table(result: Calibration) -> Table:
    shown = [("predicted", result.predicted), *([("measured", result.measured)] if result.measured else [])]
    few = len(result.exits) <= _LISTED
    rows = [_make_figures_row(name, figures, few=few) for name, figures in shown]
    rows.append(
        ("backbone", "", "", units.seconds(result.backbone_mean_s), units.seconds(result.backbone_p99_s), *[""] * few)
    )
    thresholds = f" {', '.join(f'{t:.4g}' for t in result.thresholds)}" if few else ""
    title = f"{result.target}: {result.criterion} thresholds{thresholds} ({result.unit})"
    return Table(title, ("", "samples", "accuracy", "mean", "p99", *["exit rates"] * few), tuple(rows))


def _make_figures_row(name: str, figures: PolicyPerformance, *, few: bool) -> tuple[str, ...]:
    quality = figures.accuracy if figures.accuracy is not None else figures.agreement
    rates = [" · ".join(units.percent(r, 1) for r in figures.exit_rates)] * few
    times = units.seconds(figures.mean_s), units.seconds(figures.p99_s)
    return name, str(figures.samples), format_share_with_interval(quality, figures.samples), *times, *rates


def _make_exits_table(result: Calibration) -> Table:
    rates = (result.measured or result.predicted).exit_rates
    thresholds = (*(f"{t:.4g}" for t in result.thresholds), "")
    rows = tuple(
        (
            str(e.exit),
            format_share_with_interval(e.accuracy if e.accuracy is not None else e.agreement, result.parts.choose),
            units.seconds(e.mean_s),
            units.seconds(e.p99_s),
            units.format_number(e.macs),
            threshold,
            units.percent(rate, 1),
        )
        for e, threshold, rate in zip(result.exits, thresholds, rates, strict=True)
    )
    columns = ("exit", "accuracy", "mean", "p99", "MACs", "threshold", "leave here")
    return Table("Every exit, if all samples left there, and the thresholds", columns, rows)


def _list_remarks(result: Calibration) -> list[str]:
    lines = [] if result.policy.gap is None else [_format_gap(result)]
    if result.chosen_for not in ("", result.target):
        lines.append(f"chosen for '{result.chosen_for}', {choice_reason(result)}")
    if result.certificate is not None:
        lines.append(
            f"proved at {result.certificate.confidence:g} confidence with {result.certificate.samples} samples"
        )
    lines += [f"implausible data, used with --force: {finding.text}" for finding in result.findings]
    return [*lines, *(f"note: {v.text}" for v in result.verdicts), _format_last_line(result)]


def _format_last_line(result: Calibration) -> str:
    return f"{units.ratio(result.speedup)} the speed of the backbone; {result.verdict.summary()}"


def _format_gap(result: Calibration) -> str:
    gap = result.policy.gap or 0.0
    if gap == 0:
        return "proved optimal on the choose part"
    better = (
        f"{units.seconds(gap)} faster"
        if parse_target(result.target).minimises_mean
        else f"{100 * gap:.2f} points better"
    )
    return f"no thresholds are more than {better} on the choose part"
