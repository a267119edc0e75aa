"""What watching a Runner costs a call: an observer that does nothing, a Monitor, and one that was stopped; against an unobserved clone.

    python -m benchmarks monitor [--case lenet-mnist] [--mode staged] [--repeats 30]

Every input leaves at exit 1, the quickest call there is. Blocks of 32 calls take turns; a repeat is one value of the paired ratios. Only
the last row counts cells of drift, by made-up edges, because the case is not calibrated. A Monitor counts in every 128th call what it has
written down in the others: a median does not see that one, so the counting is timed alone, too.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.common import find_case, make_parser, open_case, open_other_mode, print_table, record
from benchmarks.runtime.call_overhead import TimeBlock, time_each, time_round
from edgeexit.hardware import read_device_state
from edgeexit.measure.statistics import ratio_interval
from edgeexit.measure.verdict import Ratio
from edgeexit.monitor import Monitor
from edgeexit.monitor.counters import AnswerTape, CountersOfClones
from edgeexit.monitor.watching import BUCKETS_S
from edgeexit.runtime import Prediction, Runner
from edgeexit.util import units
from edgeexit.util.documents import to_document

_EDGES = [[-0.3, -0.2, -0.1], []]  # between the cells of the scores at each exit


def _make_lanes(runner: Runner) -> dict[str, TimeBlock]:
    """The unobserved Runner first, which the others are compared with; each has buffers of its own."""
    idle, watched, with_drift, stopped, same = (runner.clone() for _ in range(5))
    idle.observe(lambda _prediction, _latency_s: None)
    Monitor(watched)
    counters = CountersOfClones(BUCKETS_S, runner.criterion.sign)
    counters.set_edges(_EDGES[:1] * (runner.exits - 1) + _EDGES[1:])
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


def _time_counting(edges: list[list[float]], repeats: int) -> float:
    """Median seconds in which a full tape is counted, by made-up answers."""
    tape, answer, times = AnswerTape(BUCKETS_S, edges, 1), Prediction(0, 1, -0.2, np.zeros(2, np.float32)), []
    write = tape.make_observer()
    for _ in range(repeats):
        for i in range(AnswerTape.LENGTH - 1):
            write(answer, 3e-5 + i * 1e-7)
        start_s = perf_counter()
        tape.count(tape.counters)
        times.append(perf_counter() - start_s)
    return float(np.median(times))


def _format_more(base_s: float, ratio: Ratio) -> str:
    bounds = (ratio.ci95.low, ratio.ci95.high) if ratio.ci95 else (ratio.value, ratio.value)
    more, low, high = (f"{(r - 1) * base_s * 1e6:+.2f}" for r in (ratio.value, *bounds))
    return f"{more} ({low} to {high})"


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
        rounds = [time_round(lanes, inputs, arguments.seconds) for _ in range(arguments.repeats)]
    series = {name: [one[name] for one in rounds] for name in lanes}
    base = series["unobserved"]
    ratios = {name: Ratio(*ratio_interval(base, values, paired=True)) for name, values in series.items()}
    middle_s, count_s = float(np.median(base)), _time_counting(_EDGES, 1000)
    rows = [(name, units.seconds(middle_s * r.value), _format_more(middle_s, r)) for name, r in ratios.items()]
    each = f"+{count_s / AnswerTape.LENGTH * 1e6:.2f} for each of {AnswerTape.LENGTH}"
    rows.append(("counting, in one call of many", units.seconds(count_s), each))
    print_table(f"{case.name}, exit 1, {arguments.mode}", ("", "median", "more than unobserved, µs"), rows)
    body = {"median_s": series, "ratios": to_document(ratios), "count_s": count_s, "counted": AnswerTape.LENGTH}
    record("monitor", case, arguments, body, before)


if __name__ == "__main__":
    main()
