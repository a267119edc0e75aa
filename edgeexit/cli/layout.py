"""A table as lines of text that fit a width: cells are wrapped at words, and what still does not fit is laid out differently.

all columns fit after wrapping     one grid
a narrow first column              several grids below each other, the first column repeated
otherwise                          one block a row: column name, value
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgeexit.cli.wrapping import split_into_pieces, wrap

RULE = "─"
_GAP = 2  # blanks between columns
_ONE = r"(?:[≤≥<>~±]=? ?)?[+-]?\d[\d.,e+-]*\s?(?:[^\W\d]{1,3}|[%×]|points?)?"
_NUMBER = re.compile(rf"{_ONE}(?: (?:to|…|±|·) {_ONE})*(?: \(.*\))?")
"""A cell that is a number, with a unit, an interval or a bound."""
_BLANK = frozenset(("", "–", "-", "n/a", "not run", "∞", "-∞"))


@dataclass(frozen=True)
class TableLine:
    """One line: cells with their texts, to be coloured when printed."""

    cells: tuple[str, ...]
    """Padded; joined, they are the line."""

    heading: bool = False

    @property
    def text(self) -> str:
        """The line without blanks at its end."""
        return "".join(self.cells).rstrip()


def lay_out_table(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[TableLine]:
    """The lines of a table, at most `width` wide where its longest words allow it."""
    least = [max(_measure_longest_piece(cell) for cell in column) for column in _make_columns(columns, rows)]
    if sum(least) + _GAP * (len(least) - 1) <= width:
        return _lay_out_grid(columns, rows, width)
    if any(columns) and least[0] <= width // 3 and max(least[1:], default=0) + least[0] + _GAP <= width:
        return _lay_out_grids(columns, rows, width, least)
    return _lay_out_blocks(columns, rows, width)


def _make_columns(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[heading, *(row[i] for row in rows)] for i, heading in enumerate(columns)]


def _measure_width(text: str) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, text.split("\n")))


def _measure_longest_piece(text: str) -> int:
    return max(map(_measure_width, split_into_pieces(text)), default=0)


def _lay_out_grid(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[TableLine]:
    widths = _choose_widths(_make_columns(columns, rows), width)
    right = [_is_numeric([row[i] for row in rows]) for i in range(len(columns))]
    lines: list[TableLine] = []
    if any(columns):
        lines += [TableLine(line.cells, heading=True) for line in _lay_out_row(columns, widths, right)]
        lines.append(TableLine((RULE * (sum(widths) + _GAP * (len(widths) - 1)),)))
    for row in rows:
        lines += _lay_out_row(row, widths, right)
    return lines


def _choose_widths(columns: Sequence[Sequence[str]], width: int) -> list[int]:
    """Natural widths, the widest column narrowed until the line fits."""
    widths = [max(_measure_width(cell) for cell in column) for column in columns]
    least = [max(_measure_longest_piece(cell) for cell in column) for column in columns]
    room = width - _GAP * (len(widths) - 1)
    while sum(widths) > room:
        widest = max((i for i in range(len(widths)) if widths[i] > least[i]), key=lambda i: widths[i], default=None)
        if widest is None:
            break
        widths[widest] -= 1
    return widths


def _is_numeric(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell not in _BLANK]
    return bool(filled) and all(_NUMBER.fullmatch(cell) for cell in filled)


def _lay_out_row(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[TableLine]:
    wrapped = [wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
    lines = []
    for k in range(max(map(len, wrapped))):
        parts = [column[k] if k < len(column) else "" for column in wrapped]
        padded = [_pad(part, width, to) for part, width, to in zip(parts, widths, right, strict=True)]
        lines.append(TableLine(tuple(" " * (_GAP if i else 0) + cell for i, cell in enumerate(padded))))
    return lines


def _pad(text: str, width: int, right: bool) -> str:
    blanks = " " * (width - _measure_width(text))
    return blanks + text if right else text + blanks


def _lay_out_grids(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int, least: Sequence[int]
) -> list[TableLine]:
    """Columns shared out over several grids."""
    lines: list[TableLine] = []
    start = 1
    while start < len(columns):
        stop, room = start, width - least[0]
        while stop < len(columns) and (room := room - _GAP - least[stop]) >= 0:
            stop += 1
        chosen = (0, *range(start, stop))
        part = _lay_out_grid([columns[i] for i in chosen], [[row[i] for i in chosen] for row in rows], width)
        lines += [*([TableLine(("",))] if lines else []), *part]
        start = stop
    return lines


def _lay_out_blocks(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[TableLine]:
    """One block a row: its first cell, then a line for every other."""
    lines: list[TableLine] = []
    label = max(map(_measure_width, columns))
    for row in rows:
        lines += [TableLine(("",))] if lines else []
        for name, cell in zip(columns, row, strict=True):
            first, *rest = wrap(cell, max(20, width - label - _GAP))
            lines.append(TableLine((name + " " * (label - _measure_width(name) + _GAP), first)))
            lines += [TableLine((" " * (label + _GAP), more)) for more in rest]
    return lines
