"""Horizontal bars of stacked parts as SVG."""

from __future__ import annotations

from html import escape

from edgeexit.report.keys import bar_key, draw_key, key_height
from edgeexit.report.numbers import axis_numbers
from edgeexit.report.plot.figure import Bar, BarFigure, ticks
from edgeexit.report.plot.label_placement import text_width
from edgeexit.report.plot.svg_parts import Scale, element, text

_EDGE = 8
_MANY = 12
"""More bars than this are drawn thinner."""


def draw_bars(figure: BarFigure, width: int) -> str:
    """The picture as an `<svg>` element of that width; labels on the left take the room they need."""
    thick, gap = (26, 14) if len(figure.bars) <= _MANY else (12, 6)
    left = round(max(text_width(bar.label) for bar in figure.bars)) + _EDGE + 10
    longest = max(sum(length for _, length, _ in bar.parts) for bar in figure.bars) / figure.x.scale or 1.0
    room = max(text_width(_length(_total(bar) / figure.x.scale)) for bar in figure.bars) + 12
    key = bar_key(figure)
    top = key_height(key, _EDGE, width)
    bottom = top + len(figure.bars) * (thick + gap)
    x = Scale(figure.x, 0.0, longest, left, width - _EDGE - room)
    parts = _grid(x, longest, top, bottom)
    for row, bar in enumerate(figure.bars):
        parts += _bar(bar, x, top + row * (thick + gap), thick)
    parts.append(text((left + width - _EDGE) / 2, bottom + 40, figure.x.label, "f-muted", "middle"))
    return element(figure, width, bottom + 52, [*parts, *draw_key(key, _EDGE, width)])


def _grid(x: Scale, longest: float, top: float, bottom: float) -> list[str]:
    at = ticks(0.0, longest, log=False, about=max(2, int(x.end - x.start) // 80))
    parts, free = list[str](), 0.0
    for value, number in zip(at, axis_numbers(at), strict=True):
        place, half = float(x(value * x.axis.scale)), text_width(number) / 2
        parts.append(f'<line class="grid" x1="{place:.1f}" y1="{top - 6:g}" x2="{place:.1f}" y2="{bottom:g}"/>')
        if place - half >= free:
            parts.append(text(place, bottom + 18, number, "f-muted", "middle"))
            free = place + half + 6
    return parts


def _bar(bar: Bar, x: Scale, top: float, thick: int) -> list[str]:
    baseline = top + thick / 2 + 4.5
    parts, total = [text(x.start - 10, baseline, bar.label, "f-ink", "end")], 0.0
    for tone, length, what in bar.parts:
        start, end = float(x(total)), float(x(total + length))
        hint = escape(f"{what}: {_length(length / x.axis.scale)}")
        parts.append(
            f'<rect x="{start:.1f}" y="{top:.0f}" width="{max(0.0, end - start):.1f}" height="{thick}" '
            f'class="bar f-{tone}"><title>{hint}</title></rect>'
        )
        total += length
    return [*parts, text(float(x(total)) + 7, baseline, _length(total / x.axis.scale), "f-ink")]


def _total(bar: Bar) -> float:
    return sum(length for _, length, _ in bar.parts)


def _length(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
