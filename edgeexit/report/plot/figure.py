"""A picture as a value: axes and marks. `svg.py` and `png.py` draw it; nothing else knows about pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeexit.report.plot.palette import BACKBONE, CRITERION, GRID, INK, MUTED, POLICY, TARGET, WARN, choose_exit_tone
from edgeexit.util import units

__all__ = [
    "BACKBONE",
    "CRITERION",
    "GRID",
    "INK",
    "MUTED",
    "POLICY",
    "TARGET",
    "WARN",
    "Area",
    "Axis",
    "Bar",
    "BarFigure",
    "Figure",
    "Floats",
    "ImageGrid",
    "Line",
    "Mark",
    "Panels",
    "Picture",
    "Points",
    "ReferenceLine",
    "choose_exit_tone",
    "compute_extent",
    "compute_ticks",
    "make_latency_axis",
    "share_x_axis",
    "thin_curves",
]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """An axis. `scale` divides the values (its unit is in the label); `low` and `high` override the extent of the marks."""

    label: str
    scale: float = 1.0
    log: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """A line through points [n]; `label` goes to the key."""

    xs: Floats
    ys: Floats
    tone: str
    label: str = ""
    dashed: bool = False
    thick: bool = False


@dataclass(frozen=True)
class Area:
    """Area between two curves [n]."""

    xs: Floats
    low: Floats
    high: Floats
    tone: str
    label: str = ""


@dataclass(frozen=True)
class Points:
    """Points [n]; `note` is written beside the last one. `spread` is a cross: to each side, below, above."""

    xs: Floats
    ys: Floats
    tone: str
    label: str = ""
    note: str = ""
    large: bool = False
    spread: tuple[float, float, float] | None = None
    note_below: bool = False


@dataclass(frozen=True)
class ReferenceLine:
    """A line across the whole picture at one value."""

    at: float
    vertical: bool
    tone: str
    label: str


Mark: TypeAlias = Line | Area | Points | ReferenceLine


@dataclass(frozen=True)
class Figure:
    """A picture with axes.

    Attributes:
        name: for file names: lower case with hyphens.
        title: one line.
        caption: what to read from it, one or two sentences.
        x, y: the axes.
        marks: drawn in this order.
    """

    name: str
    title: str
    caption: str
    x: Axis
    y: Axis
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Bar:
    """One horizontal bar, made of parts (tone, length, what it is)."""

    label: str
    parts: tuple[tuple[str, float, str], ...]


@dataclass(frozen=True)
class BarFigure:
    """A picture of horizontal bars of stacked parts."""

    name: str
    title: str
    caption: str
    x: Axis
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Panels:
    """Pictures one above the other that share their x axis: what was measured, and the machine meanwhile."""

    name: str
    title: str
    caption: str
    panels: tuple[Figure, ...]


@dataclass(frozen=True, eq=False)
class ImageGrid:
    """Rows of images of one size, each row with what it shows.

    Attributes:
        name, title, caption: as of every picture.
        rows: label and images [m, 1 or 3, height, width] in any range; every row has as many.
    """

    name: str
    title: str
    caption: str
    rows: tuple[tuple[str, NDArray[Any]], ...]


Picture: TypeAlias = Figure | BarFigure | Panels | ImageGrid


def compute_extent(figure: Figure, *, vertical: bool) -> tuple[float, float]:
    """The lowest and highest value of the axis, in its own scale, with some room."""
    axis = figure.y if vertical else figure.x
    values = (
        np.concatenate([v for mark in figure.marks for v in _list_values(mark, vertical)] or [np.zeros(1)]) / axis.scale
    )
    values = values[np.isfinite(values) & ((values > 0) | (not axis.log))]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if axis.log:
        low, high = low / 1.15, high * 1.15
    else:
        room = 0.06 * (high - low or abs(high) or 1.0)
        low, high = low - room, high + room
    return (low if axis.low is None else axis.low), (high if axis.high is None else axis.high)


def _list_values(mark: Mark, vertical: bool) -> Sequence[Floats]:
    if isinstance(mark, ReferenceLine):
        return [np.array([mark.at])] if mark.vertical != vertical else []
    if isinstance(mark, Area):
        return [mark.low, mark.high] if vertical else [mark.xs]
    values = mark.ys if vertical else mark.xs
    if isinstance(mark, Points) and mark.spread is not None:
        side, below, above = mark.spread
        return [values - below, values + above] if vertical else [values - side, values + side]
    return [values]


def make_latency_axis(label: str, largest_s: float, *, log: bool = False) -> Axis:
    """An axis of times in the unit that fits the largest of them."""
    scale, unit = units.seconds_scale(largest_s)
    return Axis(f"{label} ({unit})", scale, log)


def compute_ticks(low: float, high: float, *, log: bool, about: int = 6) -> list[float]:
    """Round values between low and high for the marks of an axis."""
    return _compute_log_ticks(low, high) if log else _compute_linear_ticks(low, high, about)


def _compute_linear_ticks(low: float, high: float, about: int) -> list[float]:
    if not np.isfinite(high - low):
        return [low, high]
    raw = (high - low) / max(1, about)
    power = 10.0 ** np.floor(np.log10(raw))
    step = power * next(m for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * power >= raw * 0.999)
    first = np.ceil(low / step - 1e-9)
    count = int(np.floor(high / step + 1e-9) - first) + 1
    # Twelve significant digits, not decimals: axes may reach to the ends of what a float holds.
    return [float(f"{(first + i) * step:.12g}") for i in range(max(0, count))]


def _compute_log_ticks(low: float, high: float) -> list[float]:
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    span = np.log10(high / low)
    steps: tuple[float, ...] = (1.0, 2.0, 5.0) if span < 3 else (1.0,)
    if span < 0.8:
        steps = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    found = [m * 10.0**d for d in decades for m in steps]
    return [float(v) for v in found if low <= v <= high]


def share_x_axis(figures: Sequence[Figure]) -> tuple[Figure, ...]:
    """The figures over one and the same extent of x; only the last names it."""
    ends = np.array([compute_extent(figure, vertical=False) for figure in figures])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    bare = [replace(figure, x=replace(figure.x, label="", low=low, high=high)) for figure in figures[:-1]]
    return (*bare, replace(figures[-1], x=replace(figures[-1].x, low=low, high=high)))


def thin_curves(xs: Floats, *others: Floats, most: int = 600) -> tuple[Floats, ...]:
    """At most `most` points of curves that share their xs, ends kept: a picture holds no more."""
    if len(xs) <= most:
        return (xs, *others)
    keep = np.unique(np.linspace(0, len(xs) - 1, most).astype(np.int64))
    return tuple(np.asarray(v[keep], np.float64) for v in (xs, *others))
