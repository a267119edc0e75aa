"""What the exits of an exported network bring on this machine, beside the network without exits: compiled, calibrated, measured, judged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgeexit.adoption.result import ExitsOnDevice
from edgeexit.adoption.samples import draw_samples
from edgeexit.calibration import Target, parse_target
from edgeexit.calibration.decision import NOT_MET
from edgeexit.data import Dataset, TrainingParts
from edgeexit.evaluate import DeviceEvaluation, evaluate_on_device
from edgeexit.measure import BenchResult
from edgeexit.nets.attach.logits import Read, read_logits
from edgeexit.training.metrics import record_exits
from edgeexit.util.progress import Progress, show_nothing
from edgeexit.util.units import fixed, ratio

BUNDLE, MEASUREMENT = "network.eexit", "bench.json"
MOST_SAMPLES = 20_000
PRESET = "adopt"
"""Preset of the measurement where nothing else is said."""
_BATCH = 250


@dataclass(frozen=True)
class MeasuredExits:
    """What leaving early brings.

    Attributes:
        evaluation: the calibration, and the measurement on samples never seen.
        bench: the whole measurement.
        known: number of samples that it was calibrated on. unseen: that it was measured on.
        plain_accuracy: share of right answers of the network as it was given, on the unseen ones.
        pays: whether leaving early is faster here beyond doubt, and within the target as far as can be told.
        conclusion: what it brings, in one sentence.
    """

    evaluation: DeviceEvaluation
    bench: BenchResult
    known: int
    unseen: int
    plain_accuracy: float
    pays: bool
    conclusion: str

    @property
    def ratio_interval(self) -> tuple[float, float] | tuple[None, None]:
        """95 % interval of how many times as fast leaving early is in the mean; None for each end where there is none."""
        interval = self.bench.latency.against_backbone.mean.ci95
        return (None, None) if interval is None else (1 / interval.high, 1 / interval.low)

    def make_record(self) -> ExitsOnDevice:
        """What metrics keep of it."""
        low, high = self.ratio_interval
        return ExitsOnDevice(
            evaluation=self.evaluation,
            plain_accuracy=self.plain_accuracy,
            ratio_low=low,
            ratio_high=high,
            pays=self.pays,
            conclusion=self.conclusion,
        )


def measure_exits(
    model: Path,
    out: Path,
    parts: TrainingParts,
    target: Target,
    *,
    criterion: str = "entropy",
    preset: str = PRESET,
    seed: int = 0,
    skip: int = 0,
    plain_accuracy: float | None = None,
    progress: Progress = show_nothing,
) -> MeasuredExits:
    """Compile and calibrate an exported network, and measure it beside itself without exits, in turn, in fresh processes.

    Args:
        model: the ONNX file.
        out: folder for the bundle and the measurement.
        parts: thresholds are chosen on `calibration`, and all figures are of `test`.
        target: what to calibrate for.
        criterion: name of the exit criterion.
        preset: preset of the measurement.
        seed: random seed of the splits and orders.
        skip: number of samples of the calibration part, in the order of the seed, that served for something else.
        plain_accuracy: of the network as it was given, on `draw_unseen(parts, seed)`; None where the last exit answers as it does.
        progress: watches.

    Raises:
        TargetNotMet: no thresholds meet the target, and which nearest one some do.
    """
    known, unseen = draw_samples(parts.calibration, MOST_SAMPLES, seed, skip=skip), draw_unseen(parts, seed)
    evaluation, bench = evaluate_on_device(
        model, out / BUNDLE, known, unseen, target, criterion=criterion, preset=preset, seed=seed, progress=progress
    )
    bench.save(out / MEASUREMENT)
    accuracy = evaluation.backbone_accuracy if plain_accuracy is None else plain_accuracy
    pays, conclusion = conclude(evaluation, accuracy)
    return MeasuredExits(evaluation, bench, len(known), len(unseen), accuracy, pays, conclusion)


def draw_unseen(parts: TrainingParts, seed: int) -> Dataset:
    """The samples of the test part that everything is measured on."""
    return draw_samples(parts.test, MOST_SAMPLES, seed)


def measure_plain_accuracy(module: nn.Module, unseen: Dataset, read: Read | None = None) -> float:
    """Share of right answers of a network without exits.

    Args:
        module: the network, in evaluation mode.
        unseen: the samples.
        read: takes the logits out of what forward returns.
    """

    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.whole = module

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            returned: Any = self.whole(x)
            return [read_logits(returned, read)]

    return record_exits(Single(), unseen, batch=_BATCH).accuracies[-1]


def conclude(evaluation: DeviceEvaluation, plain_accuracy: float) -> tuple[bool, str]:
    """Whether leaving early pays here, and what it brings, in one sentence."""
    lost = f" for {_format_drop(plain_accuracy - evaluation.accuracy)}"
    faster = f"{ratio(evaluation.speedup)} as fast in the mean{lost}"
    if evaluation.verdict == "FASTER" and (broken := _find_broken_drop(evaluation, plain_accuracy)):
        return False, f"it is {faster}, and on samples never seen that is more than {broken} allows"
    if evaluation.verdict == "FASTER" and evaluation.target_state != NOT_MET:
        state = "" if evaluation.target_met else " (whether the target is met these samples cannot tell)"
        return True, f"the network with exits is {faster}{state}"
    if evaluation.verdict == "FASTER":
        return False, f"it is {faster}, and the target is not met"
    if evaluation.verdict == "SLOWER":
        return False, f"the exits make the network slower here: {faster}"
    return False, f"no gain can be told from noise here: the comparison is {evaluation.verdict}"


def _find_broken_drop(evaluation: DeviceEvaluation, plain_accuracy: float) -> str:
    """The bound on the drop that the unseen samples break beyond doubt; empty where none is."""
    drop = 100 * (plain_accuracy - evaluation.accuracy)
    bounds = [b for b in parse_target(evaluation.target).bounds if b.metric == "drop"]
    return next((str(b) for b in bounds if drop - evaluation.drop_room_points > b.limit), "")


def _format_drop(share: float) -> str:
    words = "fewer" if share >= 0 else "more"
    return f"{fixed(abs(100 * share), 2)} points {words} right answers"
