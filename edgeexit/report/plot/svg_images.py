"""Rows of images as SVG: each is a PNG in the picture itself."""

from __future__ import annotations

from edgeexit.report.plot.figure import ImageGrid
from edgeexit.report.plot.label_placement import estimate_text_width
from edgeexit.report.plot.svg_parts import render_svg_element, render_text
from edgeexit.report.thumbnails import encode_thumbnail

_EDGE, _GAP = 8, 4


def draw_image_grid(grid: ImageGrid, width: int) -> str:
    """The picture as an `<svg>` element of that width; labels on the left take the room they need."""
    left = round(max(estimate_text_width(label) for label, _ in grid.rows)) + _EDGE + 10
    most = max(len(images) for _, images in grid.rows)
    side = (width - _EDGE - left) / most - _GAP
    parts, top = list[str](), float(_EDGE)
    for label, images in grid.rows:
        high = side * images.shape[2] / images.shape[3]
        parts.append(render_text(left - 10, top + high / 2 + 4.5, label, "f-ink", "end"))
        parts += [
            f'<image x="{left + k * (side + _GAP):.1f}" y="{top:.1f}" width="{side:.1f}" height="{high:.1f}" '
            f'style="image-rendering:pixelated" href="{encode_thumbnail(image)}"/>'
            for k, image in enumerate(images)
        ]
        top += high + _GAP
    return render_svg_element(grid, width, top + _EDGE, parts)
