"""`edgeexit compare`: whether the second of two results of edgeexit bench is faster or slower."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeexit.cli.choices import FAILING_VERDICTS
from edgeexit.cli.common import Json, Vary, emit

if TYPE_CHECKING:
    from edgeexit.measure import BenchResult, ResultComparison


def compare_command(
    reference: Annotated[Path, typer.Argument(help="Result that ratios are relative to.")],
    candidate: Annotated[Path, typer.Argument(help="Result in question.")],
    vary: Vary = None,
    fail_on: Annotated[str | None, typer.Option(help="Exit code 1 when the candidate is this or worse.")] = None,
    as_json: Json = False,
) -> None:
    """Compare two results: FASTER, SLOWER, SAME, AMBIGUOUS or INVALID. Results of different workloads are not compared.

    Example: edgeexit compare before.json after.json --fail-on slower
    """
    from edgeexit.measure import compare_results, read_result

    first, second = read_result(reference), read_result(candidate)
    compared = compare_results(first, second, vary=vary or ())
    emit(
        compared.to_document(),
        lambda: _print(first, second, compared, _shorten_names(reference, candidate)),
        as_json=as_json,
    )
    if fail_on is not None and compared.comparison.verdict in FAILING_VERDICTS[fail_on]:
        raise typer.Exit(1)


def _shorten_names(reference: Path, candidate: Path) -> tuple[str, str]:
    """Short names that distinguish the files."""
    if reference.name != candidate.name:
        return reference.name, candidate.name
    return "first", "second"


def _print(first: BenchResult, second: BenchResult, compared: ResultComparison, names: tuple[str, str]) -> None:
    """The table, why the verdict is not plainer, and the verdict."""
    from dataclasses import replace

    from edgeexit.cli.printing import print_list, print_tables, print_verdict
    from edgeexit.report.tables import format_ratio, make_comparison_table

    print_tables([replace(make_comparison_table(first, second, compared, names), note="")])
    print_list(compared.comparison.reasons)
    ratio = f"the second result's typical latency is {format_ratio(compared.comparison.typical)} that of the first"
    control = compared.control
    beside = "" if control is None else f"; of the backbones, as a control, {format_ratio(control.typical)}"
    print_verdict(compared.comparison.verdict, f"{ratio}{beside}.")
