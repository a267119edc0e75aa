"""From what the processes measured to the report: latencies, closure, noise floor, verdict, and findings that make it suspect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.hardware.validity import Finding
from edgeexit.measure.accuracy import Decisions
from edgeexit.measure.breakdown import summarize_breakdown
from edgeexit.measure.processes import ProcessResult
from edgeexit.measure.result.aggregation import (
    ProcessExitTimes,
    TimingSeries,
    compute_exit_times,
    compute_latency,
    compute_percentiles,
    compute_thirds_ratio,
    split_even_odd,
    thin_series,
)
from edgeexit.measure.result.parts import (
    CachingAudit,
    Closure,
    ColdCacheLatency,
    ColdStart,
    ExitLatency,
    Latency,
    LatencyReport,
    PacedLatency,
    PacedSeries,
)
from edgeexit.measure.scenarios import Pace
from edgeexit.measure.verdict import Comparison, compare_processes
from edgeexit.util import units

_MOST_RAW = 10_000
_MOST_CV = 0.05
_MOST_DRIFT = 0.05
_MOST_CLOSURE = 0.05
_MOST_WIDTH = 0.03
_MOST_OVERHEAD_S = 1e-6
_LEAST_SAME = 0.9


@dataclass(frozen=True)
class RawMeasurement:
    """Everything from which the report is made.

    Attributes:
        decisions: what the accuracy pass saw.
        replicates: what each process measured.
        seed: random seed of every resampling.
        other: int64 [n], the exits of the other early exit that is timed too; None without one.
        interrupted: whether Ctrl-C ended the timing before all processes had run.
    """

    decisions: Decisions
    replicates: Sequence[ProcessResult]
    seed: int
    other: NDArray[np.int64] | None = None
    interrupted: bool = False

    @property
    def exits(self) -> int:
        """Number of exits."""
        return len(self.decisions.counts)

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of the data set that leaves at each exit, float64 [N]."""
        return self.decisions.counts / len(self.decisions.exits)

    def list_mixtures(self, name: str = "mixture") -> list[TimingSeries]:
        """The samples of the early exit in every process, each with its exit."""
        return [r.series_by_exit(name, self.decisions.exits) for r in self.replicates]

    def compute_forced_latencies(self) -> list[Latency]:
        """The latency of each forced exit, from the first."""
        return [compute_latency([r.series(f"forced_{k + 1}") for r in self.replicates]) for k in range(self.exits)]

    def compute_forced_exit_times(self) -> ProcessExitTimes:
        """Means and medians of the forced exits in every process."""
        each = [
            compute_exit_times([r.series(f"forced_{k + 1}") for r in self.replicates], 1) for k in range(self.exits)
        ]
        return ProcessExitTimes(np.hstack([s.means for s in each]), np.hstack([s.medians for s in each]))


def build_latency_report(measured: RawMeasurement) -> LatencyReport:
    """Latencies of early exit, backbone and every exit, their comparison, and where the time goes."""
    replicates, forced = measured.replicates, measured.compute_forced_latencies()
    mixture = _compute_mixture(measured, "mixture")
    backbone = compute_latency([r.series("backbone") for r in replicates])
    predicted_s = float(measured.shares @ [f.typical_s for f in forced])
    parts = [r.parts for r in replicates]
    fault = next((part for part in parts if isinstance(part, str)), None)
    return LatencyReport(
        harness_overhead_s=float(np.median([r.arrays["overhead_s"] for r in replicates])),
        processes=len(replicates),
        cold_start=ColdStart(*map(float, np.median([r.arrays["cold_start_s"] for r in replicates], axis=0))),
        mixture=mixture,
        backbone=backbone,
        per_exit=tuple(
            ExitLatency(k + 1, float(measured.shares[k]), _collect_natural_samples(measured, k + 1), forced[k])
            for k in range(measured.exits)
        ),
        closure=Closure(predicted_s, mixture.typical_s, predicted_s / mixture.typical_s - 1.0),
        against_backbone=compare_processes(backbone.processes, mixture.processes, paired=True),
        noise_floor=_compute_noise_floor(measured),
        breakdown=summarize_breakdown([part for part in parts if not isinstance(part, str)]) if fault is None else None,
        breakdown_reason=fault,
    )


def _compute_mixture(measured: RawMeasurement, name: str) -> Latency:
    return compute_latency(
        measured.list_mixtures(name), measured.decisions.counts, measured.compute_forced_exit_times(), measured.seed
    )


def _collect_natural_samples(measured: RawMeasurement, exit: int) -> Latency | None:
    """The samples of the mixture that left at this exit; None where some process had none."""
    variants = measured.list_mixtures()
    keep = [variant for variant in variants if len(variant.select_exit(exit))]
    return compute_latency([variant.restrict_to_exit(exit) for variant in keep]) if len(keep) == len(variants) else None


def _compute_noise_floor(measured: RawMeasurement) -> Comparison:
    even, odd = zip(*map(split_even_odd, measured.list_mixtures()), strict=True)
    stand_in = measured.compute_forced_exit_times()
    first, second = (compute_latency(side, measured.decisions.counts, stand_in) for side in (even, odd))
    return compare_processes(first.processes, second.processes, paired=True)


def build_against_report(measured: RawMeasurement, report: LatencyReport) -> tuple[Latency, Comparison] | None:
    """The latency of what is measured against, and the early exit compared with it; None where there is nothing."""
    if measured.other is None:
        return None
    variants = [r.series_by_exit("against", measured.other) for r in measured.replicates]
    other = compute_latency(variants, np.bincount(measured.other - 1).astype(np.int64), seed=measured.seed)
    return other, compare_processes(other.processes, report.mixture.processes, paired=True)


def build_audit_report(replicates: Sequence[ProcessResult]) -> CachingAudit:
    """The report of the audit; the processes had as many different inputs as the smallest of their traces."""
    unique, same = (compute_latency([r.series(f"audit.{name}") for r in replicates]) for name in ("unique", "same"))
    comparison = compare_processes(unique.processes, same.processes, paired=True)
    return CachingAudit(min(int(r.arrays["audit.inputs"][0]) for r in replicates), unique, same, comparison)


def find_audit_faults(audit: CachingAudit | None) -> Iterator[Finding]:
    """Answers that come sooner for an input seen just before were not computed again, or their input was kept."""
    if audit is not None and audit.comparison.verdict == "FASTER" and audit.comparison.typical.value < _LEAST_SAME:
        times = units.format_ratio(audit.comparison.typical.value)
        yield (
            "suspect",
            f"one input again and again takes {times} times as long as {audit.inputs} inputs in turn: "
            "some layer caches inputs or outputs",
        )


def build_paced_report(replicates: Sequence[ProcessResult], pace: Pace) -> PacedLatency:
    """The report of the paced requests; a request without a deadline is late after one period."""
    deadline_s = pace.deadline_s or 1.0 / pace.rate_hz
    mixture, backbone = (_build_paced_series(replicates, name, deadline_s) for name in ("mixture", "backbone"))
    return PacedLatency(pace.arrivals, pace.rate_hz, deadline_s, mixture, backbone)


def _build_paced_series(replicates: Sequence[ProcessResult], name: str, deadline_s: float) -> PacedSeries:
    due, start, end = ([r.arrays[f"paced.{name}.{part}"] for r in replicates] for part in ("due_s", "start_s", "end_s"))
    latency_s = np.concatenate([e - d for d, e in zip(due, end, strict=True)])
    service_s = np.concatenate([e - s for s, e in zip(start, end, strict=True)])
    waiting = [np.searchsorted(d, s, side="right") - np.arange(1, len(s) + 1) for d, s in zip(due, start, strict=True)]
    return PacedSeries(
        n=len(latency_s),
        mean_s=float(latency_s.mean()),
        percentiles=compute_percentiles(latency_s),
        service_mean_s=float(service_s.mean()),
        misses=int((latency_s > deadline_s).sum()),
        achieved_hz=len(latency_s) / sum(float(e[-1]) for e in end),
        most_waiting=max(int(line.max(initial=0)) for line in waiting),
    )


def build_cold_report(measured: RawMeasurement, flushed_bytes: int) -> ColdCacheLatency:
    """Latencies with flushed caches of early exit and backbone."""
    backbone = compute_latency([r.series("cold.backbone") for r in measured.replicates])
    return ColdCacheLatency(flushed_bytes, _compute_mixture(measured, "cold.mixture"), backbone)


def find_measurement_faults(measured: RawMeasurement, report: LatencyReport) -> Iterator[Finding]:
    """Findings that make the measurement suspect or invalid: changed decisions, processes that differ, drift, a slow harness."""
    differing = sum(_count_differing(measured, r) for r in measured.replicates)
    if differing:
        yield "invalid", f"{differing} inputs left at another exit while timed than in the accuracy pass"
    for name, latency in (("early exit", report.mixture), ("backbone", report.backbone)):
        if latency.between_process_cv is not None and latency.between_process_cv > _MOST_CV:
            yield (
                "suspect",
                f"{name} differs by {units.compact_percent(latency.between_process_cv)} between processes (1 sigma)",
            )
    drifts = [
        d
        for variant in measured.list_mixtures()
        if (d := compute_thirds_ratio(variant, measured.decisions.counts)) is not None
    ]
    if drifts and abs(float(np.median(drifts)) - 1.0) > _MOST_DRIFT:
        yield (
            "suspect",
            f"the last third of a process took {units.format_ratio(float(np.median(drifts)))} times as long as the first",
        )
    if report.harness_overhead_s > _MOST_OVERHEAD_S:
        yield "suspect", f"the harness adds {units.fixed(report.harness_overhead_s * 1e6, 2)} µs to each inference"


def _count_differing(measured: RawMeasurement, replicate: ProcessResult) -> int:
    expected: dict[str, NDArray[np.int64] | int] = {"mixture": measured.decisions.exits[replicate.places]}
    expected["backbone"] = measured.exits
    for exit in range(1, measured.exits + 1):
        expected[f"forced_{exit}"] = exit
    if measured.other is not None:
        expected["against"] = measured.other[replicate.places]
    return sum(replicate.count_differing_exits(name, exits) for name, exits in expected.items())


def collect_notes(measured: RawMeasurement, report: LatencyReport) -> Iterator[str]:
    """Notes that help to read the result and do not make it suspect."""
    last = float(measured.shares[-1])
    deep = [f"p{p.q:g}" for p in report.mixture.percentiles if last > 1.0 - p.q / 100.0]
    if deep and measured.exits > 1:
        yield f"{units.compact_percent(last)} reach the last exit, so {', '.join(deep)} of early exit are latencies of the last exit"
    if abs(report.closure.error) > _MOST_CLOSURE:
        yield (
            f"the forced exits explain the mixture to {units.compact_percent(report.closure.error, signed=True)} only: "
            "exits disturb each other (caches, clocks, branches)"
        )
    if report.breakdown_reason is not None:
        yield f"where the time goes was not measured: {report.breakdown_reason}"
    if (measured.decisions.counts == len(measured.decisions.exits)).any():
        yield f"every sample leaves at exit {int(measured.decisions.exits[0])}: the other exits cost and never answer"
    for name, latency in (("early exit", report.mixture), ("the backbone", report.backbone)):
        half = _compute_relative_half_width(latency)
        if half is not None and half > _MOST_WIDTH:
            width = units.compact_percent(half)
            yield f"the mean of {name} is known to ±{width} only: measure longer (--preset standard) on a quiet machine"
    missing = [str(e.exit) for e in report.per_exit if e.natural is None and e.share > 0]
    if missing:
        yield f"too few samples of exit {', '.join(missing)} in the mixture: its share of the mean is from the forced loop"


def _compute_relative_half_width(latency: Latency) -> float | None:
    """Half the width of the 95 % interval of the mean, divided by the mean; None without an interval."""
    interval = latency.mean_ci95
    return None if interval is None else (interval.high - interval.low) / 2.0 / latency.mean_s


def collect_raw_arrays(measured: RawMeasurement) -> dict[str, NDArray[Any]]:
    """The arrays of the raw file: at most 10,000 samples of each variant and process, and the accuracy pass."""
    variants = {
        "mixture": dict(enumerate(measured.list_mixtures())),
        "backbone": {p: r.series("backbone") for p, r in enumerate(measured.replicates)},
    }
    raw: dict[str, NDArray[Any]] = {}
    for name, all_variants in variants.items():
        kept = thin_series(all_variants, _MOST_RAW)
        raw[f"{name}_s"] = np.concatenate([variant.samples.values_s for variant in kept.values()]).astype(np.float32)
        raw[f"{name}_process"] = np.repeat(np.arange(len(kept)), [len(k.samples) for k in kept.values()]).astype(
            np.int16
        )
        raw[f"{name}_block"] = np.concatenate([variant.samples.blocks for variant in kept.values()]).astype(np.int32)
        if name == "mixture":
            raw["mixture_exit"] = np.concatenate([k.exits for k in kept.values() if k.exits is not None]).astype(
                np.int16
            )
    raw |= _collect_raw_forced(measured)
    return raw | {
        "exits": measured.decisions.exits.astype(np.int16),
        "scores": measured.decisions.scores,
        "hits": measured.decisions.hits,
    }


def _collect_raw_forced(measured: RawMeasurement) -> dict[str, NDArray[Any]]:
    values, exits = [], []
    for k in range(1, measured.exits + 1):
        kept = thin_series(
            {p: r.series(f"forced_{k}") for p, r in enumerate(measured.replicates)}, _MOST_RAW // measured.exits
        )
        values += [variant.samples.values_s for variant in kept.values()]
        exits += [np.full(len(variant.samples), k, np.int16) for variant in kept.values()]
    return {"forced_s": np.concatenate(values).astype(np.float32), "forced_exit": np.concatenate(exits)}
