"""The key of a picture: what its marks are, in as many rows as they take. Of many exits a few stand for all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal, TypeAlias

from edgeexit.report.plot.figure import Area, BarFigure, Line, Mark, Points, ReferenceLine
from edgeexit.report.plot.label_placement import estimate_text_width

Shape: TypeAlias = Literal["line", "dash", "dot", "area", "bar"]
_ROW, _SWATCH, _GAP = 18, 22, 14
_MANY, _SHOWN = 10, 6
_NUMBERED = re.compile(r"^(.*\D)(\d+)$")


@dataclass(frozen=True)
class Entry:
    """One entry: the shape and colour of the mark, and what it is."""

    shape: Shape
    tone: str
    label: str


def make_legend(marks: Sequence[Mark]) -> list[Entry]:
    """The entries of the marks that have a label; lines across the whole picture are named beside them."""
    entries = [Entry(_get_shape(m), m.tone, m.label) for m in marks if not isinstance(m, ReferenceLine) and m.label]
    return _thin_entries(list(dict.fromkeys(entries)))


def make_bar_legend(figure: BarFigure) -> list[Entry]:
    """The entries of the parts of bars; the bar with the most parts has them in order."""
    tones: dict[str, str] = {}
    for bar in sorted(figure.bars, key=lambda bar: -len(bar.parts)):
        for tone, _, what in bar.parts:
            tones.setdefault(what, tone)
    return _thin_entries([Entry("bar", tone, what) for what, tone in tones.items()])


def _get_shape(mark: Line | Area | Points) -> Shape:
    if isinstance(mark, Line):
        return "dash" if mark.dashed else "line"
    return "dot" if isinstance(mark, Points) else "area"


def _thin_entries(entries: list[Entry]) -> list[Entry]:
    kept = set(thin_labels([e.label for e in entries]))
    return [entry for entry in entries if entry.label in kept]


def thin_labels(labels: list[str]) -> list[str]:
    """Of more than ten that differ in their last number only, such as exits, the first, the last and some between."""
    prefixes = [found.group(1) if (found := _NUMBERED.match(label)) else None for label in labels]
    dropped: set[int] = set()
    for prefix in {p for p in prefixes if p is not None}:
        places = [i for i, p in enumerate(prefixes) if p == prefix]
        if len(places) > _MANY:
            kept = {places[round(i * (len(places) - 1) / (_SHOWN - 1))] for i in range(_SHOWN)}
            dropped |= set(places) - kept
    return [label for i, label in enumerate(labels) if i not in dropped]


def _place_entries(entries: Sequence[Entry], left: int, width: int) -> list[tuple[Entry, float, int]]:
    """Each entry with its x and its row, from 0."""
    found, at, row = list[tuple[Entry, float, int]](), float(left), 0
    for entry in entries:
        taken = _SWATCH + estimate_text_width(entry.label)
        if at > left and at + taken > width - 4:
            at, row = float(left), row + 1
        found.append((entry, at, row))
        at += taken + _GAP
    return found


def compute_legend_height(entries: Sequence[Entry], left: int, width: int) -> int:
    """Pixels from the top that the key takes, with its room."""
    rows = max((row for _, _, row in _place_entries(entries, left, width)), default=-1) + 1
    return 14 + rows * _ROW + (8 if rows else 0)


def draw_key(entries: Sequence[Entry], left: int, width: int) -> list[str]:
    """The key as SVG."""
    return [
        part
        for entry, x, row in _place_entries(entries, left, width)
        for part in _draw_entry(entry, x, 19 + row * _ROW)
    ]


def _draw_entry(entry: Entry, x: float, middle: int) -> tuple[str, str]:
    tone = entry.tone
    shapes: dict[Shape, str] = {
        "line": f'<line x1="{x:.0f}" y1="{middle}" x2="{x + 16:.0f}" y2="{middle}" class="line s-{tone}"/>',
        "dash": f'<line x1="{x:.0f}" y1="{middle}" x2="{x + 16:.0f}" y2="{middle}" class="line dash s-{tone}"/>',
        "dot": f'<circle cx="{x + 7:.0f}" cy="{middle}" r="4" class="f-{tone}"/>',
        "area": f'<rect x="{x:.0f}" y="{middle - 5}" width="14" height="10" rx="2" class="area f-{tone}"/>',
        "bar": f'<rect x="{x:.0f}" y="{middle - 5}" width="14" height="10" rx="2" class="bar f-{tone}"/>',
    }
    words = f'<text x="{x + _SWATCH:.1f}" y="{middle + 4}" class="f-ink">{escape(entry.label)}</text>'
    return shapes[entry.shape], words
