"""Building blocks of SVG pictures: the scale of an axis, text, and the element around it all."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import numpy as np

from edgeexit.report.plot.figure import Axis, Floats, Picture


class Scale:
    """Values of one axis to pixels."""

    def __init__(self, axis: Axis, low: float, high: float, start: float, end: float) -> None:
        self.axis, self.start, self.end = axis, start, end
        self.low = float(np.log10(low)) if axis.log else low
        self.high = float(np.log10(high)) if axis.log else high

    def __call__(self, values: Floats | float) -> Floats:
        """Pixels of the values; those beyond the axis end a little outside it."""
        scaled = np.asarray(values, np.float64) / self.axis.scale
        with np.errstate(divide="ignore", invalid="ignore"):
            placed = np.log10(scaled) if self.axis.log else scaled
        share = (placed - self.low) / ((self.high - self.low) or 1.0)
        limited = np.clip(np.nan_to_num(share, nan=0.0, posinf=1.0, neginf=0.0), -0.02, 1.02)
        return np.asarray(self.start + limited * (self.end - self.start), np.float64)


def render_svg_element(picture: Picture, width: int, height: float, parts: Iterable[str]) -> str:
    """The `<svg>` around the parts."""
    title = f"<title>{escape(picture.title)}</title>"
    return (
        f'<svg viewBox="0 0 {width} {height:.0f}" width="{width}" role="img" '
        f'aria-label="{escape(picture.title)}">{title}{"".join(parts)}</svg>'
    )


def render_text(x: float, y: float, words: str, css: str, anchor: str = "start") -> str:
    """A `<text>` element; nothing for no words."""
    if not words:
        return ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{css}">{escape(words)}</text>'
