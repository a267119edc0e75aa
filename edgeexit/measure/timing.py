"""Timing of several callables so that their ratio can be believed: short blocks of each in turn, one sample each call.

    round 0                      round 1                      ...
    ┌ settle ┬ block of B ┐┌ settle ┬ block of A ┐┌ settle ┬ block of A ┐┌ settle ┬ block of B ┐
    └ untimed┴ n_B samples┘└ untimed┴ n_A samples┘

What drifts (clocks, temperature, other load) drifts for all alike, since the blocks are short and their order is drawn
again each round. Blocks of one round carry the same id, so that they can be compared as pairs. The first inferences of a
block find caches that the other callables have filled; they are run and not timed. Nothing is subtracted:
`harness_overhead_s` says what the harness itself puts into each sample.
"""

from __future__ import annotations

import gc
import math
import random
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter_ns
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeexit.errors import InputError
from edgeexit.measure.statistics import nearest_rank
from edgeexit.util.progress import Progress, show_nothing

Call: TypeAlias = Callable[[int], object]
"""Performs the i-th inference of a trace; i counts from 0, and the callee maps it to an input."""

_SETTLE_SHARE = 20  # one untimed inference before every 20 timed ones, at least one
_MOST_PER_BLOCK = 100_000
_FEWEST_WARM = 3  # inferences, of which the later ones say how many make a block


@dataclass(frozen=True)
class TimedSamples:
    """Times of one callable, inference by inference; sample j is inference j of its trace.

    Attributes:
        values_s: float64 [n], seconds of each inference, in the order in which they ran.
        blocks: int64 [n], the round to which each belongs; several callables timed together share the numbering.
    """

    values_s: NDArray[np.float64]
    blocks: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.values_s)

    @cached_property
    def mean_s(self) -> float:
        """Arithmetic mean, seconds."""
        return float(self.values_s.mean())

    @cached_property
    def median_s(self) -> float:
        """Nearest-rank median, seconds."""
        return self.percentile_s(50.0)

    @cached_property
    def block_means_s(self) -> NDArray[np.float64]:
        """Mean of each block, float64 [blocks], in the order of the rounds."""
        _, place, sizes = np.unique(self.blocks, return_inverse=True, return_counts=True)
        return np.asarray(np.bincount(place, weights=self.values_s) / sizes, np.float64)

    @cached_property
    def block_medians_s(self) -> NDArray[np.float64]:
        """Nearest-rank median of each block, float64 [blocks], in the order of the rounds."""
        starts = np.flatnonzero(np.diff(self.blocks)) + 1
        return np.array([nearest_rank(part, 50.0) for part in np.split(self.values_s, starts)])

    def percentile_s(self, q: float) -> float:
        """Nearest-rank percentile, q in (0, 100], seconds."""
        return nearest_rank(self.values_s, q)


class _TimedCall:
    """A callable with the samples that were timed so far."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.timed = 0
        self.chunks: list[NDArray[np.float64]] = []
        self.buffer = array("q")

    def warm_up(self, times: int, longest_s: float, block_s: float) -> None:
        """Run `times` inferences, or as many as `longest_s` holds, and fix how many make a block of about `block_s` seconds."""
        trial, one = array("q"), array("q", [0])
        end_ns = perf_counter_ns() + longest_s * 1e9
        while len(trial) < _FEWEST_WARM or (len(trial) < times and perf_counter_ns() < end_ns):
            _time_block(self.call, len(trial), one)
            trial.extend(one)
        usual_s = float(np.median(np.frombuffer(trial, np.int64)[len(trial) // 2 :])) * 1e-9
        per_block = int(min(max(1.0, block_s / max(usual_s, 1e-9)), _MOST_PER_BLOCK))
        self.buffer = array("q", bytes(8 * per_block))

    def run_block(self) -> None:
        """Time the next block of the trace. Its last inputs run first, untimed, because other callables have used the caches."""
        n = len(self.buffer)
        for i in range(self.timed + n - max(1, n // _SETTLE_SHARE), self.timed + n):
            self.call(i)
        _time_block(self.call, self.timed, self.buffer)
        self.timed += n
        self.chunks.append(np.multiply(np.frombuffer(self.buffer, np.int64), 1e-9, dtype=np.float64))

    def samples(self) -> TimedSamples:
        """All samples timed so far."""
        rounds = np.arange(len(self.chunks), dtype=np.int64)
        return TimedSamples(np.concatenate(self.chunks), np.repeat(rounds, len(self.buffer)))


def _time_block(call: Call, first: int, buffer: array[int]) -> None:
    now = perf_counter_ns
    for place, i in enumerate(range(first, first + len(buffer))):
        start = now()
        call(i)
        buffer[place] = now() - start


@contextmanager
def disable_garbage_collector() -> Iterator[None]:
    """Collect garbage now and not again inside the `with` block; afterwards the collector is as it was."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def time_interleaved(
    calls: Mapping[str, Call],
    *,
    seconds: float,
    warmup: int = 30,
    warmup_s: float = math.inf,
    block_s: float = 0.02,
    fewest_rounds: int = 2,
    seed: int = 0,
    progress: Progress = show_nothing,
) -> dict[str, TimedSamples]:
    """Time the callables in short blocks of each in turn, with one sample per inference.

    Every callable gets the same number of blocks of about `block_s` seconds; how many inferences that is, is fixed
    after its warm-up. The order within a round is drawn by `seed`. The garbage collector is off inside.

    Args:
        calls: calls by name. Each is called with 0, 1, 2, ... of its own trace (the settling inferences repeat indices).
        seconds: wall time of all rounds together, after the warm-up. Whole rounds are run.
        warmup: untimed inferences of each callable before the first round.
        warmup_s: the longest that these may take, of each callable; three are run at the least.
        block_s: wished length of one block, seconds.
        fewest_rounds: run even where they take longer than `seconds`.
        seed: random seed of the order within the rounds.
        progress: callback with the elapsed share after every round, as "timing", in hundredths.

    Returns:
        The samples of each callable, by the same names.

    Raises:
        InputError: no callables, or seconds or block_s not positive.
    """
    if not calls or not seconds > 0 or not block_s > 0:
        msg = f"nothing to time: {len(calls)} callables for {seconds} s in blocks of {block_s} s; all must be positive"
        raise InputError(msg)
    variants = {name: _TimedCall(call) for name, call in calls.items()}
    with disable_garbage_collector():
        for variant in variants.values():
            variant.warm_up(warmup, warmup_s, block_s)
        order = random.Random(seed)  # noqa: S311 - an order, not a secret
        _run_rounds(list(variants.values()), seconds, fewest_rounds, order, progress)
    return {name: variant.samples() for name, variant in variants.items()}


def _run_rounds(
    variants: list[_TimedCall], seconds: float, fewest: int, order: random.Random, progress: Progress
) -> None:
    start, rounds, elapsed_s = perf_counter_ns(), 0, 0.0
    while elapsed_s < seconds or rounds < fewest:
        order.shuffle(variants)
        for variant in variants:
            variant.run_block()
        rounds += 1
        elapsed_s = (perf_counter_ns() - start) * 1e-9
        progress("timing", min(99, int(100 * elapsed_s / seconds)), 100)
    progress("timing", 100, 100)


def _do_nothing(i: int) -> object:
    return i


def measure_harness_overhead(times: int = 20_000, call: Call = _do_nothing) -> float:
    """Overhead of the harness in each sample, in seconds: the median sample of a callable that does nothing.

    It holds reading the clock twice and calling one Python function. It is reported with every result, not subtracted.

    Args:
        times: number of samples.
        call: the callable; one that does everything but the inference includes the bookkeeping of its caller.
    """
    buffer = array("q", bytes(8 * times))
    with disable_garbage_collector():
        _time_block(call, 0, buffer)
    return float(np.median(np.frombuffer(buffer, np.int64))) * 1e-9
