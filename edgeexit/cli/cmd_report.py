"""`edgeexit report`: results as a page, tables or pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeexit.cli.common import Json, emit


def report_command(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="Results of edgeexit bench, calibrations, or calibrated bundles; several results are compared with the first."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="report.html, .md, .csv, .svg or .png (pictures, one file each).")
    ] = Path("report.html"),
    json: Json = False,
) -> None:
    """Turn results and calibrations into one HTML page, Markdown, CSV, or pictures. The page works without a network.

    Example: edgeexit report result.json -o report.html
    """
    from edgeexit.report import read_items, write_report

    made = write_report([item for path in results for item in read_items(path)], output)
    document = {"schema": "edgeexit.report/1", "files": [str(path) for path in made]}
    emit(document, lambda: typer.echo("\n".join(document["files"])), as_json=json)
