"""Pictures as SVG, drawn here so that the HTML report needs no other package. Colours are CSS classes: light and dark are one file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from edgeexit.report.figure import (
    Area,
    Axis,
    BarFigure,
    Dots,
    Figure,
    Floats,
    Line,
    Mark,
    Panels,
    Picture,
    Rule,
    extent,
    ticks,
)

_WIDTH, _HEIGHT = 640, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 18, 40, 50
_PANEL, _BARE_BOTTOM = 170, 26
_BAR, _BAR_GAP, _BAR_LEFT = 26, 14, 118

LIGHT = {
    "ink": "#1f2933", "muted": "#66727f", "grid": "#e4e8ec", "paper": "#ffffff", "accent": "#b42318", "backbone": "#7b8794",
    "warn": "#b54708", "exit1": "#0f6fc5", "exit2": "#e08a00", "exit3": "#0b8a62", "exit4": "#b0509b", "exit5": "#3aa0d8",
    "exit6": "#c4451c", "exit7": "#7a6ad8",
}  # fmt: skip
DARK = {
    "ink": "#e6eaee", "muted": "#9aa5b1", "grid": "#2b3440", "paper": "#161b22", "accent": "#ff8a7a", "backbone": "#94a1af",
    "warn": "#f7b267", "exit1": "#5aaaf5", "exit2": "#f5b041", "exit3": "#3ecf9a", "exit4": "#df8fce", "exit5": "#7fcdf5",
    "exit6": "#f08a66", "exit7": "#aea2f5",
}  # fmt: skip


def palette_css() -> str:
    """Custom properties for both colour schemes, and the classes that the drawings use."""
    light, dark = ("".join(f"--{name}:{value};" for name, value in tones.items()) for tones in (LIGHT, DARK))
    tones = "".join(f".s-{name}{{stroke:var(--{name})}}.f-{name}{{fill:var(--{name})}}" for name in LIGHT)
    return (
        f":root{{{light}color-scheme:light dark}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}{tones}"
        "svg text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;font-size:12px}"
        "svg .line{fill:none;stroke-width:1.8;stroke-linejoin:round}svg .thick{stroke-width:2.6}"
        "svg .dash{stroke-dasharray:5 4}svg .area{opacity:.34;stroke:none}svg .bar{opacity:.86}"
        "svg .grid{stroke:var(--grid);stroke-width:1}svg .halo{stroke:var(--paper);stroke-width:3.5px;paint-order:stroke}"
    )


def standalone(picture: Picture) -> str:
    """A picture as a file of its own."""
    body = draw(picture).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    head, rest = body.split(">", 1)
    return f'{head}><style>{palette_css()}</style><rect width="100%" height="100%" class="f-paper"/>{rest}\n'


def draw(picture: Picture) -> str:
    """A picture as an `<svg>` element."""
    if isinstance(picture, BarFigure):
        return _draw_bars(picture)
    return _draw_panels(picture) if isinstance(picture, Panels) else _element(picture, _HEIGHT, _axes(picture, _HEIGHT))


class _Scale:
    """Values of one axis to pixels."""

    def __init__(self, axis: Axis, low: float, high: float, start: float, end: float) -> None:
        self.axis, self.start, self.end = axis, start, end
        self.low = float(np.log10(low)) if axis.log else low
        self.high = float(np.log10(high)) if axis.log else high

    def __call__(self, values: Floats | float) -> Floats:
        scaled = np.asarray(values, np.float64) / self.axis.scale
        with np.errstate(divide="ignore", invalid="ignore"):
            placed = np.log10(scaled) if self.axis.log else scaled
        share = (placed - self.low) / ((self.high - self.low) or 1.0)
        limited = np.clip(np.nan_to_num(share, nan=0.0, posinf=1.0, neginf=0.0), -0.02, 1.02)
        return np.asarray(self.start + limited * (self.end - self.start), np.float64)


def _draw_panels(picture: Panels) -> str:
    parts, top = list[str](), 0
    for figure in picture.panels:
        height = _PANEL + (_BOTTOM if figure.x.label else _BARE_BOTTOM)
        parts += [f'<g transform="translate(0 {top})">', *_axes(figure, height), "</g>"]
        top += height
    return _element(picture, top, parts)


def _axes(figure: Figure, height: int) -> list[str]:
    """Everything of a picture that is `height` high."""
    bottom = height - (_BOTTOM if figure.x.label else _BARE_BOTTOM)
    (x_low, x_high), (y_low, y_high) = extent(figure, vertical=False), extent(figure, vertical=True)
    x = _Scale(figure.x, x_low, x_high, _LEFT, _WIDTH - _RIGHT)
    y = _Scale(figure.y, y_low, y_high, bottom, _TOP)
    about = max(3, (bottom - _TOP) // 45)
    return [
        *_grid(figure.x, x, ticks(x_low, x_high, log=figure.x.log), bottom),
        *_grid(figure.y, y, ticks(y_low, y_high, log=figure.y.log, about=about)),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, height - 10, figure.x.label, "f-muted", "middle"),
        f'<text transform="translate(15 {(_TOP + bottom) / 2:.0f}) rotate(-90)" text-anchor="middle" '
        f'class="f-muted">{escape(figure.y.label)}</text>',
        *(part for mark in figure.marks for part in _mark(mark, x, y)),
        *_key(figure.marks),
    ]


def _element(picture: Picture, height: float, parts: Iterable[str]) -> str:
    title = f"<title>{escape(picture.title)}</title>"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" role="img" '
        f'aria-label="{escape(picture.title)}">{title}{"".join(parts)}</svg>'
    )


def _grid(axis: Axis, scale: _Scale, at: Sequence[float], bottom: int | None = None) -> list[str]:
    """Lines and numbers of an axis: down to `bottom` for x, across for y."""
    parts = []
    for value in at:
        place = float(scale(value * axis.scale))
        if bottom is not None:
            parts.append(f'<line class="grid" x1="{place:.1f}" y1="{_TOP}" x2="{place:.1f}" y2="{bottom}"/>')
            parts.append(_text(place, bottom + 18, _number(value), "f-muted", "middle"))
        else:
            parts.append(f'<line class="grid" x1="{_LEFT}" y1="{place:.1f}" x2="{_WIDTH - _RIGHT}" y2="{place:.1f}"/>')
            parts.append(_text(_LEFT - 8, place + 4, _number(value), "f-muted", "end"))
    return parts


def _number(value: float) -> str:
    """A tick's number; small and large ones as a power of ten."""
    text = f"{value:g}"
    if "e" not in text:
        return text
    factor, power = text.split("e")
    raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{raised}" if factor == "1" else f"{factor}·10{raised}"


def _text(x: float, y: float, text: str, css: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{css}">{escape(text)}</text>'


def _points(xs: Floats, ys: Floats) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(xs, ys, strict=True))


def _mark(mark: Mark, x: _Scale, y: _Scale) -> list[str]:
    if isinstance(mark, Line):
        css = f"line s-{mark.tone}{' dash' if mark.dashed else ''}{' thick' if mark.thick else ''}"
        return [f'<polyline class="{css}" points="{_points(x(mark.xs), y(mark.ys))}"/>']
    if isinstance(mark, Area):
        outline = _points(
            np.concatenate([x(mark.xs), x(mark.xs)[::-1]]), np.concatenate([y(mark.high), y(mark.low)[::-1]])
        )
        return [f'<polygon class="area f-{mark.tone}" points="{outline}"/>']
    return _dots(mark, x, y) if isinstance(mark, Dots) else _rule(mark, x, y)


def _dots(mark: Dots, x: _Scale, y: _Scale) -> list[str]:
    parts, radius = [], 5.5 if mark.large else 2.4
    for a, b in zip(mark.xs, mark.ys, strict=True):
        px, py = float(x(a)), float(y(b))
        if mark.spread is not None:
            side, below, above = mark.spread
            (left, right), (low, high) = x(np.array([a - side, a + side])), y(np.array([b - below, b + above]))
            parts.append(_stroke(mark.tone, left, py, right, py))
            parts.append(_stroke(mark.tone, px, low, px, high))
        ring = ' s-paper" stroke-width="1.5' if mark.large else ""
        parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{radius}" class="f-{mark.tone}{ring}"/>')
    if mark.note and len(mark.xs):
        right = px > (_LEFT + _WIDTH) / 2
        parts.append(
            _text(
                px + (-10 if right else 10),
                py + (19 if mark.note_below else -9),
                mark.note,
                f"halo f-{mark.tone}",
                "end" if right else "start",
            )
        )
    return parts


def _stroke(tone: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="line s-{tone}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _rule(mark: Rule, x: _Scale, y: _Scale) -> list[str]:
    if mark.vertical:
        at = float(x(mark.at))
        right = at > _WIDTH * 0.7
        where = f'x1="{at:.1f}" y1="{_TOP}" x2="{at:.1f}" y2="{y.start:.0f}"'
        label = _text(
            at + (-6 if right else 6), _TOP + 14, mark.label, f"halo f-{mark.tone}", "end" if right else "start"
        )
    else:
        at = float(y(mark.at))
        where = f'x1="{_LEFT}" y1="{at:.1f}" x2="{_WIDTH - _RIGHT}" y2="{at:.1f}"'
        label = _text(_WIDTH - _RIGHT - 4, at - 6, mark.label, f"halo f-{mark.tone}", "end")
    return [f'<line class="line dash s-{mark.tone}" {where}/>', label]


def _key(marks: Sequence[Mark], area: str = "area") -> list[str]:
    """What the marks are; `area` is the style of those that fill one."""
    parts, at = [], float(_LEFT)
    for mark in marks:
        if isinstance(mark, Rule) or not mark.label:
            continue
        shape = f'<rect x="{at:.0f}" y="14" width="14" height="10" rx="2" class="{area} f-{mark.tone}"/>'
        if isinstance(mark, Line):
            dash = " dash" if mark.dashed else ""
            shape = f'<line x1="{at:.0f}" y1="19" x2="{at + 16:.0f}" y2="19" class="line{dash} s-{mark.tone}"/>'
        elif isinstance(mark, Dots):
            shape = f'<circle cx="{at + 7:.0f}" cy="19" r="4" class="f-{mark.tone}"/>'
        parts += [shape, _text(at + 22, 23, mark.label, "f-ink")]
        at += 38 + 6.6 * len(mark.label)
    return parts


def _draw_bars(figure: BarFigure) -> str:
    longest = max(sum(length for _, length, _ in bar.parts) for bar in figure.bars) / figure.x.scale
    bottom = _TOP + len(figure.bars) * (_BAR + _BAR_GAP)
    x = _Scale(figure.x, 0.0, longest * 1.12, _BAR_LEFT, _WIDTH - _RIGHT)
    parts = []
    for value in ticks(0.0, longest * 1.12, log=False):
        at = float(x(value * figure.x.scale))
        parts.append(f'<line class="grid" x1="{at:.1f}" y1="{_TOP - 6}" x2="{at:.1f}" y2="{bottom}"/>')
        parts.append(_text(at, bottom + 18, f"{value:g}", "f-muted", "middle"))
    for row, bar in enumerate(figure.bars):
        parts += _bar(bar, x, _TOP + row * (_BAR + _BAR_GAP), figure.x.scale)
    parts.append(_text((_BAR_LEFT + _WIDTH - _RIGHT) / 2, bottom + 38, figure.x.label, "f-muted", "middle"))
    parts += _bar_key(figure)
    return _element(figure, bottom + 50, parts)


def _bar(bar: object, x: _Scale, top: float, scale: float) -> list[str]:
    label, pieces = getattr(bar, "label", ""), getattr(bar, "parts", ())
    parts, total = [_text(_BAR_LEFT - 10, top + _BAR * 0.68, label, "f-ink", "end")], 0.0
    for tone, length, what in pieces:
        start, end = float(x(total)), float(x(total + length))
        hint = escape(f"{what}: {_length(length / scale)}")
        parts.append(
            f'<rect x="{start:.1f}" y="{top:.0f}" width="{max(0.0, end - start):.1f}" height="{_BAR}" '
            f'class="bar f-{tone}"><title>{hint}</title></rect>'
        )
        total += length
    return [*parts, _text(float(x(total)) + 7, top + _BAR * 0.68, _length(total / scale), "f-ink")]


def _length(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _bar_key(figure: BarFigure) -> list[str]:
    tones: dict[str, str] = {}
    for bar in sorted(figure.bars, key=lambda bar: -len(bar.parts)):  # the one with the most parts has them in order
        for tone, _, what in bar.parts:
            tones.setdefault(what, tone)
    return _key([Area(np.zeros(0), np.zeros(0), np.zeros(0), tone, what) for what, tone in tones.items()], "bar")
