"""A report in the form that its file name asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from edgeexit.data.files import write_text
from edgeexit.errors import InputError
from edgeexit.report.figure import Picture
from edgeexit.report.page import html_report, item_pictures, item_tables
from edgeexit.report.raster import save_png
from edgeexit.report.sources import Item
from edgeexit.report.svg import standalone
from edgeexit.report.table import Table, to_csv, to_markdown

Results: TypeAlias = Sequence[tuple[str, Item]]


def write_report(results: Results, output: Path) -> list[Path]:
    """Write a report and return the files that were made.

    Args:
        results: name and result or calibration, at least one.
        output: `.html` (everything on one page), `.md` or `.csv` (the tables), `.svg` or `.png` (every picture as a file of its
            own beside it: `report.svg` becomes `report-accuracy-latency.svg` and so on).

    Raises:
        InputError: another ending, or the place cannot be written to.
        MissingExtra: `.png` without matplotlib.
    """
    writers: dict[str, Callable[[Results, Path], list[Path]]] = {
        ".html": lambda r, at: _text(at, html_report(r)),
        ".md": lambda r, at: _text(at, to_markdown(_tables(r))),
        ".csv": lambda r, at: _text(at, to_csv(_tables(r))),
        ".svg": lambda r, at: _pictures(r, at, lambda picture, file: _text(file, standalone(picture))),
        ".png": lambda r, at: _pictures(r, at, save_png),
    }
    writer = writers.get(output.suffix.lower())
    if writer is None:
        msg = f"a report is one of {', '.join(writers)}, not {output.suffix or 'a file without an ending'!r}: {output}"
        raise InputError(msg)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        return writer(results, output)
    except OSError as error:
        msg = f"cannot write the report to {output}: {error.strerror or error}."
        raise InputError(msg) from error


def _text(path: Path, text: str) -> list[Path]:
    write_text(path, text)
    return [path]


def _tables(results: Results) -> list[Table]:
    several = len(results) > 1
    return [
        Table(f"{name}: {table.title}" if several else table.title, table.columns, table.rows, table.note)
        for name, result in results
        for table in item_tables(result)
    ]


def _pictures(results: Results, output: Path, save: Callable[[Picture, Path], object]) -> list[Path]:
    made = []
    for place, (_, result) in enumerate(results, 1):
        number = f"-{place}" if len(results) > 1 else ""
        for picture in item_pictures(result):
            made.append(output.with_name(f"{output.stem}{number}-{picture.name}{output.suffix}"))
            save(picture, made[-1])
    return made
