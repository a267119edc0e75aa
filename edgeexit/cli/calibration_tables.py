"""A calibration on the terminal."""

from __future__ import annotations

from edgeexit import units
from edgeexit.calibration import Calibration, parse_target
from edgeexit.calibration.result import Check, Figures


def print_calibration(result: Calibration) -> None:
    """Print what was chosen, predicted beside measured, every bound, every exit, and the remarks."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for title, columns, rows in (_summary(result), _bounds(result), _exits(result)):
        table = Table(*columns, title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD)
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)
    for line in _remarks(result):
        console.print(Text(line))


def _summary(result: Calibration) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    shown = [("predicted", result.predicted), *([("measured", result.measured)] if result.measured else [])]
    rows = [_figures(name, figures) for name, figures in shown]
    rows.append(("backbone", "", units.seconds(result.backbone_mean_s), units.seconds(result.backbone_p99_s), ""))
    thresholds = ", ".join(f"{t:.4g}" for t in result.thresholds)
    title = f"{result.target}: {result.criterion} thresholds {thresholds} ({result.unit})"
    return title, ("", "accuracy", "mean", "p99", "leave at exit 1, 2, ..."), rows


def _figures(name: str, figures: Figures) -> tuple[str, ...]:
    quality = figures.accuracy if figures.accuracy is not None else figures.agreement
    rates = " · ".join(units.percent(r, 1) for r in figures.exit_rates)
    times = units.seconds(figures.mean_s), units.seconds(figures.p99_s)
    return f"{name} ({figures.samples} samples)", units.percent(quality), *times, rates


def _bounds(result: Calibration) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    rows = [_bound(check) for check in result.checks]
    return "Bounds", ("bound", "limit", "predicted", "measured", "room for noise", ""), rows


def _bound(check: Check) -> tuple[str, ...]:
    values = (check.limit, check.predicted, check.measured, check.room)
    return check.bound, *(_value(check, v) for v in values), "met" if check.met else "MISSED"


def _value(check: Check, value: float | None) -> str:
    """A value in the unit of its bound."""
    if value is None:
        return "not run"
    name = check.bound.split("<")[0].split(">")[0]
    if name == "mean":
        return units.seconds(value)
    if name == "energy":
        return units.joules(value)
    if name == "macs":
        return units.count(value)
    return f"{value:.2f} points" if name == "drop" else units.percent(value)


def _exits(result: Calibration) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    rows: list[tuple[str, ...]] = [
        (
            str(e.exit),
            units.percent(e.accuracy if e.accuracy is not None else e.agreement),
            units.seconds(e.mean_s),
            units.seconds(e.p99_s),
            units.count(e.macs),
        )
        for e in result.exits
    ]
    return "Every exit, if all samples left there", ("exit", "accuracy", "mean", "p99", "MACs"), rows


def _remarks(result: Calibration) -> list[str]:
    lines = [] if result.policy.gap is None else [_gap(result)]
    if result.measured is not None:
        lines.append(
            f"noise floor {units.percent(result.noise_floor)}, sampling error {units.percent(result.sampling_error)}, "
            f"tolerance {units.percent(result.tolerance)}; device state {result.validity}"
            + (f" ({'; '.join(result.reasons)})" if result.reasons else "")
        )
    if result.certificate is not None:
        lines.append(
            f"proved at {result.certificate.confidence:g} confidence with {result.certificate.samples} samples"
        )
    lines += [f"implausible data, used with --force: {finding.text}" for finding in result.findings]
    lines += [f"note: {v.text}" for v in result.verdicts]
    verdict = "met" if result.met else "NOT MET: the device did not confirm the target"
    return [*lines, f"{units.ratio(result.speedup)} the speed of the backbone; target {verdict}"]


def _gap(result: Calibration) -> str:
    gap = result.policy.gap or 0.0
    if gap == 0:
        return "proved optimal on the choose part"
    better = (
        f"{units.seconds(gap)} faster"
        if parse_target(result.target).minimises_mean
        else f"{100 * gap:.2f} points better"
    )
    return f"no thresholds are more than {better} on the choose part"
