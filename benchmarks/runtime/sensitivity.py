"""What the harness can tell apart: the same bundle measured twice, and a slow-down of 5 % planted.

    python -m benchmarks sensitivity [--rounds 20]

Each round opens the bundle three times, interleaves the three for a few short repeats, and asks for the verdict of the second against
the first (the same) and of the third against the first (slowed by 5 % of its own time, busily). Then it asks `edgeexit bench --against`
the same bundle, preset `quick`: fresh processes, as a user would. Wanted of either: FASTER or SLOWER in at most 3 of 20 for the same,
SLOWER in at least 17 of 20 for the slowed.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import edgeexit
from benchmarks.common import find_case, make_parser, open_case, open_other_mode, print_table, record, time_variants
from edgeexit.data import Dataset
from edgeexit.hardware import read_device_state
from edgeexit.measure.verdict import Comparison, compare_processes
from edgeexit.runtime import Runner

SAME, SLOWED, BENCH = "the same", "slowed by 5 %", "the same, by edgeexit bench --against"
VERDICTS = ("FASTER", "SLOWER", "SAME", "AMBIGUOUS", "INVALID")


def slow_down(run: Callable[[Any], Any], share: float) -> Callable[[Any], Any]:
    """The same callable, kept busy afterwards for a `share` of the time that it took."""

    def slow(x: Any) -> Any:
        start = perf_counter_ns()
        answer = run(x)
        end = perf_counter_ns()
        until = end + share * (end - start)
        while perf_counter_ns() < until:
            pass
        return answer

    return slow


def compare_interleaved(
    runner: Runner, data: Dataset, turn: int, *, seconds: float, repeats: int
) -> dict[str, Comparison]:
    """One round: the bundle opened three times in this process, the third slowed."""
    first, second, third = (open_other_mode(runner, runner.settings.mode) for _ in range(3))
    variants = {"first": first, SAME: second, SLOWED: slow_down(third, 0.05)}
    timed = time_variants(variants, data, seconds=seconds, repeats=repeats, seed=turn)
    compared = {
        name: compare_processes(timed["first"].latency.processes, timed[name].latency.processes, paired=True)
        for name in (SAME, SLOWED)
    }
    for opened in (first, second, third):
        opened.close()
    return compared


def compare_benched(runner: Runner, data: Dataset, turn: int) -> Comparison:
    """One round through the whole protocol of `edgeexit bench`, with a second runner of the same bundle."""
    with open_other_mode(runner, runner.settings.mode) as other:
        result = edgeexit.bench(runner, data.inputs, data.labels, against=other, seed=turn)
    assert result.against is not None
    return result.against.comparison


def is_as_wanted(verdicts: Counter[str], name: str) -> bool:
    """Whether a line of verdicts is what was asked for, in proportion to 20 rounds."""
    rounds = sum(verdicts.values())
    if name == SLOWED:
        return verdicts["SLOWER"] >= 17 / 20 * rounds
    return verdicts["FASTER"] + verdicts["SLOWER"] <= 3 / 20 * rounds and verdicts["INVALID"] == 0


def main() -> None:
    """Run the experiment that the command line describes, print its table and record its result."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="how often to ask")
    parser.add_argument("--bench-rounds", type=int, help="how often to ask edgeexit bench; as often without it")
    parser.set_defaults(seconds=0.3, repeats=5)
    arguments = parser.parse_args()
    case, before = find_case(arguments.case), read_device_state()
    asked: dict[str, list[Comparison]] = {SAME: [], SLOWED: [], BENCH: []}
    with tempfile.TemporaryDirectory() as scratch:
        runner, data = open_case(case, Path(scratch), arguments), case.test_data()
        for turn in range(arguments.rounds):
            found = compare_interleaved(runner, data, turn, seconds=arguments.seconds, repeats=arguments.repeats)
            for name, comparison in found.items():
                asked[name].append(comparison)
        again = arguments.rounds if arguments.bench_rounds is None else arguments.bench_rounds
        asked[BENCH] = [compare_benched(runner, data, turn) for turn in range(again)]
    verdicts = {name: Counter(c.verdict for c in comparisons) for name, comparisons in asked.items()}
    met = {name: is_as_wanted(counted, name) for name, counted in verdicts.items() if counted}
    rows = [(name, *(str(verdicts[name][v]) for v in VERDICTS), "yes" if good else "NO") for name, good in met.items()]
    print_table(f"{case.name}: verdicts in {arguments.rounds} rounds", ("", *VERDICTS, "as wanted"), rows)
    ratios = {name: [c.typical.value for c in comparisons] for name, comparisons in asked.items()}
    record("sensitivity", case, arguments, {"verdicts": verdicts, "ratios": ratios, "as_wanted": met}, before)


if __name__ == "__main__":
    main()
