"""`edgeexit report`: results as a page, tables or pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeexit.cli.common import Json, Vary, emit


def report_command(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="Results of edgeexit bench, calibrations, or calibrated bundles; several results are compared with the first."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="report.html, .md, .csv or .tex; .svg, .png or .pdf (one file per picture)."
        ),
    ] = Path("report.html"),
    vary: Vary = None,
    as_json: Json = False,
) -> None:
    """Turn results and calibrations into one HTML page, Markdown, CSV, LaTeX tables, or pictures. The page works without a network.

    Results of several bundles may differ in criterion, exits, thresholds and mode; --vary adds other settings.

    Example: edgeexit report result.json -o report.html
    """
    from edgeexit.cli.printing import print_warning
    from edgeexit.report import read_all, write_report

    items, left_out = read_all(results)
    for sentence in left_out:
        print_warning(f"left out: {sentence}")
    made = write_report(items, output, vary=vary or ())
    document = {"schema": "edgeexit.report/1", "files": [str(path) for path in made], "left_out": left_out}
    emit(document, lambda: typer.echo("\n".join(str(path) for path in made)), as_json=as_json)
