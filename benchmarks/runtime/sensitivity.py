"""What the harness can tell apart: the same bundle measured twice, and a slow-down of 5 % planted.

    python -m benchmarks sensitivity [--rounds 20]

Each round opens the bundle three times, interleaves the three for a few short repeats, and asks for the verdict of the second against
the first (the same) and of the third against the first (slowed by 5 % of its own time, busily). Wanted: FASTER or SLOWER in at most 3
of 20 for the same, SLOWER in at least 17 of 20 for the slowed.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from benchmarks.common import find_case, open_case, options, record, same_as, show, time_lanes
from edgeexit.hardware import snapshot
from edgeexit.measure.assemble import sides
from edgeexit.measure.verdict import compare_processes


def slowed(run: Callable[[Any], Any], share: float) -> Callable[[Any], Any]:
    """The same, and busy for `share` of the time it took."""

    def slow(x: Any) -> Any:
        start = perf_counter_ns()
        answer = run(x)
        end = perf_counter_ns()
        until = end + share * (end - start)
        while perf_counter_ns() < until:
            pass
        return answer

    return slow


def main() -> None:
    """Run it."""
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="how often to ask")
    parser.set_defaults(seconds=0.3, repeats=5)
    arguments = parser.parse_args()
    case, before = find_case(arguments.case), snapshot()
    with tempfile.TemporaryDirectory() as scratch:
        runner = open_case(case, Path(scratch), arguments)
        data, mode = case.test_data(), runner.settings.mode
        asked: dict[str, Counter[str]] = {"the same": Counter(), "slowed by 5 %": Counter()}
        ratios: dict[str, list[float]] = {name: [] for name in asked}
        for turn in range(arguments.rounds):
            first, second, third = (same_as(runner, mode) for _ in range(3))
            lanes = {"first": first, "the same": second, "slowed by 5 %": slowed(third, 0.05)}
            timed = time_lanes(lanes, data, seconds=arguments.seconds, repeats=arguments.repeats, seed=turn)
            for name, counted in asked.items():
                pair = (sides(timed[n].latency) for n in ("first", name))
                compared = compare_processes(*pair, paired=True)
                counted[compared.verdict] += 1
                ratios[name].append(compared.typical.value)
        verdicts = ("FASTER", "SLOWER", "SAME", "AMBIGUOUS")
        rows = [(name, *(str(counted[v]) for v in verdicts)) for name, counted in asked.items()]
        show(f"{case.name}: verdicts in {arguments.rounds} rounds", ("", *verdicts), rows)
        record("sensitivity", case, arguments, {"verdicts": asked, "ratios": ratios}, before)


if __name__ == "__main__":
    main()
