"""A benchmark in short."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeexit.measure.statistics import Interval
from edgeexit.util import units
from edgeexit.util.display import Summary

if TYPE_CHECKING:
    from edgeexit.measure.result.bench_result import BenchResult


def summarize_bench(result: BenchResult) -> Summary:
    """Verdict, speed, latency and accuracy, with their 95 % intervals in the table."""
    s, latency, accuracy = result.subject, result.latency, result.accuracy
    mixture, backbone = latency.mixture, latency.backbone
    speed, verdict = units.ratio(backbone.mean_s / mixture.mean_s), latency.against_backbone.verdict
    quality, share = _get_quality(result)
    line = (
        f"{verdict}, {speed} as fast as the backbone, mean {units.seconds(mixture.mean_s)}, "
        f"{quality} {units.percent(share)}, {result.validity.status}"
    )
    interval = accuracy.agreement_ci95 if accuracy.overall is None else accuracy.overall_ci95
    facts = (
        ("verdict", verdict),
        ("speed of the backbone", speed),
        ("mean latency", f"{units.seconds(mixture.mean_s)}{_format_times(mixture.mean_ci95)}"),
        ("mean latency, backbone", f"{units.seconds(backbone.mean_s)}{_format_times(backbone.mean_ci95)}"),
        ("p99 latency", units.seconds(mixture.percentile(99.0).value_s)),
        (quality, f"{units.percent(share)}{_format_shares(interval)}"),
        ("accuracy, backbone", units.percent(accuracy.backbone)),
        ("leave at each exit", " · ".join(units.percent(e.share, 1) for e in accuracy.per_exit)),
        ("policy", f"{s.criterion}, {' '.join(map(units.significant, s.thresholds))} {s.threshold_unit}"),
        ("settings", f"{s.backend}, {s.mode}, {s.precision}, {units.format_count(s.threads, 'thread')}"),
        (
            "data",
            f"{result.workload.data}, {units.format_count(result.workload.n, 'sample')}, preset {result.workload.preset}",
        ),
        ("device", result.device.key),
        ("validity", "; ".join([result.validity.status, *result.validity.reasons])),
    )
    return Summary(s.bundle, line, facts)


def _get_quality(result: BenchResult) -> tuple[str, float]:
    accuracy = result.accuracy
    return ("agreement", accuracy.agreement) if accuracy.overall is None else ("accuracy", accuracy.overall)


def _format_times(interval: Interval | None) -> str:
    return "" if interval is None else f" ({units.seconds(interval.low)} … {units.seconds(interval.high)})"


def _format_shares(interval: Interval | None) -> str:
    return "" if interval is None else f" ({units.percent_range(interval.low, interval.high)})"
