"""An exported network taken through everything on this machine: compiled, calibrated to a target, measured against its backbone.

model.onnx ─► compile ─► calibrate (data that nothing was trained on) ─► bench (other such data, fresh processes)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from edgeexit.calibration import Calibration, Target, calibrate
from edgeexit.compiler.compilation import compile_model
from edgeexit.data import Dataset
from edgeexit.measure import BenchResult, bench
from edgeexit.measure.statistics import NORMAL_95
from edgeexit.runtime import Runner, load_quietly
from edgeexit.util.progress import Progress, show_nothing


@dataclass(frozen=True, kw_only=True)
class DeviceEvaluation:
    """What leaving early brings on this machine; times in seconds, accuracies and rates as shares.

    Attributes:
        target: what was asked for.
        target_met: whether every bound is met on data never seen, as far as this measurement can tell.
        target_state: "met", "not met", or "undecided" where it cannot: a noisy machine decides nothing about time.
        statements: sentences about the bounds, the prediction and the machine; advice: what can be done, if anything.
        verdict: FASTER, SLOWER, SAME, AMBIGUOUS or INVALID, of early exit against the backbone on the unseen samples.
        device: key of this machine. backend, mode: how the bundle ran.
        criterion: name of the criterion; `thresholds` are in its `unit`.
        accuracy, backbone_accuracy: on the unseen samples.
        drop_points: their difference, in percentage points; its 95 % interval (paired) is ± `drop_room_points`.
        exit_rates: share leaving at each exit, unseen samples.
        predicted_mean_s: mean latency that the calibration predicted for its validation part.
        measured_mean_s: what the policy then took on the device, same part, same session.
        noise_floor: relative difference of the same measurement made twice in that session.
        test_mean_s, test_p99_s: early exit on the unseen samples, in fresh processes.
        backbone_mean_s, backbone_p99_s: the network run directly to its last exit, interleaved with it.
        speedup: backbone_mean_s over test_mean_s.
        samples: size of the unseen samples.
        notes: what else the measurement says of itself.
    """

    target: str
    target_met: bool
    verdict: str
    device: str
    backend: str
    mode: str
    criterion: str
    unit: str
    thresholds: tuple[float, ...]
    accuracy: float
    backbone_accuracy: float
    drop_points: float
    drop_room_points: float
    exit_rates: tuple[float, ...]
    predicted_mean_s: float
    measured_mean_s: float
    noise_floor: float
    test_mean_s: float
    test_p99_s: float
    backbone_mean_s: float
    backbone_p99_s: float
    speedup: float
    samples: int
    notes: tuple[str, ...]
    target_state: str
    statements: tuple[str, ...]
    advice: tuple[str, ...]


def evaluate_on_device(
    model: Path,
    bundle: Path,
    known: Dataset,
    unseen: Dataset,
    target: Target,
    *,
    criterion: str = "entropy",
    preset: str = "quick",
    seed: int = 0,
    force: bool = False,
    progress: Progress = show_nothing,
) -> tuple[DeviceEvaluation, BenchResult]:
    """Compile a model, calibrate it and measure it.

    Args:
        model: the ONNX file.
        bundle: folder of the bundle, which is left with the thresholds that were found.
        known: samples to calibrate on; the network was not trained on them.
        unseen: samples for the final figures.
        target: what to calibrate for.
        criterion: name of the exit criterion.
        preset: preset of the measurement.
        seed: random seed of splits and orders.
        force: calibrate although the data are implausible, as `edgeexit.calibrate`.
        progress: callback with what is being done, how much is done, and of how much.

    Raises:
        TargetNotMet: nothing meets the target; names the nearest that can be met.
    """
    compile_model(
        model,
        bundle,
        criterion=criterion,
        inputs=known.inputs,
        labels=known.labels,
        data_name=known.name,
        progress=progress,
    )
    with load_quietly(bundle) as runner:
        calibration = calibrate(
            runner,
            known.inputs,
            known.labels,
            target=target,
            name=known.name,
            seed=seed,
            force=force,
            progress=progress,
        )
        _activate(runner)
        runner.inner_thresholds = calibration.inner_thresholds
        measured = bench(
            runner, unseen.inputs, unseen.labels, name=unseen.name, preset=preset, seed=seed, progress=progress
        )
        return _make_evaluation(calibration, measured), measured


def _activate(runner: Runner) -> None:
    """What was found becomes active, met or not: the bundle that is left runs with the thresholds that are shown."""
    newest = runner.bundle.history[-1]
    if runner.bundle.active(newest.key) != newest:
        runner.bundle = runner.bundle.use(newest.name)


def _make_evaluation(calibration: Calibration, measured: BenchResult) -> DeviceEvaluation:
    assert calibration.measured is not None, "calibrate runs what it chose"
    accuracy, latency, subject = measured.accuracy, measured.latency, measured.subject
    assert accuracy.overall is not None, "these samples have labels"
    assert accuracy.backbone is not None, "these samples have labels"
    return DeviceEvaluation(
        target=calibration.target,
        target_met=calibration.met,
        verdict=latency.against_backbone.verdict,
        device=measured.device.key,
        backend=subject.backend,
        mode=subject.mode,
        criterion=subject.criterion,
        unit=subject.threshold_unit,
        thresholds=calibration.thresholds,
        accuracy=accuracy.overall,
        backbone_accuracy=accuracy.backbone,
        drop_points=100 * (accuracy.backbone - accuracy.overall),
        drop_room_points=100 * _compute_tolerance(accuracy.agreement, measured.workload.n),
        exit_rates=tuple(e.share for e in accuracy.per_exit),
        predicted_mean_s=calibration.predicted.mean_s,
        measured_mean_s=calibration.measured.mean_s,
        noise_floor=calibration.noise_floor,
        test_mean_s=latency.mixture.mean_s,
        test_p99_s=latency.mixture.percentile(99.0).value_s,
        backbone_mean_s=latency.backbone.mean_s,
        backbone_p99_s=latency.backbone.percentile(99.0).value_s,
        speedup=latency.backbone.mean_s / latency.mixture.mean_s,
        samples=measured.workload.n,
        notes=tuple(dict.fromkeys((*calibration.reasons, *measured.validity.reasons))),
        target_state=calibration.verdict.bounds,
        statements=tuple(f"{what} {sentence}" for what, sentence in calibration.verdict.lines()),
        advice=calibration.verdict.advice,
    )


def _compute_tolerance(agreement: float, samples: int) -> float:
    """Half the 95 % interval of a paired difference of accuracies: only samples that the two answer differently can move it."""
    return NORMAL_95 * math.sqrt((1 - agreement) / samples)
