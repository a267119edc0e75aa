"""Pictures as PNG and PDF, by matplotlib (extra `report`); the same pictures that `svg.py` draws for the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeexit.errors import MissingExtra
from edgeexit.report.plot.figure import Area, BarFigure, Figure, Line, Panels, Picture, Points, compute_extent
from edgeexit.report.plot.legend import thin_labels
from edgeexit.report.plot.palette import LIGHT
from edgeexit.util.atomic import replace_atomically


def save_picture(picture: Picture, path: Path, dpi: int = 150) -> None:
    """Draw a picture into a PNG file, or into the form of the file's ending (PDF: text stays text).

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Canvas
    except ImportError as error:
        raise MissingExtra("matplotlib", "report") from error
    parts = picture.panels if isinstance(picture, Panels) else (picture,)
    canvas = Canvas(figsize=(6.4, _compute_height(parts)), layout="constrained")
    FigureCanvasAgg(canvas)
    for part, axes in zip(parts, canvas.subplots(len(parts), squeeze=False)[:, 0], strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        (_draw_bars if isinstance(part, BarFigure) else _draw_curves)(part, axes)
    canvas.axes[0].set_title(picture.title, loc="left", fontsize=11)
    with (
        replace_atomically(path) as scratch,
        rc_context({"pdf.fonttype": 42}),
    ):  # TrueType: searchable, and what journals ask for
        canvas.savefig(scratch, dpi=dpi, format=path.suffix.lower().lstrip(".") or "png")


def _compute_height(parts: Sequence[Picture]) -> float:
    """Inches; many bars need more."""
    if len(parts) > 1:
        return 2.2 * len(parts)
    bars = len(parts[0].bars) if isinstance(parts[0], BarFigure) else 0
    return max(3.8, 1.4 + 0.2 * bars)


def _draw_curves(figure: Any, axes: Any) -> None:
    assert isinstance(figure, Figure)
    for mark in figure.marks:
        _mark(mark, axes, figure)
    if figure.x.log:
        axes.set_xscale("log")
    if figure.y.log:
        axes.set_yscale("log")
    axes.set(xlabel=figure.x.label, ylabel=figure.y.label)
    axes.set_xlim(compute_extent(figure, vertical=False))
    axes.set_ylim(compute_extent(figure, vertical=True))
    axes.grid(color=LIGHT["grid"])
    axes.set_axisbelow(True)
    _draw_legend(axes)


def _draw_legend(axes: Any) -> None:
    """Every labelled mark once; of many exits the first, the last and some between, as on the page."""
    handles, labels = axes.get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    if named:
        kept = thin_labels(list(named))
        axes.legend([named[label] for label in kept], kept, fontsize=8, frameon=False, ncols=1 + (len(kept) > 6))


def _mark(mark: Any, axes: Any, figure: Figure) -> None:
    color, x, y = LIGHT[mark.tone], figure.x.scale, figure.y.scale
    label = mark.label or None
    if isinstance(mark, Line):
        style, width = ("--" if mark.dashed else "-"), (2.2 if mark.thick else 1.5)
        axes.plot(mark.xs / x, mark.ys / y, style, color=color, linewidth=width, label=label)
    elif isinstance(mark, Area):
        axes.fill_between(mark.xs / x, mark.low / y, mark.high / y, color=color, alpha=0.34, linewidth=0, label=label)
    elif isinstance(mark, Points):
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
            mark.at / (x if mark.vertical else y), color=color, linestyle="--", label=label
        )


def _draw_bars(figure: Any, axes: Any) -> None:
    assert isinstance(figure, BarFigure)
    named: set[str] = set()
    for row, bar in enumerate(figure.bars):
        before = 0.0
        for tone, length, what in bar.parts:
            placed = {"left": before / figure.x.scale, "height": 0.65, "label": None if what in named else what}
            axes.barh(row, length / figure.x.scale, color=LIGHT[tone], **placed)
            named.add(what)
            before += length
    axes.set_yticks(range(len(figure.bars)), [bar.label for bar in figure.bars])
    axes.invert_yaxis()
    axes.set_xlabel(figure.x.label)
    _draw_legend(axes)
