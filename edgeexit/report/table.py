"""A table as text cells, and as Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table with a title; every row has as many cells as there are columns. `note` stands below it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def to_markdown(tables: Sequence[Table]) -> str:
    """The tables as Markdown."""
    return "\n".join(_markdown(table) for table in tables if table.rows)


def _markdown(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    head = [f"### {table.title}", "", line(table.columns), line(["---"] * len(table.columns))]
    return "\n".join([*head, *map(line, table.rows), "", *([table.note, ""] if table.note else [])])


def to_csv(tables: Sequence[Table]) -> str:
    """The tables as one CSV: the table's title, then its columns, in every row."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    for table in tables:
        writer.writerow([table.title, *table.columns])
        writer.writerows([table.title, *row] for row in table.rows)
    return sink.getvalue()
