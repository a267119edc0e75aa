"""The result of calibrating: what was chosen, what it was predicted to do, what it did on the device, and everything to choose again."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgeexit.bundle.calibration_document import VERSION
from edgeexit.calibration.certify import Certificate
from edgeexit.calibration.decision import (
    CONFIRMED,
    MET,
    NOISE_LIMIT,
    NOISY,
    NOT_MET,
    OFF,
    QUIET,
    UNDECIDED,
    CalibrationVerdict,
)
from edgeexit.calibration.headroom import Headroom
from edgeexit.calibration.outcome import Outcome
from edgeexit.calibration.plausibility import Finding
from edgeexit.calibration.records import make_calibration_records
from edgeexit.calibration.replay import ReplayTable, compute_latency_quantile
from edgeexit.calibration.solver.cross_validation import PolicyChoice
from edgeexit.calibration.solver.pareto_front import Front
from edgeexit.calibration.solver.search import Policy
from edgeexit.calibration.summary import format_calibration_summary
from edgeexit.calibration.verdicts import Remark
from edgeexit.errors import BundleError
from edgeexit.measure.consistency import find_length_faults, find_value_faults
from edgeexit.measure.records import Record, make_data_frame
from edgeexit.measure.statistics import Interval, nearest_rank
from edgeexit.util.display import Summarised, Summary
from edgeexit.util.documents import check_schema, parse_document, to_document


@dataclass(frozen=True)
class ExitRow:
    """One exit: its accuracy and cost if inference stops there.

    Attributes:
        exit: number, from 1.
        accuracy, agreement: if all samples left here; accuracy is None without labels.
        mean_s: median of block means of forced runs. p50_s, p99_s: nearest rank; seconds from the input.
        samples: latencies measured.
        head_s: part of it that the head takes, None where not known.
        macs: multiply-accumulates up to here; None where a shape is unknown.
        energy_j: per inference; None where nothing measured it (`energy_reason` of the calibration says why).
    """

    exit: int
    accuracy: float | None
    agreement: float | None
    mean_s: float
    p50_s: float
    p99_s: float
    samples: int
    head_s: float | None
    macs: float | None
    energy_j: float | None


@dataclass(frozen=True)
class PolicyPerformance:
    """Performance of a policy, predicted or measured.

    Attributes:
        samples: inputs it is about.
        accuracy, agreement: shares; accuracy is None without labels.
        mean_s, p50_s, p99_s: latency, seconds.
        exit_rates: share leaving at each exit, [N].
        energy_j, macs: means per inference; None where not known.
    """

    samples: int
    accuracy: float | None
    agreement: float | None
    mean_s: float
    p50_s: float
    p99_s: float
    exit_rates: tuple[float, ...]
    energy_j: float | None
    macs: float | None

    @classmethod
    def from_outcome(cls, table: ReplayTable, outcome: Outcome) -> PolicyPerformance:
        """Compute from a replay table."""
        rates = outcome.exit_rates
        return cls(
            samples=len(table),
            accuracy=outcome.accuracy,
            agreement=outcome.agreement,
            mean_s=outcome.mean_s,
            p50_s=compute_latency_quantile(table, rates, 0.5),
            p99_s=compute_latency_quantile(table, rates, 0.99),
            exit_rates=rates,
            energy_j=outcome.energy_j,
            macs=outcome.macs,
        )


@dataclass(frozen=True)
class BoundCheck:
    """One bound of the target, checked on the device.

    Attributes:
        bound: bound as written.
        limit: in SI (seconds, joules, multiply-accumulates, a share, percentage points).
        predicted, measured: the same quantity on the choose part and on the device; None where it cannot be measured.
        room: half the width of the interval from `low` to `high`: noise and sampling error, in the same unit.
        met: whether the whole interval keeps the limit.
        state: "met", "not met" or "undecided"; empty in documents that were written before there were three.
        low, high: 99 % interval of the quantity for data never seen; None in such documents.
    """

    bound: str
    limit: float
    predicted: float
    measured: float | None
    room: float
    met: bool
    state: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class CurvePoint:
    """A policy of the front: inner thresholds and what it does on the choose part."""

    inner_thresholds: tuple[float, ...]
    mean_s: float
    accuracy: float | None
    agreement: float | None
    exit_rates: tuple[float, ...]
    energy_j: float | None
    macs: float | None


@dataclass(frozen=True)
class DataParts:
    """Parts of the data: counts and hashes of the indices, and of the data themselves.

    Where thresholds were chosen over a replay table in shards, `shards` is the number of its samples and `shards_sha256` the hash of its
    scores and answers; `choose` then counts those of them that were drawn for the exits' figures, the curve and later targets.
    """

    choose: int
    certify: int
    validate: int
    seed: int
    choose_sha256: str
    certify_sha256: str | None
    validate_sha256: str
    data: str
    data_sha256: str
    shards: int | None = None
    shards_sha256: str | None = None

    @property
    def chose(self) -> str:
        """How many samples thresholds were chosen on, in words."""
        return f"{self.choose} chose" if self.shards is None else f"{self.shards} in shards chose"


_NOTHING = CalibrationVerdict()


@dataclass(frozen=True, repr=False)
class Calibration(Summarised):
    """A calibration of one bundle on one device under one set of settings. `to_document` and `parse_calibration` are each other's inverse.

    Attributes:
        schema, created, versions: `edgeexit.calibration/1`; UTC; of edgeexit, the engine and numpy.
        key, device, settings: device, backend, mode, precision and threads that it holds for.
        criterion, unit: criterion and unit of `thresholds`.
        target, confidence: target and confidence as given.
        thresholds: own units, [N-1]. inner_thresholds: as engines see them.
        policy: what was chosen, with its certificate of optimality `gap`. choice: by which method. certificate: with confidence only.
        exits: the anytime table. backbone_mean_s, backbone_p99_s: straight to the last exit.
        predicted: performance of the policy on the choose part. measured: on the device, on the validation part; None where another
            target was tuned from the curve, which measures nothing.
        replayed_mean_s: the mean on the validation part as its own exits predict it; next to `measured` it shows the device alone, without
            the luck of the draw. None where nothing was run.
        noise_floor: relative difference of the same protocol run twice (A/A). sampling_error: relative, of the mean, 95 %.
        tolerance: relative, for `measured` against `predicted`: the larger of 2 %, 1.25 noise floors and the sampling error.
        on_track: whether the mean took no longer than predicted, within the tolerance; None where nothing was run.
        checks: every bound of the target. met: whether all of them are.
        validity, reasons: whether the device's state while measuring was sound, and findings.
        state: device state before and after the measurement.
        energy_reason: why there is no energy, where there is none.
        verdicts: remarks. curve: the front. parts: of the data.
        findings: why the data are implausible, where they were used all the same (`force`).
        chosen_for: the target as it was tightened for the choice, so that noise and chance leave the target itself met; or loosened, where
            nothing keeps the target by the measured times and noise may hide what does.
        verdict: what it all says of the bounds, of the prediction and of the machine.
        headroom: what a perfect exit rule would bring on the choose part, and how much of it the policy gets; None without labels and in
            documents of earlier versions.
        candidates: of how many independent candidates the same data chose this one; intervals of the checks are wider for it.

    Example:
        >>> import edgeexit
        >>> calibration = edgeexit.load_calibration("lenet.eexit", "cal-1")
        >>> calibration.target, calibration.unit, len(calibration.exits)
        ('accuracy>=0.9', 'nats', 2)
    """

    schema: str
    created: str
    versions: dict[str, str]
    key: str
    device: dict[str, str]
    settings: dict[str, Any]
    criterion: str
    unit: str
    target: str
    confidence: float | None
    thresholds: tuple[float, ...]
    inner_thresholds: tuple[float, ...]
    policy: Policy
    choice: PolicyChoice
    certificate: Certificate | None
    exits: tuple[ExitRow, ...]
    backbone_mean_s: float
    backbone_p99_s: float
    predicted: PolicyPerformance
    measured: PolicyPerformance | None
    replayed_mean_s: float | None
    noise_floor: float
    sampling_error: float
    accuracy_interval: Interval | None
    tolerance: float
    on_track: bool | None
    checks: tuple[BoundCheck, ...]
    met: bool
    validity: str
    reasons: tuple[str, ...]
    state: dict[str, Any]
    energy_reason: str | None
    verdicts: tuple[Remark, ...]
    curve: tuple[CurvePoint, ...]
    parts: DataParts
    findings: tuple[Finding, ...] = ()
    chosen_for: str = ""
    verdict: CalibrationVerdict = _NOTHING
    headroom: Headroom | None = None
    candidates: float = 1.0

    def _summary(self) -> Summary:
        return format_calibration_summary(self)

    def to_document(self) -> dict[str, Any]:
        """Convert to JSON values; infinite thresholds become "inf" and "-inf"."""
        document: dict[str, Any] = to_document(self)
        return document

    def to_records(self) -> list[Record]:
        """One flat record for what was predicted, measured, every exit and every policy of the curve; times in seconds."""
        return make_calibration_records(self)

    def to_pandas(self) -> Any:
        """The records as a pandas.DataFrame.

        Raises:
            MissingExtra: pandas is not installed.
        """
        return make_data_frame(self.to_records())

    @property
    def speedup(self) -> float:
        """The backbone's mean latency over the measured one (the predicted one, tuned from the curve)."""
        return self.backbone_mean_s / (self.measured or self.predicted).mean_s

    @property
    def front(self) -> Front:
        """The curve as policies, for budgets and for control."""
        return Front(tuple(_make_policy(point) for point in self.curve))


def parse_calibration(document: Any, where: str) -> Calibration:
    """The calibration that `to_document` wrote.

    Raises:
        BundleError: another schema, a newer one, or faults; all in one message.
    """
    check_schema(document, "calibration", VERSION, where, BundleError)
    found = parse_document(Calibration, document, where, BundleError)
    faults = [*find_value_faults(found), *_find_faults(found)]
    if faults:
        raise BundleError(f"the figures of {where} are inconsistent: {'; '.join(faults)}.")
    return found if "verdict" in document else replace(found, verdict=_derive_earlier_verdict(found))


def _find_faults(found: Calibration) -> Iterator[str]:
    exits = len(found.exits)
    lengths: dict[str, tuple[Sized | None, int]] = {
        "thresholds": (found.thresholds, exits - 1),
        "inner_thresholds": (found.inner_thresholds, exits - 1),
        "policy.thresholds": (found.policy.thresholds, exits - 1),
        "policy.exit_rates": (found.policy.exit_rates, exits),
        "predicted.exit_rates": (found.predicted.exit_rates, exits),
        "measured.exit_rates": (None if found.measured is None else found.measured.exit_rates, exits),
    }
    for i, point in enumerate(found.curve):
        lengths[f"curve[{i}].inner_thresholds"] = point.inner_thresholds, exits - 1
        lengths[f"curve[{i}].exit_rates"] = point.exit_rates, exits
    yield from find_length_faults(lengths)
    if exits < 2 or any(row.exit != k for k, row in enumerate(found.exits, 1)):
        yield "the exits are not two or more, numbered from 1"


def _derive_earlier_verdict(found: Calibration) -> CalibrationVerdict:
    """The verdict of a calibration written by an older version, whose `met` also meant that the prediction was confirmed."""
    measured, noisy = found.measured, found.noise_floor > NOISE_LIMIT
    missed = tuple(c.bound for c in found.checks if not c.met)
    bounds = MET if found.met else NOT_MET if missed else UNDECIDED
    if measured is None:
        return CalibrationVerdict(bounds, missed=missed)
    return CalibrationVerdict(
        bounds,
        CONFIRMED if found.on_track else OFF,
        off_by=measured.mean_s / found.predicted.mean_s - 1,
        machine=NOISY if noisy else QUIET,
        noise=found.noise_floor,
        undecided=tuple(c.bound for c in found.checks) if bounds == UNDECIDED else (),
        missed=missed,
    )


def make_exit_rows(table: ReplayTable) -> tuple[ExitRow, ...]:
    """The anytime table of a replay table."""
    return tuple(_make_exit_row(table, k) for k in range(table.exits))


def make_curve(front: Front) -> tuple[CurvePoint, ...]:
    """A front as a calibration keeps it."""
    return tuple(
        CurvePoint(p.thresholds, p.mean_s, p.accuracy, p.agreement, p.exit_rates, p.energy_j, p.macs)
        for p in front.policies
    )


def _make_policy(point: CurvePoint) -> Policy:
    return Policy(
        thresholds=point.inner_thresholds,
        accuracy=point.accuracy,
        agreement=point.agreement,
        mean_s=point.mean_s,
        energy_j=point.energy_j,
        macs=point.macs,
        exit_rates=point.exit_rates,
        gap=None,
    )


def _make_exit_row(table: ReplayTable, k: int) -> ExitRow:
    latencies, early = table.cost_s[k], k < table.exits - 1
    return ExitRow(
        exit=k + 1,
        accuracy=None if table.correct is None else float(np.mean(table.correct[:, k])),
        agreement=None if table.agreement is None else float(np.mean(table.agreement[:, k])),
        mean_s=float(table.mean_cost_s[k]),
        p50_s=nearest_rank(latencies, 50.0),
        p99_s=nearest_rank(latencies, 99.0),
        samples=len(latencies),
        head_s=float(table.head_s[k]) if early and table.head_s is not None else None,
        macs=None if table.macs is None else float(table.macs[k]),
        energy_j=None if table.energy_j is None else float(table.energy_j[k]),
    )
