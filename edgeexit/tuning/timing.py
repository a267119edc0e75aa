"""Successive halving of the timing: every setup for a moment, the better ones longer, each beside the network in its own precision.

    round 1     every setup, a third of the time      the best third goes on
    round 2     those, a third of the time            the best third goes on
    round 3     at most three, the rest of the time

A setup that cannot beat the best, whatever its thresholds and within the intervals of both (`bounds`), goes on no further, and the time is
that of the others. The setup of the reference goes on whatever its rank, so that what every choice brings over it can be told.

A setup is timed in blocks of each exit, of its own backbone and of the reference in turn; what counts is the ratio to the reference in the
same blocks, so that setups timed minutes apart can be compared. One setup is open at a time: several would share caches and threads that
only one of them has in use.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from edgeexit.bundle import Bundle
from edgeexit.calibration.device import (
    compute_costs,
    compute_relative_error,
    make_cycling_call,
    make_forced_calls,
    time_variants,
)
from edgeexit.data import Dataset
from edgeexit.errors import EdgeExitError, InputError
from edgeexit.runtime import Backbone, load_quietly
from edgeexit.tuning.space import EngineSetup, LeftOut
from edgeexit.tuning.store import SetupTiming, TuningStore, scale_costs
from edgeexit.util.progress import Progress
from edgeexit.util.samples import split_samples
from edgeexit.util.units import format_ratio, seconds

ROUNDS = 3
FINALISTS = 3
_INPUTS = 256
_SHORTEST_S = 0.2


class Judge(Protocol):
    """Ranks setups by their timings; see `rivals.SetupJudge`."""

    def rate(self, timing: SetupTiming) -> tuple[float, ...]:
        """A key to sort by, higher is better."""

    def pick_rivals(self, ranked: Sequence[SetupTiming], most: int) -> tuple[SetupTiming, ...]:
        """Of setups ranked best first, the first few that may still win."""


@dataclass(frozen=True, eq=False)
class Stopwatch:
    """What every timing of a session shares.

    Attributes:
        bundles: bundle of each precision, with all exits.
        reference: settings of the network without exits that everything is compared with.
        inputs: samples to run.
        reference_s: its mean latency, seconds.
        seed: random seed of the order of blocks.
        spread: how much longer the reference took in its slow blocks than in its fast ones, relative (90th over 10th percentile).
        store: keeps what was timed, and gives what was timed before.
    """

    bundles: Mapping[str, Bundle]
    reference: EngineSetup
    inputs: list[Mapping[str, np.ndarray]]
    reference_s: float
    seed: int
    spread: float
    store: TuningStore

    @classmethod
    def start(
        cls, bundle: Bundle, reference: EngineSetup, data: Dataset, store: TuningStore, length_s: float
    ) -> Stopwatch:
        """Measure the reference alone, whose speed all later timings are brought to; or take it from the store."""
        inputs = split_samples(data.take(slice(_INPUTS)).inputs)
        seed, record = store.record.seed, store.record
        if record.reference_s is None or record.spread is None:
            store.keep_reference(*_measure_reference(bundle, reference, inputs, seed, length_s))
            record = store.record
        assert record.reference_s is not None
        assert record.spread is not None
        return cls({reference.precision: bundle}, reference, inputs, record.reference_s, seed, record.spread, store)

    def with_bundles(self, bundles: Mapping[str, Bundle]) -> Stopwatch:
        """The same for the bundles of all precisions."""
        return replace(self, bundles=bundles)

    def find_or_time(self, setup: EngineSetup, length_s: float) -> SetupTiming:
        """The timing of a setup that was kept, where it is long enough; else a new one, which is kept."""
        kept = self.store.find(setup, length_s)
        if kept is not None:
            return kept
        timing = self.time(setup, length_s, lambda *_: None)
        self.store.keep(timing)
        return timing

    def time(self, setup: EngineSetup, length_s: float, progress: Progress) -> SetupTiming:
        """Time every exit of a setup, and its backbone, beside the reference."""
        bundle = self.bundles[setup.precision]
        how = {"backend": setup.backend, "mode": setup.mode, "threads": setup.threads}
        with (
            load_quietly(bundle.path, **how) as runner,
            runner.backbone() as backbone,
            Backbone(self.bundles[self.reference.precision], self.reference.settings) as reference,
        ):
            calls = make_forced_calls(runner, backbone, self.inputs)
            calls["reference"] = make_cycling_call(reference, self.inputs)
            timed = time_variants(calls, length_s, self.seed, progress)
            costs = compute_costs(timed, runner.exits)
        beside = timed["reference"].block_means_s
        errors = [compute_relative_error(timed[f"exit {k}"].block_means_s / beside) for k in range(1, runner.exits + 1)]
        scaled = scale_costs(costs, self.reference_s / float(np.median(beside)))
        return SetupTiming(
            setup, replace(scaled, error=max(errors), ratio_error=max(errors)), self.reference_s, length_s
        )


def _measure_reference(
    bundle: Bundle, reference: EngineSetup, inputs: list[Mapping[str, np.ndarray]], seed: int, length_s: float
) -> tuple[float, float]:
    """Typical latency of the reference, seconds, and its spread."""
    with Backbone(bundle, reference.settings) as backbone:
        call = make_cycling_call(backbone, inputs)
        timed = time_variants({"reference": call}, length_s, seed, lambda *_: None)
    means = timed["reference"].block_means_s
    return float(np.median(means)), float(np.quantile(means, 0.9) / np.quantile(means, 0.1)) - 1


def time_setups(
    watch: Stopwatch,
    setups: Sequence[EngineSetup],
    judge: Judge,
    length_s: float,
    progress: Progress,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[tuple[SetupTiming, ...], tuple[LeftOut, ...]]:
    """Time the setups, most of the time on those that may win.

    Args:
        watch: how to time one.
        setups: what to time.
        judge: ranks them; those that cannot beat the best any more are not timed again, however few are left.
        length_s: wall time of all timing together, seconds, with that of opening engines as far as it leaves time for both.
        progress: callback with what is being done.
        clock: seconds.

    Returns:
        the setups of the last round, best first; and those that were left behind, with the reason.

    Raises:
        InputError: none could be timed.
    """
    left_out: list[LeftOut] = []
    rest, turn, began_s, opening_s = list(setups), 1, clock(), 0.0
    while True:
        last = turn == ROUNDS or len(rest) <= FINALISTS + 1
        round_began_s = clock()
        round_s = (length_s - (round_began_s - began_s)) / (1 if last else ROUNDS - turn + 1)
        each_s = watch.store.fix_round(turn, max(_SHORTEST_S, round_s / len(rest) - opening_s))
        found, faults = _time_round(watch, rest, each_s, turn, progress)
        opening_s = max(opening_s, (clock() - round_began_s) / len(rest) - each_s)
        left_out += faults
        if not found:
            raise InputError("nothing could be timed: " + "; ".join(f"{one.what}: {one.reason}" for one in left_out))
        found.sort(key=judge.rate, reverse=True)
        size = FINALISTS if last else max(FINALISTS, -(-len(found) // 3))
        rivals = judge.pick_rivals(found, size)
        kept = [one for one in found if one in rivals or one.setup == watch.reference]
        left_out += [_explain_slower(one, found[0], turn) for one in found if one not in kept]
        if last:
            watch.store.finish(kept)
            return tuple(kept), tuple(left_out)
        rest, turn = [one.setup for one in kept], turn + 1


def _time_round(
    watch: Stopwatch, setups: Sequence[EngineSetup], each_s: float, turn: int, progress: Progress
) -> tuple[list[SetupTiming], list[LeftOut]]:
    found, faults = [], []
    for place, setup in enumerate(setups):
        progress(f"timing, round {turn}", place, len(setups))
        try:
            found.append(watch.find_or_time(setup, each_s))
        except EdgeExitError as fault:
            faults.append(LeftOut(str(setup), str(fault)))
    progress(f"timing, round {turn}", len(setups), len(setups))
    return found, faults


def _explain_slower(one: SetupTiming, best: SetupTiming, turn: int) -> LeftOut:
    ratio = format_ratio(float(one.costs.typical_s[-1] / best.costs.typical_s[-1]))
    what = f"behind {best.setup} after {seconds(one.seconds)} of timing (round {turn}); its last exit takes {ratio} times as long"
    return LeftOut(str(one.setup), what, timed=True)
