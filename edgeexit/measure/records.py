"""A result as flat records: one per measurement, every value a number, a text, a truth value or None, units in the names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from edgeexit.errors import MissingExtra
from edgeexit.measure.result.parts import Latency, PacedSeries, Percentile
from edgeexit.measure.statistics import Interval
from edgeexit.util import units

if TYPE_CHECKING:
    from edgeexit.measure.energy.report import CallEnergy
    from edgeexit.measure.result.bench_result import BenchResult

Record: TypeAlias = dict[str, float | int | str | bool | None]


def make_bench_records(result: BenchResult) -> list[Record]:
    """Of a benchmark: early exit, backbone, every exit as it ran and forced, and whatever else was measured.

    `what` names the measurement; `exit` is the number of the exit where it is of one.
    """
    settings = _make_settings_columns(result)
    rows = [*_make_main_records(result), *_make_exit_records(result), *_make_other_records(result)]
    energy = _map_energies(result)
    return [{**settings, **row, **energy.get(str(row["what"]), {})} for row in rows]


def _make_settings_columns(result: BenchResult) -> Record:
    s, w = result.subject, result.workload
    return {
        "kind": "benchmark",
        "run_id": result.run_id,
        "created": result.created,
        "bundle": s.bundle,
        "source_sha256": s.source_sha256,
        "device": result.device.key,
        "backend": s.backend,
        "mode": s.mode,
        "precision": s.precision,
        "threads": s.threads,
        "criterion": s.criterion,
        "thresholds": " ".join(units.significant(t, 9) for t in s.thresholds),
        "target": s.target,
        "data": w.data,
        "samples": w.n,
        "preset": w.preset,
        "validity": result.validity.status,
        "verdict": result.latency.against_backbone.verdict,
    }


def _make_main_records(result: BenchResult) -> Iterator[Record]:
    accuracy, latency = result.accuracy, result.latency
    yield {
        "what": "early_exit",
        "exit": None,
        **make_share_columns("accuracy", accuracy.overall, accuracy.overall_ci95),
        **make_share_columns("agreement", accuracy.agreement, accuracy.agreement_ci95),
        **make_latency_columns(latency.mixture),
        **make_rate_columns([e.share for e in accuracy.per_exit]),
    }
    backbone = make_share_columns("accuracy", accuracy.backbone, accuracy.backbone_ci95)
    yield {"what": "backbone", "exit": None, **backbone, "agreement": 1.0, **make_latency_columns(latency.backbone)}


def _make_exit_records(result: BenchResult) -> Iterator[Record]:
    for quality, times in zip(result.accuracy.per_exit, result.latency.per_exit, strict=True):
        own = make_share_columns("accuracy", quality.accuracy, quality.accuracy_ci95)
        natural = {} if times.natural is None else make_latency_columns(times.natural)
        yield {"what": f"exit_{quality.exit}", "exit": quality.exit, "share": quality.share, **own, **natural}
        alone = make_share_columns("accuracy", quality.alone, quality.alone_ci95)
        forced: Record = {"what": f"exit_{quality.exit}_forced", "exit": quality.exit}
        yield {**forced, "share": quality.share, **alone, **make_latency_columns(times.forced)}


def _make_other_records(result: BenchResult) -> Iterator[Record]:
    if result.against is not None:
        yield {"what": "against", "accuracy": result.against.accuracy, **make_latency_columns(result.against.latency)}
    if result.cold is not None:
        yield {"what": "early_exit_cold", **make_latency_columns(result.cold.mixture)}
        yield {"what": "backbone_cold", **make_latency_columns(result.cold.backbone)}
    if result.paced is not None:
        yield {"what": "early_exit_paced", **_make_paced_columns(result.paced.mixture)}
        yield {"what": "backbone_paced", **_make_paced_columns(result.paced.backbone)}


def make_share_columns(name: str, share: float | None, interval: Interval | None) -> Record:
    """A share with the ends of its 95 % interval, from 0 to 1."""
    ends = (None, None) if interval is None else (interval.low, interval.high)
    return {name: share, f"{name}_low95": ends[0], f"{name}_high95": ends[1]}


def make_rate_columns(rates: Sequence[float]) -> Record:
    """The share that leaves at each exit, from `rate_exit_1` on."""
    return {f"rate_exit_{k}": rate for k, rate in enumerate(rates, 1)}


def make_latency_columns(latency: Latency) -> Record:
    """The figures of a latency in seconds: count, mean with its 95 % interval, typical value, smallest, percentiles with their bounds."""
    ends = (None, None) if latency.mean_ci95 is None else (latency.mean_ci95.low, latency.mean_ci95.high)
    return {
        "timed": latency.n,
        "mean_s": latency.mean_s,
        "mean_low95_s": ends[0],
        "mean_high95_s": ends[1],
        "typical_s": latency.typical_s,
        "min_s": latency.min_s,
        **_make_percentile_columns(latency.percentiles),
    }


def _make_percentile_columns(percentiles: Sequence[Percentile]) -> Record:
    values: Record = {f"p{p.q:g}_s": p.value_s for p in percentiles}
    return values | {f"p{p.q:g}_upper99_s": p.upper_c99_s for p in percentiles}


def _make_paced_columns(variant: PacedSeries) -> Record:
    late: Record = {"late": variant.misses, "finished_per_s": variant.achieved_hz}
    return {"timed": variant.n, "mean_s": variant.mean_s, **_make_percentile_columns(variant.percentiles), **late}


_CALLS = {"mix": "early_exit", "backbone": "backbone"}


def _map_energies(result: BenchResult) -> dict[str, Record]:
    """The energy columns of an inference, by the name of the record that they are added to."""
    calls = () if result.energy is None else result.energy.calls
    return {_name_record(call.name): _make_energy_columns(call) for call in calls}


def _name_record(call: str) -> str:
    return f"{call.replace(' ', '_')}_forced" if call.startswith("exit ") else _CALLS.get(call, call)


def _make_energy_columns(call: CallEnergy) -> Record:
    return {"energy_gross_j": call.gross_j, "energy_net_j": call.net_j, "power_w": call.power_w}


def make_data_frame(records: Sequence[Mapping[str, Any]]) -> Any:
    """The records as a pandas.DataFrame.

    Raises:
        MissingExtra: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtra("pandas", "pandas") from error
    return pd.DataFrame.from_records(list(records))
