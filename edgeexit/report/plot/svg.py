"""Pictures as SVG, drawn here so that the HTML report needs no other package. Colours are CSS classes: light and dark are one file.

draw(picture)              640 wide, for a desk
draw(picture, NARROW)      360 wide, for a phone: the same marks, fewer ticks, the text as large
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from edgeexit.report.plot.axis_numbers import format_axis_numbers
from edgeexit.report.plot.figure import (
    Area,
    Figure,
    Floats,
    ImageGrid,
    Line,
    Mark,
    Panels,
    Picture,
    Points,
    ReferenceLine,
    compute_extent,
    compute_ticks,
)
from edgeexit.report.plot.label_placement import (
    Label,
    Rectangle,
    estimate_text_width,
    list_boxes_along,
    list_places_along_line,
    list_places_around_point,
    list_places_beside_line,
    place_labels,
)
from edgeexit.report.plot.legend import compute_legend_height, draw_key, make_legend
from edgeexit.report.plot.palette import DOT_RADIUS, INK, LARGE_DOT_RADIUS, render_palette_css
from edgeexit.report.plot.svg_bars import draw_bars
from edgeexit.report.plot.svg_images import draw_image_grid
from edgeexit.report.plot.svg_parts import Scale, render_svg_element, render_text

WIDE, NARROW = 640, 360
_RIGHT, _BOTTOM, _BARE_BOTTOM = 18, 52, 28
_PANEL = 130
_MOST_RULES, _SHOWN_RULES = 8, 5  # of more lines across the picture, such as 31 thresholds, five are named


@dataclass(frozen=True)
class Frame:
    """A drawing `width` by `height` whose axes span the box `plot`, pixels."""

    width: int
    height: float
    plot: Rectangle


def render_standalone(picture: Picture) -> str:
    """A picture as a file of its own."""
    body = draw(picture).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    head, rest = body.split(">", 1)
    return f'{head}><style>{render_palette_css()}</style><rect width="100%" height="100%" class="f-paper"/>{rest}\n'


def draw(picture: Picture, width: int = WIDE) -> str:
    """A picture as an `<svg>` element of that width."""
    if isinstance(picture, Figure):
        height = round(width * 0.5) + compute_legend_height(
            make_legend(picture.marks), _compute_left_margin(width), width
        )
        return render_svg_element(picture, width, height + _BOTTOM, _draw_axes(picture, width, height + _BOTTOM))
    if isinstance(picture, Panels):
        return _draw_panels(picture, width)
    if isinstance(picture, ImageGrid):
        return draw_image_grid(picture, width)
    return draw_bars(picture, width)


def _compute_left_margin(width: int) -> int:
    return 64 if width >= WIDE else 52


def _draw_panels(picture: Panels, width: int) -> str:
    parts, top = list[str](), 0.0
    for figure in picture.panels:
        bottom = _BOTTOM if figure.x.label else _BARE_BOTTOM
        height = _PANEL + compute_legend_height(make_legend(figure.marks), _compute_left_margin(width), width) + bottom
        parts += [f'<g transform="translate(0 {top:g})">', *_draw_axes(figure, width, height), "</g>"]
        top += height
    return render_svg_element(picture, width, top, parts)


def _draw_axes(figure: Figure, width: int, height: float) -> list[str]:
    """SVG elements of a picture of this height."""
    key = make_legend(figure.marks)
    top = compute_legend_height(key, _compute_left_margin(width), width)
    bottom = height - (_BOTTOM if figure.x.label else _BARE_BOTTOM)
    frame = Frame(width, height, Rectangle(_compute_left_margin(width), top, width - _RIGHT, bottom))
    plot = frame.plot
    (x_low, x_high), (y_low, y_high) = compute_extent(figure, vertical=False), compute_extent(figure, vertical=True)
    x = Scale(figure.x, x_low, x_high, plot.left, plot.right)
    y = Scale(figure.y, y_low, y_high, plot.bottom, plot.top)
    wide = max(4, int(plot.right - plot.left) // 90)
    high = max(3, int(plot.bottom - plot.top) // 45)
    return [
        *_draw_x_grid(frame, x, compute_ticks(x_low, x_high, log=figure.x.log, about=wide)),
        *_draw_y_grid(frame, y, compute_ticks(y_low, y_high, log=figure.y.log, about=high)),
        render_text((plot.left + plot.right) / 2, height - 10, figure.x.label, "f-muted", "middle"),
        f'<text transform="translate(13 {(plot.top + plot.bottom) / 2:.0f}) rotate(-90)" text-anchor="middle" '
        f'class="f-muted">{escape(figure.y.label)}</text>',
        *(part for mark in figure.marks for part in _draw_mark(mark, x, y)),
        *_place_names(figure.marks, x, y, plot),
        *draw_key(key, _compute_left_margin(width), width),
    ]


def _draw_x_grid(frame: Frame, scale: Scale, at: Sequence[float]) -> list[str]:
    """Lines and numbers of the x axis; a number that would touch the one before is left out."""
    parts, free, plot = list[str](), 0.0, frame.plot
    for value, number in zip(at, format_axis_numbers(at), strict=True):
        x, half = float(scale(value * scale.axis.scale)), estimate_text_width(number) / 2
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{plot.top:g}" x2="{x:.1f}" y2="{plot.bottom:g}"/>')
        if x - half >= free and x + half <= frame.width:
            parts.append(render_text(x, plot.bottom + 20, number, "f-muted", "middle"))
            free = x + half + 6
    return parts


def _draw_y_grid(frame: Frame, scale: Scale, at: Sequence[float]) -> list[str]:
    """Lines and numbers of the y axis; a number that would touch the one before is left out."""
    parts, free, plot = list[str](), float("inf"), frame.plot
    for value, number in zip(at, format_axis_numbers(at), strict=True):
        y = float(scale(value * scale.axis.scale))
        parts.append(f'<line class="grid" x1="{plot.left:g}" y1="{y:.1f}" x2="{plot.right:g}" y2="{y:.1f}"/>')
        if y + 8 <= free:
            parts.append(render_text(plot.left - 8, y + 4, number, "f-muted", "end"))
            free = y - 8
    return parts


def _format_points(xs: Floats, ys: Floats) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(xs, ys, strict=True))


def _draw_mark(mark: Mark, x: Scale, y: Scale) -> list[str]:
    if isinstance(mark, Line):
        css = f"line s-{mark.tone}{' dash' if mark.dashed else ''}{' thick' if mark.thick else ''}"
        return [f'<polyline class="{css}" points="{_format_points(x(mark.xs), y(mark.ys))}"/>']
    if isinstance(mark, Area):
        outline = _format_points(
            np.concatenate([x(mark.xs), x(mark.xs)[::-1]]), np.concatenate([y(mark.high), y(mark.low)[::-1]])
        )
        return [f'<polygon class="area f-{mark.tone}" points="{outline}"/>']
    return _draw_dots(mark, x, y) if isinstance(mark, Points) else [_draw_rule(mark, x, y)]


def _draw_dots(mark: Points, x: Scale, y: Scale) -> list[str]:
    parts, radius = [], LARGE_DOT_RADIUS if mark.large else DOT_RADIUS
    for a, b in zip(mark.xs, mark.ys, strict=True):
        px, py = float(x(a)), float(y(b))
        if mark.spread is not None:
            side, below, above = mark.spread
            (left, right), (low, high) = x(np.array([a - side, a + side])), y(np.array([b - below, b + above]))
            parts.append(_draw_stroke(mark.tone, left, py, right, py))
            parts.append(_draw_stroke(mark.tone, px, low, px, high))
        ring = ' s-paper" stroke-width="1.5' if mark.large else ""
        parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{radius}" class="f-{mark.tone}{ring}"/>')
    return parts


def _draw_stroke(tone: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="line s-{tone}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _draw_rule(mark: ReferenceLine, x: Scale, y: Scale) -> str:
    if mark.vertical:
        at = float(x(mark.at))
        where = f'x1="{at:.1f}" y1="{y.end:.0f}" x2="{at:.1f}" y2="{y.start:.0f}"'
    else:
        at = float(y(mark.at))
        where = f'x1="{x.start:.0f}" y1="{at:.1f}" x2="{x.end:.0f}" y2="{at:.1f}"'
    return f'<line class="line dash s-{mark.tone}" {where}><title>{escape(mark.label)}</title></line>'


def _place_names(marks: Sequence[Mark], x: Scale, y: Scale, plot: Rectangle) -> list[str]:
    """The names of points and lines, those of points first; one that finds no free place stands in the key or the hint alone."""
    inside = Rectangle(plot.left + 2, plot.top, plot.right + _RIGHT - 2, plot.bottom)
    dots = [m for m in marks if isinstance(m, Points) and len(m.xs)]
    taken = [_make_disc_box(float(x(a)), float(y(b))) for m in dots if m.large for a, b in zip(m.xs, m.ys, strict=True)]
    labels = [
        Label(m.note, m.tone, list_places_around_point(float(x(m.xs[-1])), float(y(m.ys[-1])), below=m.note_below))
        for m in dots
        if m.note
    ]
    rules = [m for m in marks if isinstance(m, ReferenceLine) and m.label]
    if len(rules) > _MOST_RULES:
        rules = [rules[round(i * (len(rules) - 1) / (_SHOWN_RULES - 1))] for i in range(_SHOWN_RULES)]
    labels += [_make_rule_label(m, x, y, plot) for m in rules]
    placed = place_labels(labels, inside, taken, [box for mark in marks for box in _list_covered_boxes(mark, x, y)])
    return [render_text(spot.x, spot.y, label.text, f"halo f-{label.tone}", spot.anchor) for label, spot in placed]


def _list_covered_boxes(mark: Mark, x: Scale, y: Scale) -> list[Rectangle]:
    """Small boxes along what a label had better not cover: lines, and the crosses of points."""
    if isinstance(mark, ReferenceLine):
        at = float(x(mark.at) if mark.vertical else y(mark.at))
        return [
            Rectangle(at - 1, y.end, at + 1, y.start) if mark.vertical else Rectangle(x.start, at - 1, x.end, at + 1)
        ]
    if isinstance(mark, Line):
        return list_boxes_along(np.asarray(x(mark.xs)), np.asarray(y(mark.ys)))
    if isinstance(mark, Points) and mark.spread is not None:
        a, b, (side, below, above) = mark.xs[-1], mark.ys[-1], mark.spread
        (left, right), (low, high) = x(np.array([a - side, a + side])), y(np.array([b - below, b + above]))
        px, py = float(x(a)), float(y(b))
        return [Rectangle(left, py - 1, right, py + 1), Rectangle(px - 1, high, px + 1, low)]
    return []


def _make_disc_box(px: float, py: float) -> Rectangle:
    return Rectangle(px - 7, py - 7, px + 7, py + 7)


def _make_rule_label(mark: ReferenceLine, x: Scale, y: Scale, plot: Rectangle) -> Label:
    if not mark.vertical:
        return Label(mark.label, INK, list_places_along_line(float(y(mark.at)), plot.left, plot.right))
    at = float(x(mark.at))
    rows = max(1, int(plot.bottom - plot.top) // 15)
    spots = list_places_beside_line(at, plot.top, rows, left_first=at > plot.left + 0.65 * (plot.right - plot.left))
    return Label(mark.label, INK, spots)
