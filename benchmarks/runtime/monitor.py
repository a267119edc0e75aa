"""What watching a Runner costs a call: an observer that does nothing, a Monitor, and one that was stopped; against an unobserved clone.

    python -m benchmarks monitor [--case lenet-mnist] [--mode staged] [--repeats 30]

Every input leaves at exit 1, the quickest call there is. Blocks of 32 calls take turns; a repeat is one value of the paired ratios. Only
the last row counts cells of drift, by made-up edges, because the case is not calibrated. A Monitor counts in every 128th call what it has
written down in the others: a median does not see that one, so means are taken, too, without the slowest 0.2 % of the calls, which the
machine held up.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import find_case, make_parser, open_case, open_other_mode, print_table, record
from benchmarks.runtime.call_overhead import TimeBlock, time_blocks, time_each
from edgeexit.hardware import read_device_state
from edgeexit.measure.statistics import ratio_interval
from edgeexit.measure.verdict import Ratio
from edgeexit.monitor import Monitor
from edgeexit.monitor.counters import CountersOfClones
from edgeexit.monitor.watching import BUCKETS_S
from edgeexit.runtime import Runner
from edgeexit.util import units
from edgeexit.util.documents import to_document

_KEPT = 0.998  # of the calls; one of 128 counts


def _make_lanes(runner: Runner) -> dict[str, TimeBlock]:
    """The unobserved Runner first, which the others are compared with; each has buffers of its own."""
    idle, watched, with_drift, stopped, same = (runner.clone() for _ in range(5))
    idle.observe(lambda _prediction, _latency_s: None)
    Monitor(watched)
    counters = CountersOfClones(BUCKETS_S, runner.criterion.sign)
    counters.set_edges([[-0.3, -0.2, -0.1]] * (runner.exits - 1) + [[]])
    with_drift.observe(counters.make_observer())
    Monitor(stopped).stop()
    runs = {
        "unobserved": runner,
        "unobserved again": same,
        "stopped": stopped,
        "observer that does nothing": idle,
        "Monitor without a calibration": watched,
        "Monitor with drift": with_drift,
    }
    return {name: partial(time_each, run) for name, run in runs.items()}


def _compute_mean(times_s: NDArray[np.float64]) -> float:
    return float(np.sort(times_s)[: max(1, int(_KEPT * len(times_s)))].mean())


def _format_more(base_s: float, ratio: Ratio) -> str:
    bounds = (ratio.ci95.low, ratio.ci95.high) if ratio.ci95 else (ratio.value, ratio.value)
    more, low, high = (f"{(r - 1) * base_s * 1e6:+.2f}" for r in (ratio.value, *bounds))
    return f"{more} ({low} to {high})"


def _compare(rounds: list[dict[str, float]]) -> tuple[dict[str, list[float]], dict[str, Ratio]]:
    """Each lane's value of every repeat, and its ratio to the unobserved Runner's."""
    series = {name: [one[name] for one in rounds] for name in rounds[0]}
    base = series["unobserved"]
    return series, {name: Ratio(*ratio_interval(base, values, paired=True)) for name, values in series.items()}


def main() -> None:
    """Run the experiment that the command line describes, print its table and record its result."""
    parser = make_parser(__doc__)
    parser.add_argument("--mode", default="staged", choices=("staged", "fused"))
    parser.set_defaults(seconds=2.0, repeats=30)
    arguments = parser.parse_args()
    case, before = find_case(arguments.case), read_device_state()
    with tempfile.TemporaryDirectory() as scratch:
        arguments.thresholds = arguments.thresholds or [1e9]  # of the entropy: every input leaves at exit 1
        runner = open_other_mode(open_case(case, Path(scratch), arguments), arguments.mode)
        inputs, lanes = case.test_data().inputs, _make_lanes(runner)
        assert isinstance(inputs, np.ndarray), "every case has one input"
        times = [time_blocks(lanes, inputs, arguments.seconds) for _ in range(arguments.repeats)]
    medians, ratios = _compare([{name: float(np.median(t)) for name, t in one.items()} for one in times])
    means, mean_ratios = _compare([{name: _compute_mean(t) for name, t in one.items()} for one in times])
    base_s, mean_s = float(np.median(medians["unobserved"])), float(np.median(means["unobserved"]))
    rows = [
        (
            name,
            units.seconds(float(np.median(medians[name]))),
            _format_more(base_s, ratios[name]),
            _format_more(mean_s, mean_ratios[name]),
        )
        for name in lanes
    ]
    print_table(f"{case.name}, exit 1, {arguments.mode}", ("", "median", "more than unobserved, µs", "mean, µs"), rows)
    body = {
        "median_s": medians,
        "ratios": to_document(ratios),
        "mean_s": means,
        "mean_ratios": to_document(mean_ratios),
    }
    record("monitor", case, arguments, body, before)


if __name__ == "__main__":
    main()
