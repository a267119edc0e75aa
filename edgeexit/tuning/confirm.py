"""The last candidates for real: compiled with only their exits, calibrated, and run in turn on samples that chose nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeexit.bundle import Bundle
from edgeexit.calibration import Calibration, calibrate
from edgeexit.calibration.decision import NOT_MET
from edgeexit.calibration.device import (
    compute_relative_error,
    compute_round_mixes,
    make_cycling_call,
    make_forced_calls,
    time_variants,
)
from edgeexit.calibration.targets import Target
from edgeexit.calibration.uncertainty import FLOOR
from edgeexit.compiler.compilation import compile_model
from edgeexit.data import Dataset
from edgeexit.errors import TargetNotMet
from edgeexit.measure.timing import TimedSamples
from edgeexit.runtime import Backbone, Prediction, Runner, load_quietly
from edgeexit.tuning.answers import RANGE_SAMPLES
from edgeexit.tuning.choice import FoundPolicy
from edgeexit.tuning.finalists import count_departures
from edgeexit.tuning.space import EngineSetup, TuningCandidate, require_final_setup
from edgeexit.tuning.timing import Stopwatch
from edgeexit.util.progress import Progress
from edgeexit.util.samples import split_samples

_MOST_NOISE = 2 * FLOOR


@dataclass(frozen=True, eq=False)
class FinalistTrial:
    """How a candidate is compiled and calibrated.

    Attributes:
        model: the ONNX file.
        exits: names of its logits outputs, in order.
        scores: names of its score outputs, where it has them.
        temperatures: of its exits, by precision.
        data: all samples; the same split by `seed` as chose the candidates.
        ranges: samples for int8 ranges and verification.
        plain: labels that the network gives in its own precision.
        candidates: as how many independent candidates those count of which these were chosen.
        target: with limits in seconds.
        seed: random seed.
        force: calibrate although the data are implausible.
        seconds: wall time of one calibration's timing.
    """

    model: Path
    exits: tuple[str, ...]
    scores: tuple[str | None, ...]
    temperatures: Mapping[str, tuple[float, ...]]
    data: Dataset
    ranges: Dataset
    plain: NDArray[np.int64]
    candidates: float
    target: Target
    seed: int
    force: bool
    seconds: float

    def compile(self, found: FoundPolicy, folder: Path, progress: Progress) -> Bundle:
        """The bundle of a candidate, with only its exits."""
        rule, kept = found.candidate.rule, [k - 1 for k in found.candidate.kept]
        setup = require_final_setup(found.candidate)
        heat = self.temperatures[found.candidate.setup.precision] if rule.scaled else ()
        scores = [self.scores[k] for k in kept]
        few = self.ranges.take(slice(RANGE_SAMPLES))
        return compile_model(
            self.model,
            folder,
            criterion=rule.criterion,
            exits=[*(self.exits[k] for k in kept), self.exits[-1]],
            scores=[name for name in scores if name is not None] or None,
            temperatures=[heat[k] for k in (*kept, -1)] if heat else None,
            backend=setup.backend,
            precision=setup.precision,
            threads=setup.threads,
            inputs=few.inputs,
            labels=few.labels,
            data_name=self.data.name,
            seconds=0,
            progress=progress,
        )

    def calibrate(self, runner: Runner, progress: Progress) -> Calibration:
        """Thresholds of a candidate on its own engines, on the same split, kept in its bundle."""
        return calibrate(
            runner,
            self.data.inputs,
            self.data.labels,
            target=self.target,
            seed=self.seed,
            seconds=self.seconds,
            name=self.data.name,
            plain=self.plain,
            candidates=self.candidates,
            force=self.force,
            progress=progress,
        )


@dataclass(frozen=True, eq=False)
class CalibratedFinalist:
    """A candidate with the calibration of its own bundle; None where nothing meets the target there, with the reason."""

    found: FoundPolicy
    bundle: Bundle
    calibration: Calibration | None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class CompiledContender:
    """A candidate with its own bundle."""

    found: FoundPolicy
    bundle: Bundle

    def open(self) -> Runner:
        """Open it with its settings."""
        setup = require_final_setup(self.found.candidate)
        return load_quietly(self.bundle.path, backend=setup.backend, mode=setup.mode, threads=setup.threads)

    def calibrate(self, trial: FinalistTrial, progress: Progress) -> CalibratedFinalist:
        """Its thresholds, found on its own engines."""
        with self.open() as runner:
            try:
                return CalibratedFinalist(self.found, self.bundle, trial.calibrate(runner, progress))
            except TargetNotMet as refusal:
                return CalibratedFinalist(self.found, self.bundle, None, str(refusal))


def time_contenders(
    compiled: Sequence[CompiledContender], watch: Stopwatch, length_s: float, progress: Progress
) -> tuple[float, ...]:
    """Mean latency of each over the reference's: every exit of its own engines in turn, at the rates that the choose part predicts."""
    with ExitStack() as stack:
        reference = stack.enter_context(Backbone(watch.bundles[watch.reference.precision], watch.reference.settings))
        runners = [stack.enter_context(one.open()) for one in compiled]
        calls = {"reference": make_cycling_call(reference, watch.inputs)}
        for place, runner in enumerate(runners):
            forced = make_forced_calls(runner, reference, watch.inputs)
            calls |= {f"{place} exit {k}": forced[f"exit {k}"] for k in range(1, runner.exits + 1)}
        timed = time_variants(calls, length_s, watch.seed, progress)
    beside = timed["reference"].block_means_s
    means = []
    for place, one in enumerate(compiled):
        assert one.found.policy is not None, "only what meets the target contends"
        rates = one.found.policy.exit_rates
        ratios = [np.median(timed[f"{place} exit {k}"].block_means_s / beside) for k in range(1, len(rates) + 1)]
        means.append(float(np.dot(rates, ratios)))
    return tuple(means)


@dataclass(frozen=True, eq=False)
class MeasuredFinalist:
    """A finalist at work on the validation part, beside the reference in the same rounds.

    Attributes:
        labels, leaves: what it answered each sample, and where it left (from 0).
        rounds: mean latency over the reference's in each round, [rounds].
        mean_s: typical mean latency, seconds.
    """

    labels: NDArray[np.int64]
    leaves: NDArray[np.int64]
    rounds: NDArray[np.float64]
    mean_s: float

    @property
    def ratio(self) -> float:
        """Typical mean latency over the reference's."""
        return float(np.median(self.rounds))

    @property
    def error(self) -> float:
        """Half width of the interval of `ratio`, relative."""
        return compute_relative_error(self.rounds)

    def is_as_fast_as(self, other: MeasuredFinalist) -> bool:
        """Whether it is not seen to be slower: by no more than the interval of their ratio round by round, or than what one process differs
        from the next. On a noisy machine that interval counts up to `_MOST_NOISE`.
        """
        beside = self.rounds / other.rounds
        noise = min(max(compute_relative_error(beside), FLOOR), _MOST_NOISE)
        return float(np.median(beside)) <= 1 + noise


def measure_finalists(
    finalists: Sequence[CalibratedFinalist], watch: Stopwatch, validate: Dataset, length_s: float, progress: Progress
) -> tuple[MeasuredFinalist | None, ...]:
    """Run the calibrated finalists and the reference in turn on the validation part; None for one without a calibration."""
    inputs = split_samples(validate.inputs)
    with ExitStack() as stack:
        reference = stack.enter_context(Backbone(watch.bundles[watch.reference.precision], watch.reference.settings))
        runners = [_open_calibrated(one, stack) for one in finalists]
        calls = {str(k): make_cycling_call(runner, inputs) for k, runner in enumerate(runners) if runner is not None}
        answers = [None if runner is None else [runner(x) for x in inputs] for runner in runners]
        timed = time_variants(
            {**calls, "reference": make_cycling_call(reference, inputs)}, length_s, watch.seed, progress
        )
    beside = timed["reference"].block_means_s
    found: list[MeasuredFinalist | None] = []
    for k, given in enumerate(answers):
        found.append(None if given is None else _measure_mix(given, timed[str(k)], beside))
    return tuple(found)


def _measure_mix(given: Sequence[Prediction], timed: TimedSamples, beside: NDArray[np.float64]) -> MeasuredFinalist:
    """From the answers and the times of one finalist, and the reference's mean in each round."""
    leaves = np.array([one.exit - 1 for one in given])
    mixes = compute_round_mixes(timed, leaves, np.bincount(leaves) / len(leaves))
    return MeasuredFinalist(
        labels=np.array([one.label for one in given]),
        leaves=leaves,
        rounds=mixes / beside,
        mean_s=float(np.median(mixes)),
    )


def _open_calibrated(one: CalibratedFinalist, stack: ExitStack) -> Runner | None:
    if one.calibration is None:
        return None
    runner = stack.enter_context(CompiledContender(one.found, one.bundle).open())
    runner.inner_thresholds = one.calibration.inner_thresholds
    return runner


def choose_finalist(
    ready: Sequence[CalibratedFinalist],
    measured: Sequence[MeasuredFinalist | None],
    target: Target,
    reference: EngineSetup,
) -> int:
    """Place of the finalist that becomes the result.

    One whose bounds are not broken. With bounds on the answers only, the simplest of those that are as fast as the fastest
    (`count_departures`), of equally simple ones the faster: what is more complicated has to be seen to gain. With a bound on cost, the one
    that chose better on the choose part, which has more samples to tell accuracies apart than the validation part.

    Args:
        ready: the finalists, the best on the choose part first.
        measured: the same measured; None for one without a calibration.
        target: what is tuned for.
        reference: the usual setup.

    Raises:
        TargetNotMet: none could be calibrated on its own engines.
    """
    able = {k: one for k, one in enumerate(measured) if one is not None}
    if not able:
        raise TargetNotMet(" ".join(dict.fromkeys(one.reason for one in ready)))
    kept = {k: one for k, one in able.items() if not _is_broken(ready[k])} or able
    if not target.minimises_mean:
        return min(kept)
    return pick_simplest(kept, [one.found.candidate for one in ready], reference)


def pick_simplest(
    measured: Mapping[int, MeasuredFinalist], candidates: Sequence[TuningCandidate], reference: EngineSetup
) -> int:
    """Place of the simplest candidate of those that are as fast as the fastest; of equally simple ones, the faster."""
    fastest = min(measured.values(), key=lambda one: one.ratio)
    alike = {k: one for k, one in measured.items() if one.is_as_fast_as(fastest)}
    return min(alike, key=lambda k: (count_departures(candidates[k], reference), alike[k].ratio))


def _is_broken(one: CalibratedFinalist) -> bool:
    return one.calibration is None or one.calibration.verdict.bounds == NOT_MET
