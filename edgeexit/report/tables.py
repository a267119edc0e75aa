"""The tables of a result as plain text cells: the command line, Markdown, CSV and HTML all print the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeexit.measure import BenchResult, ResultComparison
from edgeexit.measure.result.parts import Accuracy, Breakdown, CachingAudit, Latency, PacedSeries, Percentile
from edgeexit.measure.shares import find_share_interval
from edgeexit.measure.statistics import Interval
from edgeexit.measure.verdict import Comparison, Ratio
from edgeexit.report.extras import make_extra_tables
from edgeexit.report.table import Table
from edgeexit.report.validity_reasons import sort_by_gravity
from edgeexit.util import units


def make_result_tables(result: BenchResult) -> list[Table]:
    """Every table of a result, the headline first; a part that was not measured is a row with the reason."""
    tables = [make_headline_table(result), make_exit_table(result)]
    if result.latency.breakdown is not None:
        tables.append(_make_breakdown_table(result.latency.breakdown))
    if result.against is not None:
        tables.append(_make_against_table(result))
    if result.audit is not None:
        tables.append(_make_audit_table(result.audit))
    if result.paced is not None:
        tables.append(_make_paced_table(result))
    if result.cold is not None:
        tables.append(_make_pair_table("Cold caches", result.cold.mixture, result.cold.backbone))
    return [*tables, *make_extra_tables(result), _make_setting_table(result), _list_not_measured(result)]


def format_interval(interval: Interval | None) -> str:
    """`16.0 µs … 17.1 µs`, or `n/a`."""
    return "n/a" if interval is None else f"{units.seconds(interval.low)} … {units.seconds(interval.high)}"


def format_ratio(ratio: Ratio) -> str:
    """`0.52 × (0.51 … 0.53)`."""
    around = (
        "" if ratio.ci95 is None else f" ({units.format_ratio(ratio.ci95.low)} … {units.format_ratio(ratio.ci95.high)})"
    )
    return f"{units.ratio(ratio.value)}{around}"


def compute_speedup(result: BenchResult) -> float:
    """Mean of the backbone over mean of the early exit."""
    return result.latency.backbone.mean_s / result.latency.mixture.mean_s


def format_verdict(comparison: Comparison) -> str:
    """The verdict, with its reasons where it has any."""
    return comparison.verdict + (f": {'; '.join(comparison.reasons)}" if comparison.reasons else "")


def format_share(share: float | None, interval: Interval | None) -> str:
    """`98.75 % (97.1 … 99.5 %)`, or `n/a`."""
    around = "" if interval is None else f" ({units.percent_range(interval.low, interval.high)})"
    return units.percent(share) + around


def format_share_with_interval(share: float | None, samples: int) -> str:
    """A share of that many samples with its 95 % interval: `98.75 % (97.1 … 99.5 %)`; `n/a` for None."""
    return format_share(share, find_share_interval(share, samples))


def format_share_range(interval: Interval | None) -> str:
    """`97.1 … 99.5 %`, or `n/a`."""
    return "n/a" if interval is None else units.percent_range(interval.low, interval.high)


def format_accuracy_change(accuracy: Accuracy) -> str:
    """The change of accuracy against the backbone: `-0.60 points (-1.48 … +0.28)`, or `n/a`."""
    interval = accuracy.change_ci95
    around = (
        ""
        if interval is None
        else f" ({units.fixed(100 * interval.low, 2, signed=True)} … {units.fixed(100 * interval.high, 2, signed=True)})"
    )
    return units.points(accuracy.change) + around


def make_headline_table(result: BenchResult) -> Table:
    """Early exit beside the backbone."""
    latency, accuracy = result.latency, result.accuracy
    rows = [_make_accuracy_row(accuracy), *_make_latency_rows(latency.mixture, latency.backbone)]
    note = (
        f"{format_verdict(latency.against_backbone)}. Ratio of the typical latencies {format_ratio(latency.against_backbone.typical)}, "
        f"of the means {format_ratio(latency.against_backbone.mean)}; early exit is "
        f"{units.ratio(compute_speedup(result))} as fast in the mean. "
        "Intervals are 95 %: of times over processes, of accuracies over samples. ≤ is the upper bound at 99 % confidence."
    )
    return Table(
        "Early exit and backbone", ("", "early exit", "backbone", "ratio"), tuple(rows), note, _format_mark(result)
    )


def _make_accuracy_row(accuracy: Accuracy) -> tuple[str, str, str, str]:
    if accuracy.overall is None:
        return "agreement", format_share(accuracy.agreement, accuracy.agreement_ci95), "", "no labels"
    ours, theirs = (accuracy.overall, accuracy.overall_ci95), (accuracy.backbone, accuracy.backbone_ci95)
    return "accuracy", format_share(*ours), format_share(*theirs), format_accuracy_change(accuracy)


def _format_mark(result: BenchResult) -> str:
    """Notes that limit how far the times of a table can be trusted."""
    return "" if result.validity.status == "valid" else result.validity.status


def _make_latency_rows(mixture: Latency, backbone: Latency) -> Iterator[tuple[str, str, str, str]]:
    yield (
        "mean",
        _format_with_interval(mixture.mean_s, mixture.mean_ci95),
        _format_with_interval(backbone.mean_s, backbone.mean_ci95),
        units.ratio(mixture.mean_s / backbone.mean_s),
    )
    for one, two in zip(mixture.percentiles, backbone.percentiles, strict=True):
        yield f"p{one.q:g}", format_percentile(one), format_percentile(two), units.ratio(one.value_s / two.value_s)


def _format_with_interval(value_s: float, interval: Interval | None) -> str:
    return units.seconds(value_s) + ("" if interval is None else f" ({format_interval(interval)})")


def format_percentile(percentile: Percentile) -> str:
    """The percentile with its bound, or how many samples a bound needs."""
    if percentile.upper_c99_s is None:
        return f"{units.seconds(percentile.value_s)} ({format_samples_needed(percentile)})"
    return f"{units.seconds(percentile.value_s)} (≤ {units.seconds(percentile.upper_c99_s)})"


def format_samples_needed(percentile: Percentile) -> str:
    """How many samples a bound of this percentile needs."""
    return f"bound needs {percentile.needed} samples"


def make_exit_table(result: BenchResult) -> Table:
    """Table of exits: share, accuracy and times."""
    columns = (
        "exit",
        "share",
        "accuracy of these",
        "accuracy alone",
        "mean in the mixture",
        "forced median",
        "forced p99",
    )
    rows = []
    for accuracy, latency in zip(result.accuracy.per_exit, result.latency.per_exit, strict=True):
        forced = latency.forced
        rows.append(
            (
                str(accuracy.exit),
                units.percent(accuracy.share, 1),
                format_share(accuracy.accuracy, accuracy.accuracy_ci95),
                format_share(accuracy.alone, accuracy.alone_ci95),
                units.seconds(latency.natural.mean_s if latency.natural else None),
                units.seconds(forced.typical_s),
                format_percentile(forced.percentile(99.0)),
            )
        )
    closure = result.latency.closure
    note = (
        f"Closure: the forced medians weighted by the shares give {units.seconds(closure.predicted_s)}, the mixture took "
        f"{units.seconds(closure.measured_s)} ({units.change(closure.error)})."
    )
    return Table("Exits", columns, tuple(rows), note, _format_mark(result))


def _make_breakdown_table(breakdown: Breakdown) -> Table:
    rows, stages_s, criteria_s = [], 0.0, 0.0
    for cost in breakdown.exits:
        stages_s, criteria_s = stages_s + cost.stage_s, criteria_s + (cost.gate_s or 0.0)
        criteria = None if cost.gate_s is None else criteria_s
        cells = (stages_s, criteria, cost.overhead_s, stages_s + criteria_s + cost.overhead_s)
        rows.append((f"exit {cost.exit}", *map(units.seconds, cells)))
    reason = "" if breakdown.reason is None else f" {breakdown.reason.capitalize()}."
    note = f"Medians of leaving there. Overhead is end to end less the engines: input, comparing, prediction.{reason}"
    return Table("Where the time goes", ("", "stages", "criteria", "overhead", "end to end"), tuple(rows), note)


def _make_against_table(result: BenchResult) -> Table:
    assert result.against is not None
    other, mine = result.against, result.latency.mixture
    rows = [
        ("bundle", result.subject.bundle, other.subject.bundle, ""),
        ("mode", result.subject.mode, other.subject.mode, ""),
        ("thresholds", _format_numbers(result.subject.thresholds), _format_numbers(other.subject.thresholds), ""),
        (
            "accuracy",
            format_share(result.accuracy.overall, result.accuracy.overall_ci95),
            format_share_with_interval(other.accuracy, result.workload.n),
            "",
        ),
        *_make_latency_rows(mine, other.latency),
    ]
    note = (
        f"{format_verdict(other.comparison)}. Ratio of the typical latencies {format_ratio(other.comparison.typical)}."
    )
    return Table("Against another early exit", ("", "this", "other", "ratio"), tuple(rows), note, _format_mark(result))


def _make_audit_table(audit: CachingAudit) -> Table:
    rows = tuple(_make_latency_rows(audit.same, audit.unique))
    note = (
        f"Forced to the last exit: {format_verdict(audit.comparison)}. Typical: {format_ratio(audit.comparison.typical)}. "
        "An input that was just seen must not be answered sooner."
    )
    return Table(
        "Audit for caches of inputs or answers", ("", "one input", f"{audit.inputs} in turn", "ratio"), rows, note
    )


def _make_paced_table(result: BenchResult) -> Table:
    assert result.paced is not None
    paced = result.paced
    rows = [
        (name, *_make_paced_cells(variant))
        for name, variant in (("early exit", paced.mixture), ("backbone", paced.backbone))
    ]
    title = (
        f"Paced: {paced.rate_hz:g} requests per second, {paced.arrivals}, due within {units.seconds(paced.deadline_s)}"
    )
    columns = ("", "requests", "mean", "p50", "p99", "late", "longest line", "finished per second")
    return Table(title, columns, tuple(rows), "Latency counts from the scheduled arrival, waiting in line included.")


def _make_paced_cells(variant: PacedSeries) -> tuple[str, ...]:
    by_q = {p.q: p for p in variant.percentiles}
    return (
        str(variant.n),
        units.seconds(variant.mean_s),
        units.seconds(by_q[50.0].value_s),
        format_percentile(by_q[99.0]),
        f"{variant.misses} ({units.percent(variant.misses / variant.n)})",
        str(variant.most_waiting),
        units.fixed(variant.achieved_hz, 1),
    )


def _make_pair_table(title: str, mixture: Latency, backbone: Latency) -> Table:
    return Table(title, ("", "early exit", "backbone", "ratio"), tuple(_make_latency_rows(mixture, backbone)))


def _format_numbers(values: Sequence[float]) -> str:
    return ", ".join(map(units.significant, values))


def _make_setting_table(result: BenchResult) -> Table:
    s, w, latency = result.subject, result.workload, result.latency
    cold = latency.cold_start
    rows = (
        ("validity", "; ".join([result.validity.status, *sort_by_gravity(result.validity.reasons)])),
        ("device", f"{result.device.key}: {result.device.facts.get('cpu', '')}"),
        ("bundle", f"{s.bundle}, model {s.source or ''} {(s.source_sha256 or s.model_sha256)[:12]}".replace("  ", " ")),
        (
            "settings",
            f"{s.backend}, {s.mode}, {s.precision}, {units.format_count(s.threads, 'thread')}, spinning {'on' if s.spin else 'off'}",
        ),
        ("policy", f"{s.criterion}, thresholds {_format_numbers(s.thresholds)} {s.threshold_unit}"),
        ("data", f"{w.data}, {w.n} of {w.n_given} samples, {w.order}, seed {w.seed}"),
        (
            "protocol",
            f"{w.preset}: {units.format_count(latency.processes, 'process', 'processes')} of {w.seconds_per_process:g} s, "
            f"{units.format_count(latency.mixture.n, 'sample')}",
        ),
        (
            "noise floor",
            f"the mix against itself: {format_ratio(latency.noise_floor.typical)}, {latency.noise_floor.verdict}",
        ),
        ("harness", f"adds {units.seconds(latency.harness_overhead_s)} to each sample; not subtracted"),
        (
            "cold start",
            f"import {units.seconds(cold.import_s)}, load {units.seconds(cold.load_s)}, "
            f"first inference {units.seconds(cold.first_s)}",
        ),
        ("made", f"{result.created} by edgeexit {result.tool.version}, run {result.run_id}"),
    )
    return Table("How it was measured", ("", ""), rows, " ".join(f"{note}." for note in result.notes))


def _list_not_measured(result: BenchResult) -> Table:
    parts = ("energy", "cache", "paced", "cold")
    rows = tuple((part, getattr(result, f"{part}_reason") or "") for part in parts if getattr(result, part) is None)
    return Table("Not measured", ("", "why"), rows)


def make_comparison_table(
    reference: BenchResult,
    candidate: BenchResult,
    compared: ResultComparison,
    names: tuple[str, str] = ("first", "second"),
) -> Table:
    """Two results that were measured apart, under the names of their files."""
    first, second = reference.latency.mixture, candidate.latency.mixture
    rows = [(key, *both, "") for key, both in compared.varied.items()]
    pair = [format_share(r.accuracy.overall, r.accuracy.overall_ci95) for r in (reference, candidate)]
    rows.append(("accuracy", *pair, units.points(compared.accuracy_change)))
    rows += [(name, one, two, ratio) for name, two, one, ratio in _make_latency_rows(second, first)]
    note = f"{format_verdict(compared.comparison)}. Ratio of the typical latencies {format_ratio(compared.comparison.typical)}"
    control = (
        ""
        if compared.control is None
        else f"; of the backbones, as a control, {format_ratio(compared.control.typical)}"
    )
    return Table("Comparison", ("", *names, "second / first"), tuple(rows), f"{note}{control}.")
