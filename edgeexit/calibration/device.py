"""Measurements on the device: every exit replayed once, the cost of leaving at each, and the latencies of the chosen policy.

    variants of one timing    exit 1 ... exit N forced · the backbone · the policy (A) · the policy again (B)

All variants run in short blocks of each in turn (`measure.timing`), so that what drifts drifts for all. A mean is the median of its blocks'
means: a stall of the machine spoils one block and moves nothing. For the policy the blocks' means are taken per exit and weighted with the
exit rates, since a block of a few slow inferences is seldom a fair mix. A against B is the noise floor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeexit.calibration.arrays import as_vector
from edgeexit.calibration.from_logits import refuse_nan, replay_table
from edgeexit.calibration.replay import FALL, Floats, Indices, ReplayTable, find_falling_exits
from edgeexit.data import Dataset
from edgeexit.measure.statistics import t_quantile
from edgeexit.measure.timing import Call, TimedSamples, time_interleaved
from edgeexit.runtime import Backbone, Prediction, Runner
from edgeexit.util.progress import Progress, show_nothing
from edgeexit.util.samples import split_samples

KEPT_LATENCIES = 20_000
"""Latencies kept per exit; more are thinned evenly."""
_FORCED_INPUTS = 512
_WANTED_ROUNDS = 16
_DECILES = 2.563
"""Standard deviations between the first and the last decile of normal values."""
_BLOCK_S = (0.005, 0.02)


@dataclass(frozen=True, eq=False)
class MeasuredCosts:
    """Measured latencies.

    Attributes:
        cost_s: per exit, its forced runs. typical_s: [N], medians of block means.
        backbone_s: the backbone's runs. backbone_typical_s: its median of block means.
        error: half width of the 99 % interval of a typical latency over its value, of the least certain variant; from one round to
            the next.
        ratio_error: the same of a typical latency over the backbone's in the same round, from which what drifts for all is gone.
        drift: relative difference of the first and the second half of the rounds, all variants together.
        spread: relative deviation of one round from the next, all variants together.
    """

    cost_s: tuple[Floats, ...]
    typical_s: Floats
    backbone_s: Floats
    backbone_typical_s: float
    error: float
    ratio_error: float
    drift: float
    spread: float

    @property
    def noise(self) -> float:
        """Estimate of the noise: drift from half to half, or spread from round to round where that is larger."""
        return max(self.drift, self.spread)

    @property
    def falling(self) -> tuple[int, ...]:
        """Exits (from 1) measured as faster than the exit before, whose work they contain, by more than the error of both."""
        return find_falling_exits(self.typical_s, max(FALL, 2 * self.error))


@dataclass(frozen=True, eq=False)
class PolicyTiming:
    """The policy at work on the device.

    Attributes:
        costs: costs of the forced exits and the backbone in the same rounds.
        labels, leaves: what the policy answered for each validation input, and where it left (from 0).
        mean_s: typical mean latency. noise_floor: relative difference of the two variants.
        error, ratio_error: relative errors of the mean, as those of the costs.
        latency_s: every latency of both variants. blocks: the round of each.
    """

    costs: MeasuredCosts
    labels: Indices
    leaves: Indices
    mean_s: float
    noise_floor: float
    error: float
    ratio_error: float
    latency_s: Floats
    blocks: Indices

    @property
    def noise(self) -> float:
        """Estimate of the noise: the difference of the two variants, or the noise of all variants where that is larger."""
        return max(self.noise_floor, self.costs.noise)


@dataclass(frozen=True, eq=False)
class Replayed:
    """Answers of every exit and of the backbone.

    Attributes:
        table: its costs are placeholders of one second.
        answers: int64 [M, N], the label that each exit gives each sample.
        backbone: int64 [M], the backbone's label.
    """

    table: ReplayTable
    answers: Indices
    backbone: Indices


def replay(runner: Runner, data: Dataset, progress: Progress = show_nothing) -> ReplayTable:
    """Run every exit once on every sample: a table with placeholder costs of one second until `attach_costs` replaces them."""
    return replay_answers(runner, data, progress).table


def replay_answers(
    runner: Runner, data: Dataset, progress: Progress = show_nothing, *, plain: Indices | None = None
) -> Replayed:
    """The table of `replay`, and what it was made from.

    Where the last exit answers with what several exits have computed, the backbone runs once on every sample too, so that agreement and
    drop compare with the backbone itself; with `plain`, labels [n] of another network, they compare with those.

    Raises:
        InputError: an exit gives NaN, or a score that is no number; names the samples.
    """
    scores, logits = runner.replay(data.inputs, progress)
    refuse_nan(data.name, scores[:, :-1], logits)
    answers = logits.argmax(axis=-1).astype(np.int64)
    other = plain
    if other is None and not runner.bundle.manifest.last_is_backbone:
        other = _backbone_labels(runner, data, progress)
    costs, macs = np.ones(runner.exits), _accumulate_macs(runner)
    table = replay_table(logits, data.labels, None, scores=scores, cost_s=costs, macs=macs, plain=other)
    table = replace(table, remote_from=runner.settings.remote or None)
    return Replayed(table, answers, answers[:, -1] if other is None else other)


def _backbone_labels(runner: Runner, data: Dataset, progress: Progress) -> Indices:
    labels = np.empty(len(data), np.int64)
    with runner.backbone() as backbone:
        for i in range(len(data)):
            labels[i] = backbone(data.take(slice(i, i + 1)).inputs).label
            if i % 256 == 0 or i + 1 == len(data):
                progress("running the backbone", i + 1, len(data))
    return labels


def attach_costs(table: ReplayTable, costs: MeasuredCosts) -> ReplayTable:
    """A table with measured costs. What the heads take together is the last exit less the backbone; it is split evenly over them.

    Where the last exit is on another machine and the backbone here, that difference says nothing of heads.
    """
    spare = max(0.0, float(costs.typical_s[-1]) - costs.backbone_typical_s)
    return replace(
        table,
        cost_s=tuple(_thin_samples(samples) for samples in costs.cost_s),
        head_s=None if table.remote_from else np.full(table.exits - 1, spare / (table.exits - 1)),
        typical_s=costs.typical_s,
        backbone_s=costs.backbone_typical_s,
    )


def attach_energy(table: ReplayTable, energy_j: ArrayLike) -> ReplayTable:
    """A table with measured energies per exit, [N] joules."""
    return replace(table, energy_j=as_vector(energy_j))


def time_exits(
    runner: Runner, data: Dataset, seconds: float, seed: int, progress: Progress = show_nothing
) -> MeasuredCosts:
    """Time leaving at every exit, and the backbone."""
    inputs = split_samples(data.take(slice(_FORCED_INPUTS)).inputs)
    with runner.backbone() as backbone:
        timed = time_variants(make_forced_calls(runner, backbone, inputs), seconds, seed, progress)
    return compute_costs(timed, runner.exits)


def time_variants(
    variants: Mapping[str, Call], seconds: float, seed: int, progress: Progress
) -> dict[str, TimedSamples]:
    """Time in blocks short enough for rounds to be compared with each other."""
    block_s = float(np.clip(seconds / (len(variants) * _WANTED_ROUNDS), *_BLOCK_S))
    return time_interleaved(variants, seconds=seconds, block_s=block_s, seed=seed, progress=progress)


def try_policy(
    runner: Runner, data: Dataset, seconds: float, seed: int, progress: Progress = show_nothing
) -> PolicyTiming:
    """Run the thresholds that the runner has now on the validation part: once for the answers, then timed among the forced exits."""
    inputs = split_samples(data.inputs)
    answers = [runner(x) for x in inputs]
    leaves = np.array([a.exit - 1 for a in answers])
    with runner.backbone() as backbone:
        policy: Call = make_cycling_call(runner, inputs)
        variants = {**make_forced_calls(runner, backbone, inputs), "policy A": policy, "policy B": policy}
        timed = time_variants(variants, seconds, seed, progress)
    rates = np.bincount(leaves, minlength=runner.exits) / len(leaves)
    variant_a, variant_b = timed["policy A"], timed["policy B"]
    first, second = (_compute_typical_mix(variant, leaves, rates) for variant in (variant_a, variant_b))
    rounds = (compute_round_mixes(variant_a, leaves, rates) + compute_round_mixes(variant_b, leaves, rates)) / 2
    return PolicyTiming(
        costs=compute_costs(timed, runner.exits),
        labels=np.array([a.label for a in answers]),
        leaves=leaves,
        mean_s=(first + second) / 2,
        noise_floor=abs(first / second - 1),
        error=compute_relative_error(rounds),
        ratio_error=compute_relative_error(rounds / timed["backbone"].block_means_s),
        latency_s=np.concatenate([variant_a.values_s, variant_b.values_s]),
        blocks=np.concatenate([variant_a.blocks, variant_b.blocks]),
    )


def make_forced_calls(runner: Runner, backbone: Backbone, inputs: list[Any]) -> dict[str, Call]:
    """Calls that leave at each exit, and one of the backbone, over the inputs in turn."""

    def forced(exit: int) -> Call:
        def call(i: int) -> Prediction:
            return runner.forced(inputs[i % len(inputs)], exit=exit)

        return call

    variants = {f"exit {k}": forced(k) for k in range(1, runner.exits + 1)}
    return {**variants, "backbone": make_cycling_call(backbone, inputs)}


def make_cycling_call(run: Callable[[Any], Prediction], inputs: list[Any]) -> Call:
    """A call over the inputs in turn."""
    return lambda i: run(inputs[i % len(inputs)])


def compute_costs(timed: Mapping[str, TimedSamples], exits: int) -> MeasuredCosts:
    """The costs of the calls of `make_forced_calls`, which may have been timed among others."""
    variants = [timed[f"exit {k}"] for k in range(1, exits + 1)]
    straight = timed["backbone"].block_means_s
    totals = np.sum([variant.block_means_s for variant in timed.values()], axis=0)
    half = len(totals) // 2
    return MeasuredCosts(
        cost_s=tuple(variant.values_s for variant in variants),
        typical_s=np.array([_compute_typical(variant) for variant in variants]),
        backbone_s=timed["backbone"].values_s,
        backbone_typical_s=_compute_typical(timed["backbone"]),
        error=max(compute_relative_error(variant.block_means_s) for variant in timed.values()),
        ratio_error=max(compute_relative_error(variant.block_means_s / straight) for variant in variants),
        drift=abs(float(np.median(totals[:half]) / np.median(totals[half:])) - 1),
        spread=float(np.quantile(totals, 0.9) - np.quantile(totals, 0.1)) / (_DECILES * float(np.median(totals))),
    )


def compute_relative_error(rounds: Floats) -> float:
    """Half width of the 99 % interval of the median of `rounds` over its value.

    From the median absolute deviation, which a stall of the machine in a few rounds does not move; 1.4826 and 1.2533 make of it the
    standard error of a median of normal values.
    """
    middle = float(np.median(rounds))
    deviation = 1.4826 * float(np.median(np.abs(rounds - middle)))
    return float(t_quantile(0.995, len(rounds) - 1) * 1.2533 * deviation / (middle * len(rounds) ** 0.5))


def compute_change(before: MeasuredCosts, after: MeasuredCosts) -> float:
    """Largest relative change of an exit's typical latency from one timing to another."""
    return float(np.max(np.abs(after.typical_s / before.typical_s - 1)))


def _compute_typical(samples: TimedSamples) -> float:
    return float(np.median(samples.block_means_s))


def _compute_typical_mix(samples: TimedSamples, leaves: Indices, rates: Floats) -> float:
    """Per exit the median over blocks of the mean of its inferences, weighted with the exit rates."""
    at = leaves[np.arange(len(samples)) % len(leaves)]
    total = 0.0
    for k in np.unique(at):
        here = at == k
        total += float(rates[k]) * float(np.median(_compute_block_means(samples.values_s[here], samples.blocks[here])))
    return total / float(rates[np.unique(at)].sum())


def compute_round_mixes(samples: TimedSamples, leaves: Indices, rates: Floats) -> Floats:
    """Per round, the mean of its inferences weighted with the exit rates; an exit that a round has not met counts as it usually takes."""
    at = leaves[np.arange(len(samples)) % len(leaves)]
    rounds = int(samples.blocks[-1]) + 1
    total = np.zeros(rounds)
    for k in np.unique(at):
        here = at == k
        met, values = (
            np.unique(samples.blocks[here]),
            _compute_block_means(samples.values_s[here], samples.blocks[here]),
        )
        usual = np.full(rounds, np.median(values))
        usual[met] = values
        total += float(rates[k]) * usual
    return total / float(rates[np.unique(at)].sum())


def _compute_block_means(values: Floats, blocks: NDArray[np.int64]) -> Floats:
    _, place, counts = np.unique(blocks, return_inverse=True, return_counts=True)
    return np.asarray(np.bincount(place.ravel(), weights=values) / counts, np.float64)


def _thin_samples(samples: Floats) -> Floats:
    return samples if len(samples) <= KEPT_LATENCIES else samples[:: -(-len(samples) // KEPT_LATENCIES)]


def _accumulate_macs(runner: Runner) -> Floats | None:
    stages = [stage.macs for stage in runner.bundle.manifest.stages]
    return None if any(m is None for m in stages) else np.cumsum(np.array(stages, np.float64))
