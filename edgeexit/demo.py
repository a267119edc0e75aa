"""The shipped network taken through everything: split, compiled, calibrated to a target on this machine, measured against its backbone.

    lenet-digits.onnx ─► compile ─► calibrate (digits:calibration) ─► bench (digits:test, fresh processes)

Two exits, 10 classes, 28x28 images; trained as `edgeexit train lenet-digits` does. Needs no torch and no network.
"""

from __future__ import annotations

import math
import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from edgeexit.calibration import Calibration, calibrate, parse_target
from edgeexit.compiler.compilation import compile_model
from edgeexit.data import find_demo_asset, load_data
from edgeexit.measure import BenchResult, bench
from edgeexit.measure.statistics import NORMAL_95
from edgeexit.runtime import CalibrationWarning, Runner, load
from edgeexit.util.progress import Progress, show_nothing
from edgeexit.util.scratch import make_scratch_folder

MODEL = "lenet-digits.onnx"
TARGET = "mean<=0.6x, accuracy>=0.95"
"""Both bounds can be decided with the 500 samples that are shipped; `drop<=0.5` would need thousands."""
SCHEMA = "edgeexit.demo/1"


@dataclass(frozen=True)
class DemoResult:
    """Result of the demo; times in seconds, accuracies and rates as shares.

    Attributes:
        schema: `edgeexit.demo/1`.
        target: what was asked for.
        target_met: whether every bound is met on data never seen, as far as this measurement can tell.
        target_state: "met", "not met", or "undecided" where it cannot: a noisy machine decides nothing about time.
        statements: sentences about the bounds, the prediction and the machine; advice: what can be done, if anything.
        verdict: FASTER, SLOWER, SAME, AMBIGUOUS or INVALID, of early exit against the backbone on the test slice.
        device: key of this machine. backend, mode: how the bundle ran.
        criterion: name of the criterion; `thresholds` are in its `unit`.
        accuracy, backbone_accuracy: on the test slice.
        drop_points: their difference, in percentage points; its 95 % interval (paired) is ± `drop_room_points`.
        exit_rates: share leaving at each exit, test slice.
        predicted_mean_s: mean latency that the calibration predicted for its validation part.
        measured_mean_s: what the policy then took on the device, same part, same session.
        noise_floor: relative difference of the same measurement made twice in that session.
        test_mean_s, test_p99_s: early exit on the test slice, in fresh processes.
        backbone_mean_s, backbone_p99_s: the network run directly to its last exit, interleaved with it.
        speedup: backbone_mean_s over test_mean_s.
        samples: size of the test slice.
        notes: what else the measurement says of itself.
    """

    schema: str
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


def run_demo(*, target: str = TARGET, keep: Path | None = None, progress: Progress = show_nothing) -> DemoResult:
    """Take the shipped network through everything.

    Args:
        target: what to calibrate for; the grammar is that of `edgeexit calibrate`.
        keep: where to leave the bundle; None removes it.
        progress: callback with what is being done, how much is done, and of how much.

    Raises:
        TargetNotMet: nothing meets the target; names the nearest that can be met.
    """
    wanted = parse_target(target)  # refused before any work
    with ExitStack() as stack:
        folder = stack.enter_context(make_scratch_folder())
        path = keep or folder / "lenet-digits.eexit"
        known, unseen = load_data("digits:calibration"), load_data("digits:test")
        compile_model(
            find_demo_asset(MODEL),
            path,
            inputs=known.inputs,
            labels=known.labels,
            data_name=known.name,
            progress=progress,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CalibrationWarning)  # there is none yet, that is what comes next
            runner = stack.enter_context(load(path))
        calibration = calibrate(runner, known.inputs, known.labels, target=wanted, progress=progress)
        _activate(runner)
        runner.inner_thresholds = calibration.inner_thresholds
        measured = bench(runner, unseen.inputs, unseen.labels, name=unseen.name, progress=progress)
        return _make_result(calibration, measured)


def _activate(runner: Runner) -> None:
    """The demo shows what it found, met or not: the bundle that it leaves runs with the thresholds that it prints."""
    newest = runner.bundle.history[-1]
    if runner.bundle.active(newest.key) != newest:
        runner.bundle = runner.bundle.use(newest.name)


def _make_result(calibration: Calibration, measured: BenchResult) -> DemoResult:
    assert calibration.measured is not None, "calibrate runs what it chose"
    accuracy, latency, subject = measured.accuracy, measured.latency, measured.subject
    assert accuracy.overall is not None, "the test slice has labels"
    assert accuracy.backbone is not None, "the test slice has labels"
    return DemoResult(
        schema=SCHEMA,
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
