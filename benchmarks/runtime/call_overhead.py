"""What a call costs beyond its engine at exit 1: a call, one without a copy of the logits, run_many; warm, and with cold caches.

    python -m benchmarks call_overhead [--case lenet-mnist] [--mode staged]

The engine is the runtime's bound run on what lies in its buffers, in blocks of 32 beside the blocks of the others: what Python does between
two runs leaves less of the engine in the caches, and that counts, too. A repeat is one value of the paired ratios.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import find_case, make_parser, open_case, open_other_mode, print_table, record
from edgeexit.hardware import read_device_state
from edgeexit.measure.options import FLUSH_BYTES
from edgeexit.measure.scenarios import CacheFlush, run_cold
from edgeexit.measure.statistics import ratio_interval
from edgeexit.measure.verdict import Ratio
from edgeexit.report.tables import format_ratio
from edgeexit.runtime import Runner
from edgeexit.util import units
from edgeexit.util.documents import to_document
from edgeexit.util.samples import split_samples

_BLOCK = 32
_SETTLE = 4  # calls at the start of a block that are not counted
_COLD = 40

TimeBlock = Callable[[NDArray[Any]], NDArray[np.float64]]
"""Seconds of each call on [_BLOCK, ...] inputs."""


def time_each(call: Callable[[Any], object], inputs: NDArray[Any]) -> NDArray[np.float64]:
    """Seconds of a call on each input."""
    samples, times = split_samples(inputs), [perf_counter()]
    for x in samples:
        call(x)
        times.append(perf_counter())
    return np.diff(times)


def _make_lanes(runner: Runner) -> dict[str, TimeBlock]:
    """The engine first, which the others are compared with."""
    program, never_later = runner._program, (-math.inf,) * (runner.exits - 1)  # noqa: SLF001 - below the Runner
    runner.inner_thresholds = never_later
    reusing = runner.clone()
    reusing.reuse_logits = True
    return {
        "engine": partial(time_each, lambda _x: program.run(never_later)),
        "call": partial(time_each, runner),
        "call, logits reused": partial(time_each, reusing),
        "run_many": lambda inputs: runner.run_many(inputs).latency_s,
    }


def time_round(lanes: dict[str, TimeBlock], inputs: NDArray[Any], seconds: float) -> dict[str, float]:
    """Medians over the blocks of one repeat, the lanes' blocks in turn."""
    times: dict[str, list[NDArray[np.float64]]] = {name: [] for name in lanes}
    end_s, place = perf_counter() + seconds, 0
    while perf_counter() < end_s:
        block = np.take(inputs, range(place, place + _BLOCK), axis=0, mode="wrap")
        for name, lane in lanes.items():
            times[name].append(lane(block)[_SETTLE:])
        place += _BLOCK
    return {name: float(np.median(np.concatenate(found))) for name, found in times.items()}


def _time_cold(lanes: dict[str, TimeBlock], inputs: NDArray[Any]) -> dict[str, float]:
    """Medians of single calls, each after the caches were flushed; `run_many` makes none."""
    calls = {name: partial(_call_one, lane, inputs) for name, lane in lanes.items() if name != "run_many"}
    found = run_cold(calls, _COLD, CacheFlush(FLUSH_BYTES))
    return {name: timed.median_s for name, timed in found.items()}


def _call_one(lane: TimeBlock, inputs: NDArray[Any], i: int) -> object:
    return lane(inputs[i % len(inputs)][None])


def _format_row(name: str, median_s: float, ratio: Ratio, cold_s: float | None) -> tuple[str, ...]:
    shown = "" if cold_s is None else units.seconds(cold_s)
    return (name, units.seconds(median_s), format_ratio(ratio), units.percent(1 - 1 / ratio.value), shown)


def main() -> None:
    """Run the experiment that the command line describes, print its table and record its result."""
    parser = make_parser(__doc__)
    parser.add_argument("--mode", default="staged", choices=("staged", "fused"))
    arguments = parser.parse_args()
    case, before = find_case(arguments.case), read_device_state()
    with tempfile.TemporaryDirectory() as scratch:
        arguments.thresholds = arguments.thresholds or [0.0]  # no calibration is needed: every input leaves at exit 1
        runner = open_other_mode(open_case(case, Path(scratch), arguments), arguments.mode)
        inputs, lanes = case.test_data().inputs, _make_lanes(runner)
        assert isinstance(inputs, np.ndarray), "every case has one input"
        rounds = [time_round(lanes, inputs, arguments.seconds) for _ in range(arguments.repeats)]
        cold = _time_cold(lanes, inputs)
    series = {name: [one[name] for one in rounds] for name in lanes}
    ratios = {name: Ratio(*ratio_interval(series["engine"], values, paired=True)) for name, values in series.items()}
    rows = [_format_row(name, float(np.median(series[name])), ratios[name], cold.get(name)) for name in lanes]
    print_table(
        f"{case.name}, exit 1, {arguments.mode}",
        ("", "median", "to the engine", "share of Python", "cold caches"),
        rows,
    )
    body = {"median_s": series, "ratios": to_document(ratios), "cold_median_s": cold}
    record("call_overhead", case, arguments, body, before)


if __name__ == "__main__":
    main()
