"""`edgeexit compare`: two results of edgeexit bench, and what can be said of the second."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeexit.cli.common import Json, emit
from edgeexit.cli.printing import print_tables

_FAILS = {
    "slower": {"SLOWER", "INVALID"},
    "ambiguous": {"SLOWER", "INVALID", "AMBIGUOUS"},
    "not-faster": {"SLOWER", "INVALID", "AMBIGUOUS", "SAME"},
}


def compare_command(
    reference: Annotated[Path, typer.Argument(help="Result that ratios are relative to.")],
    candidate: Annotated[Path, typer.Argument(help="Result in question.")],
    vary: Annotated[
        list[str] | None, typer.Option(help="What is meant to differ, such as thresholds or mode; repeatable.")
    ] = None,
    fail_on: Annotated[
        str | None, typer.Option(help="Exit code 1 when the candidate is: slower, ambiguous or not-faster.")
    ] = None,
    json: Json = False,
) -> None:
    """Compare two results: FASTER, SLOWER, SAME, AMBIGUOUS or INVALID. Runs that are not alike are refused.

    Example: edgeexit compare before.json after.json --fail-on slower
    """
    from edgeexit.errors import InputError, did_you_mean
    from edgeexit.measure import compare_results, read_result
    from edgeexit.report.tables import comparison_table

    if fail_on is not None and fail_on not in _FAILS:
        msg = f"--fail-on takes {', '.join(_FAILS)}, not {fail_on!r}.{did_you_mean(fail_on, _FAILS)}"
        raise InputError(msg)
    first, second = read_result(reference), read_result(candidate)
    compared = compare_results(first, second, vary=vary or ())
    emit(compared.to_document(), lambda: print_tables([comparison_table(first, second, compared)]), as_json=json)
    if fail_on is not None and compared.comparison.verdict in _FAILS[fail_on]:
        raise typer.Exit(1)
