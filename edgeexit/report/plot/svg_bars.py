"""Horizontal bars of stacked parts as SVG."""

from __future__ import annotations

from html import escape

from edgeexit.report.plot.axis_numbers import format_axis_numbers
from edgeexit.report.plot.figure import Bar, BarFigure, compute_ticks
from edgeexit.report.plot.label_placement import estimate_text_width
from edgeexit.report.plot.legend import compute_legend_height, draw_key, make_bar_legend
from edgeexit.report.plot.svg_parts import Scale, render_svg_element, render_text

_EDGE = 8
_MANY = 12
"""More bars than this are drawn thinner."""


def draw_bars(figure: BarFigure, width: int) -> str:
    """The picture as an `<svg>` element of that width; labels on the left take the room they need."""
    thick, gap = (26, 14) if len(figure.bars) <= _MANY else (12, 6)
    left = round(max(estimate_text_width(bar.label) for bar in figure.bars)) + _EDGE + 10
    longest = max(sum(length for _, length, _ in bar.parts) for bar in figure.bars) / figure.x.scale or 1.0
    room = max(estimate_text_width(_format_length(_sum_parts(bar) / figure.x.scale)) for bar in figure.bars) + 12
    key = make_bar_legend(figure)
    top = compute_legend_height(key, _EDGE, width)
    bottom = top + len(figure.bars) * (thick + gap)
    x = Scale(figure.x, 0.0, longest, left, width - _EDGE - room)
    parts = _draw_grid(x, longest, top, bottom)
    for row, bar in enumerate(figure.bars):
        parts += _draw_bar(bar, x, top + row * (thick + gap), thick)
    parts.append(render_text((left + width - _EDGE) / 2, bottom + 40, figure.x.label, "f-muted", "middle"))
    return render_svg_element(figure, width, bottom + 52, [*parts, *draw_key(key, _EDGE, width)])


def _draw_grid(x: Scale, longest: float, top: float, bottom: float) -> list[str]:
    at = compute_ticks(0.0, longest, log=False, about=max(2, int(x.end - x.start) // 80))
    parts, free = list[str](), 0.0
    for value, number in zip(at, format_axis_numbers(at), strict=True):
        place, half = float(x(value * x.axis.scale)), estimate_text_width(number) / 2
        parts.append(f'<line class="grid" x1="{place:.1f}" y1="{top - 6:g}" x2="{place:.1f}" y2="{bottom:g}"/>')
        if place - half >= free:
            parts.append(render_text(place, bottom + 18, number, "f-muted", "middle"))
            free = place + half + 6
    return parts


def _draw_bar(bar: Bar, x: Scale, top: float, thick: int) -> list[str]:
    baseline = top + thick / 2 + 4.5
    parts, total = [render_text(x.start - 10, baseline, bar.label, "f-ink", "end")], 0.0
    for tone, length, what in bar.parts:
        start, end = float(x(total)), float(x(total + length))
        hint = escape(f"{what}: {_format_length(length / x.axis.scale)}")
        parts.append(
            f'<rect x="{start:.1f}" y="{top:.0f}" width="{max(0.0, end - start):.1f}" height="{thick}" '
            f'class="bar f-{tone}"><title>{hint}</title></rect>'
        )
        total += length
    return [*parts, render_text(float(x(total)) + 7, baseline, _format_length(total / x.axis.scale), "f-ink")]


def _sum_parts(bar: Bar) -> float:
    return sum(length for _, length, _ in bar.parts)


def _format_length(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
