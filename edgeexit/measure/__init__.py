"""Measurements that a sceptic would accept.

    bench(runner, inputs, labels, preset="quick")     the whole protocol -> BenchResult
    read_result("a.json")                             a result from its file
    compare_results(a, b)                             FASTER, SLOWER, SAME, AMBIGUOUS or INVALID
    time_interleaved({"a": call, "b": call}, ...)     the timing loop alone

Modules, from the inside out: statistics, timing, scenarios (loops) · verdict · suites, options · worker (one process) · processes ·
accuracy · result (from samples to the file) · energy, cache · protocol (the order of it all) · compare.
"""

from __future__ import annotations

from edgeexit.measure.compare import ResultComparison, compare_results
from edgeexit.measure.options import BenchOptions
from edgeexit.measure.protocol import bench, bench_dataset
from edgeexit.measure.result.bench_result import BenchResult, parse_result, read_result
from edgeexit.measure.scenarios import Pace
from edgeexit.measure.suites import Suite, list_suites, load_suite
from edgeexit.measure.timing import Call, TimedSamples, time_interleaved

__all__ = [
    "BenchOptions",
    "BenchResult",
    "Call",
    "Pace",
    "ResultComparison",
    "Suite",
    "TimedSamples",
    "bench",
    "bench_dataset",
    "compare_results",
    "list_suites",
    "load_suite",
    "parse_result",
    "read_result",
    "time_interleaved",
]
