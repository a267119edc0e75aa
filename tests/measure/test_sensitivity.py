"""What the harness can tell apart on this machine, and how long a quick run takes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import edgeexit
from edgeexit.data import find_demo_asset, load_data
from edgeexit.measure import time_interleaved
from edgeexit.measure.result.aggregation import TimingSeries, compute_latency
from edgeexit.measure.result.parts import Latency
from edgeexit.measure.verdict import Processes, compare_processes
from edgeexit.measure.worker import make_traced_call
from edgeexit.util.samples import split_samples
from tests.measure.conftest import open_bundle

pytestmark = pytest.mark.serial


def _slowed(run: Callable[[Any], Any], share: float) -> Callable[[Any], Any]:
    def slow(x: Any) -> Any:
        start = time.perf_counter_ns()
        answer = run(x)
        end = time.perf_counter_ns()
        while time.perf_counter_ns() < end + share * (end - start):
            pass
        return answer

    return slow


def _measured(runs: dict[str, Any], feed: list[Any], seed: int) -> dict[str, Latency]:
    exits = np.array([runs["first"](x).exit for x in feed])
    calls = {name: make_traced_call(run, feed, [0] * len(feed)) for name, run in runs.items()}
    found: dict[str, list[TimingSeries]] = {name: [] for name in runs}
    for repeat in range(5):
        for name, samples in time_interleaved(calls, seconds=0.2, block_s=0.01, seed=10 * seed + repeat).items():
            found[name].append(TimingSeries(samples, exits[np.arange(len(samples)) % len(exits)]))
    counts = np.bincount(exits - 1, minlength=3).astype(np.int64)
    return {name: compute_latency(variants, counts) for name, variants in found.items()}


TELLING = 0.01
"""Standard deviation of the ratio of two equal things over five repeats up to which 5 % are told apart."""


def _spread(one: Latency, other: Latency) -> float:
    """Of the ratio of two equal things over the repeats."""
    return float(np.std(np.log(np.divide(one.process_typical_s, other.process_typical_s)), ddof=1))


def test_the_same_is_the_same_and_five_percent_slower_is_slower(
    compiled: Path, samples: NDArray[np.float32], balanced: list[float]
) -> None:
    """In 12 rounds: called FASTER or SLOWER at most 2 times when nothing differs, SLOWER at least 10 times when 5 % do.

    Only where the machine lets five short repeats tell so little apart: a host that is shared changes speed by more.
    """
    feed, verdicts = split_samples(samples), {"second": Counter[str](), "slowed": Counter[str]()}
    noise = []
    for turn in range(12):
        first, second, third = (open_bundle(compiled, balanced) for _ in range(3))
        latencies = _measured({"first": first, "second": second, "slowed": _slowed(third, 0.05)}, feed, turn)
        sides = {name: Processes(lat.process_typical_s, lat.process_mean_s) for name, lat in latencies.items()}
        noise.append(_spread(latencies["first"], latencies["second"]))
        for name, counted in verdicts.items():
            counted[compare_processes(sides["first"], sides[name], paired=True).verdict] += 1
    if np.median(noise) > TELLING:
        pytest.skip(
            f"repeats of the same differ by {np.median(noise):.1%} here, too much to tell 5 % apart in so short a time"
        )
    assert verdicts["second"]["FASTER"] + verdicts["second"]["SLOWER"] <= 2, verdicts
    assert verdicts["slowed"]["SLOWER"] >= 10, verdicts


def test_a_quick_run_of_the_demo_ends_in_fifteen_seconds(tmp_path: Path) -> None:
    """Every part of the preset, the whole protocol."""
    bundle = edgeexit.compile(find_demo_asset("lenet-digits.onnx"), tmp_path / "demo.eexit", seconds=0)
    data = load_data("digits:test")
    runner = open_bundle(bundle.path, [0.5])
    start = time.perf_counter()
    result = edgeexit.bench(runner, data.inputs, data.labels)
    assert time.perf_counter() - start <= 15.0
    assert result.latency.harness_overhead_s <= 1e-6
