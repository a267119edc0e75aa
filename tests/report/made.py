"""Results and calibrations of networks with any number of exits, made from drawn numbers: nothing is measured, so they cost nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.calibration import Calibration, Front, Policy
from edgeexit.calibration.decision import CalibrationVerdict
from edgeexit.calibration.headroom import compute_headroom
from edgeexit.calibration.replay import ReplayTable
from edgeexit.calibration.result import BoundCheck, DataParts, PolicyPerformance, make_curve, make_exit_rows
from edgeexit.calibration.solver.cross_validation import PolicyChoice
from edgeexit.criteria import criterion
from edgeexit.measure import BenchResult
from edgeexit.measure.accuracy import Decisions
from edgeexit.measure.processes import ProcessResult
from edgeexit.measure.result.assembly import RawMeasurement, build_latency_report, collect_notes, collect_raw_arrays
from edgeexit.measure.result.parts import Device, SystemUnderTest, Tool, ValidityReport, Workload
from edgeexit.measure.shares import share_interval
from tests.calibration.worlds import world

SAMPLES, TRACE, PROCESSES = 400, 600, 3
REASONS = (
    "clocks cannot be read (this is a virtual machine), so a change of speed would go unseen",
    "other processes used 1.7 cores on average",
    "early exit differs by 7.0% between processes (1 sigma)",
    "other processes used 1.8 cores on average",
)


def made_result(exits: int, seed: int = 0) -> BenchResult:
    """A benchmark with raw samples of a network with that number of exits, whose exits get better and dearer with depth."""
    rng = np.random.default_rng(seed)
    decisions, thresholds = _decisions(rng, exits)
    costs_s = np.linspace(0.3e-3, 2e-3, exits)
    places = rng.integers(0, SAMPLES, TRACE)
    replicates = [_replicate(rng, decisions, costs_s, places, p) for p in range(PROCESSES)]
    measured = RawMeasurement(decisions, replicates, seed)
    latency = build_latency_report(measured)
    rounds = {
        "rounds_s": np.concatenate([5.0 * p + np.arange(1, 21) / 10 for p in range(PROCESSES)]),
        "rounds_process": np.repeat(np.arange(PROCESSES), 20),
    }
    return BenchResult(
        run_id=f"run{seed}", created="2026-01-01T00:00:00+00:00", tool=Tool("0.0", None), device=_DEVICE,
        subject=_subject(exits, thresholds), workload=_WORKLOAD, validity=ValidityReport("suspect", REASONS),
        notes=tuple(collect_notes(measured, latency)), accuracy=decisions.compute_accuracy(), latency=latency, paced=None,
        paced_reason="not asked for", cold=None, cold_reason="not asked for", energy=None, energy_reason="no meter", cache=None,
        cache_reason="not asked for", raw=collect_raw_arrays(measured) | rounds,
    )  # fmt: skip


_DEVICE = Device("some-cpu-123", {"cpu": "Some CPU at 2 GHz"}, {}, {})
_WORKLOAD = Workload("made:test", "d" * 64, SAMPLES, SAMPLES, "random", 0, "single-stream", 1, "quick", PROCESSES, 2.0)


def _subject(exits: int, thresholds: tuple[float, ...]) -> SystemUnderTest:
    return SystemUnderTest(
        bundle="made.eexit", manifest_sha256="a" * 64, model_sha256="b" * 64, backend="onnxruntime", mode="staged",
        precision="float32", threads=1, spin=False, exits=exits, classes=10, criterion="max_softmax",
        threshold_unit="probability", thresholds=thresholds, calibrated=True, target="mean<=1ms, drop<=1", source="made.onnx",
        source_sha256="c" * 64,
    )  # fmt: skip


def _decisions(rng: np.random.Generator, exits: int) -> tuple[Decisions, tuple[float, ...]]:
    truth, difficulty = rng.integers(0, 10, SAMPLES), rng.normal(size=SAMPLES)
    answers, scores = np.empty((SAMPLES, exits), np.int64), np.empty((SAMPLES, exits), np.float32)
    for k, skill in enumerate(np.linspace(0.6, 2.2, exits)):
        margin = skill - difficulty + 0.4 * rng.normal(size=SAMPLES)
        answers[:, k] = np.where(margin > 0, truth, (truth + 1) % 10)
        scores[:, k] = 1 / (1 + np.exp(-2 * margin))
    thresholds = np.quantile(scores[:, :-1], 1 - 0.5 / np.sqrt(exits), axis=0)
    leaves = np.concatenate([scores[:, :-1] >= thresholds, np.ones((SAMPLES, 1), bool)], axis=1).argmax(axis=1)
    labels = answers[np.arange(SAMPLES), leaves]
    return Decisions(leaves + 1, labels, answers[:, -1], scores, answers, truth), tuple(map(float, thresholds))


def _replicate(
    rng: np.random.Generator,
    decisions: Decisions,
    costs_s: NDArray[np.float64],
    places: NDArray[np.int64],
    process: int,
) -> ProcessResult:
    exits, slow = decisions.exits[places], 1 + 0.01 * process
    variants = {"mixture": costs_s[exits - 1], "backbone": np.full(TRACE, costs_s[-1] * 0.95)}
    variants |= {f"forced_{k}": np.full(200, cost) for k, cost in enumerate(costs_s, 1)}
    arrays: dict[str, NDArray[Any]] = {
        "overhead_s": np.array([2e-7]),
        "cold_start_s": np.array([0.2, 0.02, 0.01]),
        "parts.stage_s": np.diff(costs_s, prepend=0.0) * 0.9,
        "parts.gate_s": np.full(len(costs_s), 1e-5),
        "parts.overhead_s": np.full(len(costs_s), 2e-5),
    }
    for name, means in variants.items():
        arrays[f"{name}.values_s"] = means * slow * rng.gamma(100.0, 0.01, len(means))
        arrays[f"{name}.blocks"] = np.arange(len(means)) * 20 // len(means)
    return ProcessResult(arrays, places)


def made_calibration(exits: int, seed: int = 0, *, points: int | None = None) -> Calibration:
    """A calibration of a network with that number of exits; `points` cuts its curve."""
    table = world(seed, SAMPLES, exits)
    policies = _policies(table)
    policy = policies[len(policies) // 2]
    predicted = _figures(table, policy)
    limit_s = 1.1 * predicted.mean_s
    curve = make_curve(Front(policies))
    rule = criterion("max_softmax")
    return Calibration(
        schema="edgeexit.calibration/1", created="2026-01-01T00:00:00+00:00", versions={}, key="some-cpu-123/onnxruntime",
        device={"cpu": "Some CPU at 2 GHz"},
        settings={"backend": "onnxruntime", "mode": "staged", "precision": "float32", "threads": 1},
        criterion="max_softmax", unit="probability", target="mean<=0.6x, drop<=5", confidence=None,
        thresholds=tuple(rule.own(t) for t in policy.thresholds), inner_thresholds=policy.thresholds, policy=policy,
        choice=PolicyChoice("search", {}), certificate=None, exits=make_exit_rows(table), backbone_mean_s=float(table.mean_cost_s[-1]),
        backbone_p99_s=float(table.mean_cost_s[-1]) * 1.2, predicted=predicted,
        measured=replace(predicted, mean_s=predicted.mean_s * 1.01, samples=100), replayed_mean_s=None, noise_floor=0.01,
        sampling_error=0.03, accuracy_interval=share_interval(predicted.accuracy or 0.0, 100), tolerance=0.03, on_track=True,
        checks=(
            BoundCheck(
                "mean<=0.6x", limit_s, predicted.mean_s, predicted.mean_s * 1.01, 0.05 * limit_s, True, "met", predicted.mean_s, limit_s
            ),
            BoundCheck("drop<=5", 5.0, 1.2, 1.4, 0.5, True, "met", 0.9, 1.9),
        ),
        met=True, validity="suspect", reasons=REASONS, state={}, energy_reason=None, verdicts=(), curve=curve[:points],
        verdict=CalibrationVerdict("met", "confirmed", 0.01, "quiet", 0.02),
        headroom=compute_headroom(table, table.leaves_at(policy.thresholds)),
        parts=DataParts(SAMPLES, 0, 100, 0, "a" * 64, None, "b" * 64, "made:calibration", "c" * 64),
    )  # fmt: skip


def _policies(table: ReplayTable) -> tuple[Policy, ...]:
    """From leaving early to leaving late, by quantiles of the scores; no search."""
    found = []
    for share in np.linspace(0.0, 1.0, 24):
        thresholds = np.quantile(table.scores, share, axis=0).astype(np.float32)
        found.append(Policy.from_outcome(thresholds, table.evaluate(thresholds), None))
    return tuple(found)


def _figures(table: ReplayTable, policy: Policy) -> PolicyPerformance:
    mean_s = policy.mean_s
    return PolicyPerformance(
        len(table), policy.accuracy, policy.agreement, mean_s, mean_s, 2 * mean_s, policy.exit_rates, None, policy.macs
    )
