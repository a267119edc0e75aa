"""A calibration as flat records: what was predicted and measured, every exit, and every policy of the curve."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgeexit.criteria import find_known_criterion
from edgeexit.measure.records import Record, make_rate_columns, make_share_columns
from edgeexit.measure.shares import find_share_interval

if TYPE_CHECKING:
    from edgeexit.calibration.result import Calibration, CurvePoint, ExitRow, PolicyPerformance


def make_calibration_records(calibration: Calibration) -> list[Record]:
    """`what` is `predicted`, `measured`, `backbone`, `exit_1`, ... (if all samples left there) or `curve` (one per policy)."""
    settings, n = _make_settings_columns(calibration), calibration.parts.choose
    named = [("predicted", calibration.predicted), ("measured", calibration.measured)]
    rows: list[Record] = [
        *(_make_figures_record(calibration, what, figures) for what, figures in named if figures is not None),
        {"what": "backbone", "mean_s": calibration.backbone_mean_s, "p99_s": calibration.backbone_p99_s},
        *(_make_exit_record(row, n) for row in calibration.exits),
        *_make_curve_records(calibration, n),
    ]
    return [{**settings, **row} for row in rows]


def _make_settings_columns(calibration: Calibration) -> Record:
    found: Record = {"kind": "calibration", "created": calibration.created, "key": calibration.key}
    for name in ("backend", "mode", "precision", "threads"):
        found[name] = calibration.settings.get(name)
    return {
        **found,
        "criterion": calibration.criterion,
        "threshold_unit": calibration.unit,
        "target": calibration.target,
        "data": calibration.parts.data,
        "validity": calibration.validity,
        "met": calibration.met,
    }


def _make_figures_record(calibration: Calibration, what: str, figures: PolicyPerformance) -> Record:
    return {
        "what": what,
        "samples": figures.samples,
        "thresholds": " ".join(f"{t:.9g}" for t in calibration.thresholds),
        **_make_quality_columns(figures.accuracy, figures.agreement, figures.samples),
        "mean_s": figures.mean_s,
        "p50_s": figures.p50_s,
        "p99_s": figures.p99_s,
        "energy_j": figures.energy_j,
        "macs": figures.macs,
        **make_rate_columns(figures.exit_rates),
    }


def _make_exit_record(row: ExitRow, samples: int) -> Record:
    return {
        "what": f"exit_{row.exit}",
        "exit": row.exit,
        "samples": samples,
        **_make_quality_columns(row.accuracy, row.agreement, samples),
        "mean_s": row.mean_s,
        "p50_s": row.p50_s,
        "p99_s": row.p99_s,
        "energy_j": row.energy_j,
        "macs": row.macs,
    }


def _make_curve_records(calibration: Calibration, samples: int) -> Iterator[Record]:
    sign = _find_sign(calibration)
    for point in sorted(calibration.curve, key=lambda p: p.mean_s):
        yield _make_point_record(point, samples, " ".join(f"{sign * t:.9g}" for t in point.inner_thresholds))


def _find_sign(calibration: Calibration) -> int:
    """Sign between own and inner thresholds, also of a criterion whose package is not installed here."""
    rule = find_known_criterion(calibration.criterion)
    if rule is not None:
        return rule.sign
    pairs = zip(calibration.thresholds, calibration.inner_thresholds, strict=True)
    return next((1 if own == inner else -1 for own, inner in pairs if inner), 1)


def _make_point_record(point: CurvePoint, samples: int, thresholds: str) -> Record:
    return {
        "what": "curve",
        "samples": samples,
        "thresholds": thresholds,
        **_make_quality_columns(point.accuracy, point.agreement, samples),
        "mean_s": point.mean_s,
        "energy_j": point.energy_j,
        "macs": point.macs,
        **make_rate_columns(point.exit_rates),
    }


def _make_quality_columns(accuracy: float | None, agreement: float | None, samples: int) -> Record:
    found = {"accuracy": accuracy, "agreement": agreement}
    return {
        k: v
        for name, share in found.items()
        for k, v in make_share_columns(name, share, find_share_interval(share, samples)).items()
    }
