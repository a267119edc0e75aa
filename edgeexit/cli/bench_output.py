"""A benchmark on the terminal: before it runs, how long it takes; after it, the tables and, last of all, the verdict with its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeexit.cli.common import VERBOSITY
from edgeexit.cli.printing import print_list, print_note, print_result, print_tables, print_text, print_verdict
from edgeexit.measure import BenchOptions, BenchResult
from edgeexit.report.reasons import explain_speed
from edgeexit.report.tables import compute_speedup, format_ratio, make_result_tables
from edgeexit.report.validity_reasons import sort_by_gravity
from edgeexit.util import units

DETAILS = ("Where the time goes", "How it was measured", "Not measured")
"""Tables that only --verbose prints; the report holds them too."""
_NOTE = "Intervals are 95 %, over processes. ≤ is the upper bound at 99 % confidence."


def print_expected_time(options: BenchOptions) -> float:
    """Say on stderr how long the timing takes. Returns the least time, in seconds."""
    suite = options.suite
    least_s, most_s = suite.expected_s(paced=options.pace is not None)
    span = units.duration(least_s)
    span += f" to {units.duration(most_s)}, depending on how fast the machine cools" if most_s > least_s else ""
    processes = units.format_count(suite.processes, "process", "processes")
    more = [what for what, asked in (("energy", suite.energy_trials), ("caches", suite.cache)) if asked]
    later = f"; {' and '.join(more)} {'is' if more == ['energy'] else 'are'} measured after that" if more else ""
    print_note(f"preset {suite.name}: timing in {processes} takes about {span}{later}.")
    return least_s


def print_bench(result: BenchResult, saved: Path | None) -> None:
    """Print the tables, what limits the result, where it was written, and the verdict."""
    headline, *others = make_result_tables(result)
    shown = [table for table in others if VERBOSITY.get() > 0 or table.title not in DETAILS]
    print_tables([replace(headline, note=_NOTE), *shown])
    _print_limits(result)
    if not result.subject.calibrated:
        print_text("The bundle has no calibration for this device: these are the thresholds it runs with without one.")
    if saved is not None:
        print_result(f"Written: {saved}")
    if VERBOSITY.get() == 0 and saved is None:
        print_text("How it was measured: --verbose. To keep the result: --output result.json")
    _print_verdict(result)


def _print_limits(result: BenchResult) -> None:
    validity = result.validity
    if validity.reasons:
        heading = f"The measurement is {validity.status}:"
        print_list(sort_by_gravity(validity.reasons), heading=heading, style="yellow")


def _print_verdict(result: BenchResult) -> None:
    comparison = result.latency.against_backbone
    word = comparison.verdict
    gain = f"early exit is {units.ratio(compute_speedup(result))} as fast as the backbone in the mean"
    typical = f"its typical latency is {format_ratio(comparison.typical)} the backbone's"
    print_verdict(word, f"{gain}; {typical}.")
    if word in {"SLOWER", "SAME"}:
        print_result(f"Why: {explain_speed(result)}")
    if comparison.reasons and comparison.reasons != result.validity.reasons:
        print_list(comparison.reasons)
    if word == "AMBIGUOUS":
        print_text(
            "The difference is smaller than the noise of this run: measure longer, for example with --preset standard."
        )
    if result.against is not None:
        other = result.against.comparison
        print_verdict(
            other.verdict, f"this bundle's typical latency is {format_ratio(other.typical)} that of the other."
        )
