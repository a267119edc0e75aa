"""Pictures as PNG and PDF, by matplotlib (extra `report`).

The same values that `svg.py` draws for the page: extents and ticks come from `figure`, their numbers from `axis_numbers`, the choice of
entries from `legend`, colours and widths from `palette`. Only where text goes is matplotlib's own choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.errors import MissingExtra
from edgeexit.report.plot.axis_numbers import format_axis_numbers
from edgeexit.report.plot.figure import (
    Area,
    Axis,
    BarFigure,
    Figure,
    ImageGrid,
    Line,
    Panels,
    Picture,
    Points,
    compute_extent,
    compute_ticks,
)
from edgeexit.report.plot.label_placement import (
    Label,
    Rectangle,
    list_boxes_along,
    list_places_around_point,
    place_labels,
)
from edgeexit.report.plot.legend import thin_labels
from edgeexit.report.plot.palette import (
    AREA_OPACITY,
    BAR_OPACITY,
    DASHES,
    DOT_RADIUS,
    GRID,
    GRID_WIDTH,
    LARGE_DOT_RADIUS,
    LIGHT,
    LINE_WIDTH,
    THICK_WIDTH,
)
from edgeexit.util.atomic import replace_atomically

_POINTS = 0.75
"""Points of a CSS pixel."""


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
        _DRAW.get(type(part), _draw_curves)(part, axes)
    canvas.axes[0].set_title(picture.title, loc="left", fontsize=11, wrap=True)
    noted = [(part, axes) for part, axes in zip(parts, canvas.axes, strict=False) if _list_noted(part)]
    if noted:
        canvas.draw_without_rendering()  # where things stand is known from here on
    for part, axes in noted:
        _write_notes(part, axes)
    with (
        replace_atomically(path) as scratch,
        rc_context({"pdf.fonttype": 42}),
    ):  # TrueType: searchable, and what journals ask for
        canvas.savefig(scratch, dpi=dpi, format=path.suffix.lower().lstrip(".") or "png")


def _compute_height(parts: Sequence[Picture]) -> float:
    """Inches; many bars need more."""
    if len(parts) > 1:
        return 2.2 * len(parts)
    if isinstance(parts[0], ImageGrid):
        return 0.6 + 0.55 * len(parts[0].rows)
    bars = len(parts[0].bars) if isinstance(parts[0], BarFigure) else 0
    return max(3.8, 1.4 + 0.2 * bars)


def _draw_curves(figure: Any, axes: Any) -> None:
    assert isinstance(figure, Figure)
    for mark in figure.marks:
        _draw_mark(mark, axes, figure)
    _set_axis(axes, "x", figure.x, compute_extent(figure, vertical=False))
    _set_axis(axes, "y", figure.y, compute_extent(figure, vertical=True))
    axes.grid(color=LIGHT[GRID], linewidth=GRID_WIDTH * _POINTS)
    axes.set_axisbelow(True)
    _draw_legend(axes)


def _list_noted(picture: Any) -> list[Points]:
    """Points with a note; bars and images have none."""
    marks = picture.marks if isinstance(picture, Figure) else ()
    return [mark for mark in marks if isinstance(mark, Points) and mark.note and len(mark.xs)]


def _write_notes(figure: Any, axes: Any) -> None:
    """Notes beside their points, where the page would place them: in CSS pixels from the upper left corner of the picture."""
    canvas = axes.figure
    pixel, size = canvas.dpi / 72 * _POINTS, canvas.bbox.size

    def place(mark: Line | Points) -> NDArray[np.float64]:
        at = axes.transData.transform(np.column_stack([mark.xs / figure.x.scale, mark.ys / figure.y.scale]))
        return np.asarray(np.column_stack([at[:, 0], size[1] - at[:, 1]]) / pixel, np.float64)

    def make_box(box: Any) -> Rectangle:
        return Rectangle(box.x0 / pixel, (size[1] - box.y1) / pixel, box.x1 / pixel, (size[1] - box.y0) / pixel)

    labels = [
        Label(m.note, m.tone, list_places_around_point(*place(m)[-1].tolist(), below=m.note_below))
        for m in _list_noted(figure)
    ]
    lines = [mark for mark in figure.marks if isinstance(mark, Line) and len(mark.xs)]
    avoided = [box for mark in lines for box in list_boxes_along(*place(mark).T)]
    taken = [make_box(axes.get_legend().get_window_extent())] if axes.get_legend() else []
    for label, spot in place_labels(labels, make_box(axes.bbox), taken, avoided):
        at = np.array([spot.x, spot.y]) * pixel / size  # fractions hold at any resolution
        canvas.text(at[0], 1 - at[1], label.text, color=LIGHT[label.tone], fontsize=8, ha=_SIDES[spot.anchor])


_SIDES = {"start": "left", "middle": "center", "end": "right"}


def _set_axis(axes: Any, which: str, axis: Axis, extent: tuple[float, float]) -> None:
    """Extent, ticks and their numbers as on the page; `which` is x or y."""
    ticks = compute_ticks(*extent, log=axis.log)
    axes.set(**{f"{which}label": axis.label, f"{which}scale": "log" if axis.log else "linear"})
    drawn = getattr(axes, f"{which}axis")
    drawn.set_ticks(ticks, format_axis_numbers(ticks))
    drawn.set_ticks([], minor=True)
    axes.set(**{f"{which}lim": extent})


def _draw_legend(axes: Any) -> None:
    """Every labelled mark once; of many exits the first, the last and some between, as on the page."""
    handles, labels = axes.get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    if named:
        kept = thin_labels(list(named))
        axes.legend([named[label] for label in kept], kept, fontsize=8, frameon=False, ncols=1 + (len(kept) > 6))


def _draw_mark(mark: Any, axes: Any, figure: Figure) -> None:
    color, x, y = LIGHT[mark.tone], figure.x.scale, figure.y.scale
    label = mark.label or None
    if isinstance(mark, Line):
        width = (THICK_WIDTH if mark.thick else LINE_WIDTH) * _POINTS
        style = _make_dashes(width) if mark.dashed else "-"
        axes.plot(mark.xs / x, mark.ys / y, color=color, linestyle=style, linewidth=width, label=label)
    elif isinstance(mark, Area):
        axes.fill_between(
            mark.xs / x, mark.low / y, mark.high / y, color=color, alpha=AREA_OPACITY, linewidth=0, label=label
        )
    elif isinstance(mark, Points):
        side, below, above = mark.spread or (0.0, 0.0, 0.0)
        size = 2 * _POINTS * (LARGE_DOT_RADIUS if mark.large else DOT_RADIUS)
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
        width = LINE_WIDTH * _POINTS
        place = axes.axvline if mark.vertical else axes.axhline
        at = mark.at / (x if mark.vertical else y)
        place(at, color=color, linestyle=_make_dashes(width), linewidth=width, label=label)


def _make_dashes(width: float) -> tuple[int, tuple[float, ...]]:
    """Dashes as matplotlib has them, in multiples of the line's width."""
    return 0, tuple(length * _POINTS / width for length in DASHES)


def _draw_bars(figure: Any, axes: Any) -> None:
    assert isinstance(figure, BarFigure)
    named: set[str] = set()
    for row, bar in enumerate(figure.bars):
        before = 0.0
        for tone, length, what in bar.parts:
            placed = {"left": before / figure.x.scale, "height": 0.65, "label": None if what in named else what}
            axes.barh(row, length / figure.x.scale, color=LIGHT[tone], alpha=BAR_OPACITY, **placed)
            named.add(what)
            before += length
    axes.set_yticks(range(len(figure.bars)), [bar.label for bar in figure.bars])
    axes.invert_yaxis()
    axes.set_xlabel(figure.x.label)
    _draw_legend(axes)


def _draw_images(grid: Any, axes: Any) -> None:
    assert isinstance(grid, ImageGrid)
    height, width = grid.rows[0][1].shape[2:]
    for row, (_, images) in enumerate(grid.rows):
        for k, image in enumerate(images):
            low, high = float(np.min(image)), float(np.max(image))
            pixels = np.moveaxis((image - low) / ((high - low) or 1.0), 0, -1)
            shown = pixels if pixels.shape[-1] == 3 else np.repeat(pixels, 3, axis=-1)
            axes.imshow(shown, extent=(k, k + 0.95, row + 0.95, row), interpolation="nearest")
    axes.set_xlim(0, max(len(images) for _, images in grid.rows))
    axes.set_ylim(len(grid.rows), 0)
    axes.set_aspect(height / width)
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.set_yticks([row + 0.5 for row in range(len(grid.rows))], [label for label, _ in grid.rows])
    axes.spines[:].set_visible(False)


_DRAW = {BarFigure: _draw_bars, ImageGrid: _draw_images}
"""How pictures are drawn that are no curves."""
