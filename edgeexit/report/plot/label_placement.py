"""Label placement: each text takes the first of its candidate places that is free and inside, or none.

A browser's font is not known here, so widths are those of DejaVu Sans, one of the widest that pages are shown in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Anchor: TypeAlias = Literal["start", "middle", "end"]

_NARROW, _WIDE = frozenset("ijl.,:;|'!()[] ftI-"), frozenset("mwMW%@—…≤≥<>=+±×∞QOGDHNU")
_LINE = 15.0
"""Height of one line of 12 px text with its room."""


def estimate_text_width(text: str, size: float = 12.0) -> float:
    """An upper estimate of the width of a text, pixels."""
    ems = sum(0.39 if c in _NARROW else 0.86 if c in _WIDE else 0.645 for c in text)
    return ems * size


@dataclass(frozen=True)
class Rectangle:
    """A rectangle, pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Rectangle) -> bool:
        """Whether both share any area."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def is_inside(self, other: Rectangle) -> bool:
        """Whether all of it lies inside."""
        inside_x = self.left >= other.left and self.right <= other.right
        return inside_x and self.top >= other.top and self.bottom <= other.bottom


@dataclass(frozen=True)
class LabelPosition:
    """A place for a text: its baseline, and which end of it stands at x."""

    x: float
    y: float
    anchor: Anchor = "start"

    def box(self, text: str) -> Rectangle:
        """Rectangle that the text would cover."""
        width = estimate_text_width(text)
        left = self.x - {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        return Rectangle(left - 1, self.y - 12, left + width + 1, self.y + 3.5)


@dataclass(frozen=True)
class Label:
    """A text of a colour with the places it may take, the best first."""

    text: str
    tone: str
    spots: tuple[LabelPosition, ...]


def place_labels(
    labels: Sequence[Label], inside: Rectangle, taken: Iterable[Rectangle] = (), avoided: Sequence[Rectangle] = ()
) -> list[tuple[Label, LabelPosition]]:
    """The labels that found a place, in the order given: no two overlap, and none lies over what was taken before.

    What is to be avoided, such as the lines of the picture, is covered only by a label that finds no place beside it.
    """
    occupied, placed = list(taken), list[tuple[Label, LabelPosition]]()
    for label in labels:
        free = [spot for spot in label.spots if _is_free(spot.box(label.text), inside, occupied)]
        if free:
            clear = (spot for spot in free if not any(spot.box(label.text).overlaps(box) for box in avoided))
            spot = next(clear, free[0])
            occupied.append(spot.box(label.text))
            placed.append((label, spot))
    return placed


def list_boxes_along(xs: NDArray[np.float64], ys: NDArray[np.float64], step: float = 8.0) -> list[Rectangle]:
    """Small boxes along a curve of straight pieces, [n] and [n] pixels, about `step` apart and at most 201 in all.

    Points that are not finite are left out.
    """
    finite = np.isfinite(xs) & np.isfinite(ys)
    xs, ys = xs[finite], ys[finite]
    if not len(xs):
        return []
    along = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(xs), np.diff(ys)))])
    at = np.linspace(0.0, along[-1], int(min(200, 1 + along[-1] // step)) + 1)
    places = zip(np.interp(at, along, xs).tolist(), np.interp(at, along, ys).tolist(), strict=True)
    return [Rectangle(x - 2, y - 2, x + 2, y + 2) for x, y in places]


def _is_free(box: Rectangle, inside: Rectangle, occupied: Sequence[Rectangle]) -> bool:
    return box.is_inside(inside) and not any(box.overlaps(other) for other in occupied)


def list_places_around_point(x: float, y: float, *, below: bool = False) -> tuple[LabelPosition, ...]:
    """Places for the name of a point, the near ones first."""
    sides: list[LabelPosition] = []
    for off in (0.0, _LINE, 2 * _LINE, 3 * _LINE):
        above = [LabelPosition(x + 10, y - 9 - off), LabelPosition(x - 10, y - 9 - off, "end")]
        under = [LabelPosition(x + 10, y + 19 + off), LabelPosition(x - 10, y + 19 + off, "end")]
        sides += [*under, *above] if below else [*above, *under]
        sides += [LabelPosition(x, y - 12 - off, "middle"), LabelPosition(x, y + 22 + off, "middle")]
    return tuple(sides)


def list_places_beside_line(x: float, top: float, rows: int, *, left_first: bool) -> tuple[LabelPosition, ...]:
    """Places for the name of a vertical line: to its right or left, from the top down."""
    found: list[LabelPosition] = []
    for row in range(rows):
        y = top + 14 + row * _LINE
        pair = [LabelPosition(x + 6, y), LabelPosition(x - 6, y, "end")]
        found += reversed(pair) if left_first else pair
    return tuple(found)


def list_places_along_line(y: float, left: float, right: float) -> tuple[LabelPosition, ...]:
    """Places for the name of a horizontal line: above and below it, at its ends and in the middle."""
    middle = (left + right) / 2
    ends: tuple[tuple[float, Anchor], ...] = ((right - 4, "end"), (left + 6, "start"), (middle, "middle"))
    return tuple(LabelPosition(x, y + off, anchor) for off in (-6.0, 16.0) for x, anchor in ends)
