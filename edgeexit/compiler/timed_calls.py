"""What a compile times, in the processes that time modes and backends: calls on example inputs, in short blocks of each in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgeexit.backends.base import Array
from edgeexit.bundle import Bundle
from edgeexit.measure.timing import Call, TimedSamples, time_interleaved
from edgeexit.runtime import Runner

_BLOCK_S = 0.005  # short, for many pairs of blocks in little time
_WARMUP_S = 0.2  # of each call, and never longer than the timing: a network of tenths of a second is warm after a few
_FEWEST_ROUNDS = 5  # of such a network, whose rounds take longer than the time asked for


def time_in_turn(calls: Mapping[str, Call], seconds: float, seed: int) -> dict[str, TimedSamples]:
    """Time the calls interleaved, all together for about so many seconds after their warm-up; by the same names."""
    return time_interleaved(
        calls,
        seconds=seconds,
        warmup_s=min(_WARMUP_S, seconds),
        block_s=_BLOCK_S,
        fewest_rounds=_FEWEST_ROUNDS,
        seed=seed,
    )


def run_forced(runner: Runner, inputs: Sequence[Mapping[str, Array]], exit: int, i: int) -> object:
    """Leave at an exit with the i-th of the inputs, which come again and again."""
    return runner.forced(inputs[i % len(inputs)], exit=exit)


def read_inputs(bundle: Bundle, path: str) -> dict[str, Array]:
    """The inputs of a timing job, [n, ...] by name, from an .npz that has them in the order of the manifest."""
    with np.load(path, allow_pickle=False) as file:
        return {spec.name: file[f"arr_{i}"] for i, spec in enumerate(bundle.manifest.inputs)}
