"""The tables of a calibration: the terminal, Markdown, CSV and the page all print these."""

from __future__ import annotations

from edgeexit.calibration import Calibration, parse_target
from edgeexit.calibration.result import BoundCheck, PolicyPerformance
from edgeexit.calibration.targets import find_metric
from edgeexit.measure.shares import find_share_interval
from edgeexit.measure.statistics import Interval
from edgeexit.report.table import Table
from edgeexit.report.tables import format_share_with_interval
from edgeexit.report.validity_reasons import sort_by_gravity
from edgeexit.util import units


def make_calibration_tables(calibration: Calibration) -> list[Table]:
    """The target's bounds, predicted and measured figures, the exits, and how it came about."""
    return [
        make_bounds_table(calibration),
        _make_performance_table(calibration),
        _make_exits_table(calibration),
        _make_setting_table(calibration),
    ]


def compute_quality_interval(figures: PolicyPerformance) -> Interval | None:
    """The 95 % interval of the accuracy, or of the agreement where there are no labels."""
    share = figures.agreement if figures.accuracy is None else figures.accuracy
    return find_share_interval(share, figures.samples)


def make_bounds_table(calibration: Calibration) -> Table:
    """Every bound of the target with its limit, what was predicted and measured, its interval, and whether it is met."""
    columns = ("bound", "limit", "predicted", "measured", "new data (99 %)", "state")
    rows = tuple(map(_make_bound_row, calibration.checks))
    note = "A bound is met where the whole 99 % interval for new data keeps its limit."
    if calibration.candidates > 1:
        note += f" The same data chose among several candidates, which count as {calibration.candidates:.1f}: intervals are wider for it."
    if calibration.chosen_for not in ("", calibration.target):
        note += f" Chosen for {calibration.chosen_for!r}, {explain_choice(calibration)}."
    return Table(f"Target: {calibration.target}", columns, rows, note)


def _make_bound_row(check: BoundCheck) -> tuple[str, ...]:
    values = (format_bound_value(check.bound, v) for v in (check.limit, check.predicted, check.measured))
    interval = "n/a"
    if check.low is not None and check.high is not None:
        interval = _format_range(check.bound, check.low, check.high)
    state = check.state or ("met" if check.met else "not met")
    return check.bound, *values, interval, "NOT MET" if state == "not met" else state


def _format_range(bound: str, low: float, high: float) -> str:
    """`25.6 to 29.7 µs`; both with their unit where it differs."""
    first, second = format_bound_value(bound, low), format_bound_value(bound, high)
    number, _, unit = first.partition(" ")
    return f"{number if unit == second.partition(' ')[2] else first} to {second}"


def format_bound_value(bound: str, value: float | None) -> str:
    """A value in the unit of its bound, such as seconds for `mean<=0.6x` and percentage points for `drop<=1`."""
    if value is None:
        return "not run"
    metric = find_metric(bound)
    return units.percent(value) if metric is None else metric.format_value(value)


def explain_choice(calibration: Calibration) -> str:
    """Why thresholds were chosen for another target than the one asked for: a closer one, or one that noise may have put out of reach."""
    asked = {bound.slot: bound.limit for bound in parse_target(calibration.target).bounds}
    chosen = parse_target(calibration.chosen_for).bounds
    if any(b.kind.sign == "<=" and b.limit > asked.get(b.slot, b.limit) for b in chosen):
        return "the nearest that these times allow: none keeps the target itself, but noise may hide some that do"
    return "so that noise and chance leave the target itself met"


def _make_performance_table(calibration: Calibration) -> Table:
    both = (calibration.predicted, calibration.measured)
    rows = (
        ("samples", *("n/a" if f is None else str(f.samples) for f in both)),
        ("accuracy", *(_format_share(f, "accuracy") for f in both)),
        ("agreement with the backbone", *(_format_share(f, "agreement") for f in both)),
        ("mean", *(units.seconds(None if f is None else f.mean_s) for f in both)),
        ("p99", *(units.seconds(None if f is None else f.p99_s) for f in both)),
        ("exit rates", *("n/a" if f is None else _format_rates(f) for f in both)),
        ("energy", *(units.joules(None if f is None else f.energy_j) for f in both)),
    )
    backbone = f"mean {units.seconds(calibration.backbone_mean_s)}, p99 {units.seconds(calibration.backbone_p99_s)}"
    return Table("Predicted and measured", ("", "predicted", "measured"), rows, f"Backbone: {backbone}.")


def _format_share(figures: PolicyPerformance | None, name: str) -> str:
    return "n/a" if figures is None else format_share_with_interval(getattr(figures, name), figures.samples)


def _format_rates(figures: PolicyPerformance) -> str:
    return ", ".join(units.percent(rate, 1) for rate in figures.exit_rates)


def _make_exits_table(calibration: Calibration) -> Table:
    labelled = calibration.predicted.accuracy is not None
    rates = (calibration.measured or calibration.predicted).exit_rates
    thresholds = (*map(units.significant, calibration.thresholds), "")
    rows = tuple(
        (
            str(e.exit),
            format_share_with_interval(e.accuracy if labelled else e.agreement, calibration.parts.choose),
            units.seconds(e.mean_s),
            units.seconds(e.p99_s),
            units.format_number(e.macs),
            threshold,
            units.percent(rate, 1),
        )
        for e, threshold, rate in zip(calibration.exits, thresholds, rates, strict=True)
    )
    quality = "accuracy" if labelled else "agreement"
    columns = ("exit", quality, "mean", "p99", "MACs", "threshold", "leave here")
    return Table("Exits: if all samples left there, and the policy", columns, rows)


def _make_setting_table(calibration: Calibration) -> Table:
    c = calibration
    data = f"{c.parts.chose}, {c.parts.certify} certified, {c.parts.validate} validated, seed {c.parts.seed}"
    gap = [] if c.policy.gap is None else [("optimality", _format_gap(c))]
    rows = (
        ("criterion", f"{c.criterion}, thresholds in {c.unit}"),
        ("chosen by", c.choice.method),
        *gap,
        ("certificate", _format_certificate(c)),
        ("device and settings", c.key),
        ("data", f"{c.parts.data}: {data}"),
        ("validity", "; ".join([c.validity, *sort_by_gravity(c.reasons)])),
        ("made", c.created),
    )
    return Table("How it was calibrated", ("", ""), rows)


def _format_certificate(calibration: Calibration) -> str:
    if calibration.certificate is None:
        return "not asked for (--confidence)"
    return f"at {calibration.certificate.confidence:g} confidence with {calibration.certificate.samples} samples"


def _format_gap(calibration: Calibration) -> str:
    gap = calibration.policy.gap or 0.0
    if gap == 0:
        return "proved optimal on the choose part"
    faster = parse_target(calibration.target).minimises_mean
    better = f"{units.seconds(gap)} faster" if faster else f"{units.fixed(100 * gap, 2)} points better"
    return f"no thresholds are more than {better} on the choose part"
