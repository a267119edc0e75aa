"""Pictures as PNG, by matplotlib (extra `report`); the same pictures that `svg.py` draws for the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeexit.data.files import replacing
from edgeexit.errors import MissingExtra
from edgeexit.report.figure import Area, BarFigure, Dots, Figure, Line, Panels, Picture, Rule, extent
from edgeexit.report.svg import LIGHT


def save_png(picture: Picture, path: Path, dpi: int = 150) -> None:
    """Draw a picture into a PNG file.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Canvas
    except ImportError as error:
        raise MissingExtra("matplotlib", "report") from error
    parts = picture.panels if isinstance(picture, Panels) else (picture,)
    canvas = Canvas(figsize=(6.4, 3.8 if len(parts) == 1 else 2.2 * len(parts)), layout="constrained")
    FigureCanvasAgg(canvas)
    for part, axes in zip(parts, canvas.subplots(len(parts), squeeze=False)[:, 0], strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        (_bars if isinstance(part, BarFigure) else _curves)(part, axes)
    canvas.axes[0].set_title(picture.title, loc="left", fontsize=11)
    with replacing(path) as scratch:
        canvas.savefig(scratch, dpi=dpi)


def _curves(figure: Any, axes: Any) -> None:
    assert isinstance(figure, Figure)
    for mark in figure.marks:
        _mark(mark, axes, figure)
    if figure.x.log:
        axes.set_xscale("log")
    if figure.y.log:
        axes.set_yscale("log")
    axes.set(xlabel=figure.x.label, ylabel=figure.y.label)
    axes.set_xlim(extent(figure, vertical=False))
    axes.set_ylim(extent(figure, vertical=True))
    axes.grid(color=LIGHT["grid"])
    axes.set_axisbelow(True)
    if any(getattr(mark, "label", "") for mark in figure.marks if not isinstance(mark, Rule)):
        axes.legend(fontsize=8, frameon=False)


def _mark(mark: Any, axes: Any, figure: Figure) -> None:
    color, x, y = LIGHT[mark.tone], figure.x.scale, figure.y.scale
    label = mark.label or None
    if isinstance(mark, Line):
        style, width = ("--" if mark.dashed else "-"), (2.2 if mark.thick else 1.5)
        axes.plot(mark.xs / x, mark.ys / y, style, color=color, linewidth=width, label=label)
    elif isinstance(mark, Area):
        axes.fill_between(mark.xs / x, mark.low / y, mark.high / y, color=color, alpha=0.34, linewidth=0, label=label)
    elif isinstance(mark, Dots):
        side, below, above = mark.spread or (0.0, 0.0, 0.0)
        size = 7 if mark.large else 3
        axes.errorbar(
            mark.xs / x,
            mark.ys / y,
            [[below / y], [above / y]],
            side / x,
            "o",
            color=color,
            markersize=size,
            label=label,
        )
    else:
        (axes.axvline if mark.vertical else axes.axhline)(
            mark.at / (x if mark.vertical else y), color=color, linestyle="--"
        )


def _bars(figure: Any, axes: Any) -> None:
    assert isinstance(figure, BarFigure)
    for row, bar in enumerate(figure.bars):
        before = 0.0
        for tone, length, _ in bar.parts:
            axes.barh(row, length / figure.x.scale, left=before / figure.x.scale, color=LIGHT[tone], height=0.65)
            before += length
    axes.set_yticks(range(len(figure.bars)), [bar.label for bar in figure.bars])
    axes.invert_yaxis()
    axes.set_xlabel(figure.x.label)
