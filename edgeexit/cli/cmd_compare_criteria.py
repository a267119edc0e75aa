"""`edgeexit compare-criteria`: all criteria on one bundle at equal cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeexit.cli.common import BundlePath, Json, emit
from edgeexit.cli.data import DATA
from edgeexit.cli.options import PreparationOptions, RuntimeOptions
from edgeexit.cli.progress import open_progress_display

if TYPE_CHECKING:
    from edgeexit.analysis import CriteriaComparison


def compare_criteria_command(
    bundle: BundlePath,
    *,
    data: Annotated[
        str, typer.Option(help=f"Labelled data; one half chooses thresholds, the other judges: {DATA} digits:test.")
    ],
    criteria: Annotated[
        str | None,
        typer.Option(help="Criteria to compare, the others with the first. [default: all that can be computed]"),
    ] = None,
    budgets: Annotated[int, typer.Option(min=1, max=200, help="Number of mean costs at which they are compared.")] = 8,
    preparation: PreparationOptions,
    limit: Annotated[int | None, typer.Option(min=4, help="Use this many samples, the first ones.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the halves.", min=0)] = 0,
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", help="Also write .csv, .json, .svg, .png or .pdf; may be repeated."),
    ] = None,
    runtime: RuntimeOptions,
    as_json: Json = False,
) -> None:
    """Compare all exit criteria on one bundle at equal mean cost, with paired intervals.

    Costs are the latencies of the bundle's calibration for this machine; without one, multiply-accumulates.

    Example: edgeexit compare-criteria lenet.eexit --data digits:test -o criteria.csv
    """
    from edgeexit.analysis import compare_criteria
    from edgeexit.data import load_data
    from edgeexit.report.criteria_report import write_criteria
    from edgeexit.runtime import load_quietly

    samples = load_data(data, preparation.read_info(bundle), limit=limit, strict=True)
    names = None if criteria is None else [name.strip() for name in criteria.split(",") if name.strip()]
    with load_quietly(bundle, **runtime.make_arguments()) as runner, open_progress_display() as progress:
        found = compare_criteria(
            runner,
            samples.inputs,
            samples.labels,
            criteria=names,
            budgets=budgets,
            seed=seed,
            name=samples.name,
            progress=progress,
        )
    for path in output or []:
        write_criteria(found, path)
    emit(found.to_document(), lambda: _print(found, output or []), as_json=as_json)


def _print(found: CriteriaComparison, written: list[Path]) -> None:
    from edgeexit.cli.printing import print_list, print_tables
    from edgeexit.report.criteria_report import make_criteria_table

    print_tables([make_criteria_table(found)])
    print_list([str(path) for path in written], heading="Written:")
