"""A benchmark on the terminal: how long it takes before it starts, and the verdict with its reason at the end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeexit.cli.bench_output import DETAILS, print_bench, print_expected_time
from edgeexit.cli.common import VERBOSITY
from edgeexit.measure import BenchOptions, BenchResult, Pace
from edgeexit.measure.suites import list_suites
from edgeexit.report.reasons import explain_speed
from edgeexit.report.tables import make_result_tables

pytestmark = pytest.mark.filterwarnings("ignore::edgeexit.runtime.CalibrationWarning")  # the bundle has none


def slower(result: BenchResult) -> BenchResult:
    """The same result, with a verdict against early exit."""
    latency = result.latency
    comparison = replace(latency.against_backbone, verdict="SLOWER", reasons=())
    return replace(result, latency=replace(latency, against_backbone=comparison))


def test_the_verdict_is_the_last_thing_that_is_printed(
    result: BenchResult,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In one sentence, behind all tables."""
    print_bench(replace(result, against=None), None)

    lines = capsys.readouterr().out.strip().splitlines()
    word = result.latency.against_backbone.verdict
    assert any(line.startswith(f"{word}: early exit is") for line in lines[-3:])
    assert 1 == sum(line.startswith(f"{word}: ") for line in lines)


def test_a_slower_early_exit_comes_with_the_reason(
    result: BenchResult,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Which exit costs what, so that nobody must put it together from the tables."""
    print_bench(replace(slower(result), against=None), None)

    assert f"Why: {explain_speed(result)}" in capsys.readouterr().out


def test_the_reason_names_an_exit_that_nothing_leaves_by(result: BenchResult) -> None:
    """All samples at the last exit: then it is only the heads that cost time."""
    *early, last = result.accuracy.per_exit
    per_exit = (*(replace(exit, share=0.0) for exit in early), replace(last, share=1.0))

    assert "no sample leaves before the last exit" in explain_speed(
        replace(result, accuracy=replace(result.accuracy, per_exit=per_exit))
    )


def test_tables_of_details_are_printed_on_request(
    result: BenchResult,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """--verbose prints every table of the report, the plain command leaves out how it was measured."""
    print_bench(result, None)
    short = capsys.readouterr().out
    token = VERBOSITY.set(1)
    try:
        print_bench(result, None)
    finally:
        VERBOSITY.reset(token)
    long = capsys.readouterr().out

    titles = [table.title for table in make_result_tables(result) if table.rows]
    assert [] == [title for title in titles if title not in long]
    assert [] == [title for title in DETAILS if title in short.splitlines()]


@pytest.mark.parametrize("name", list_suites())
def test_how_long_it_takes_is_said_before_it_starts(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For every preset; requests at a fixed rate take longer."""
    options = BenchOptions.from_preset(name)
    suite = options.suite
    least_s = print_expected_time(options)

    assert f"preset {name}: timing in " in capsys.readouterr().err
    assert suite.processes * suite.seconds < least_s <= suite.expected_s()[1]
    assert least_s < print_expected_time(replace(options, pace=Pace(10.0)))
