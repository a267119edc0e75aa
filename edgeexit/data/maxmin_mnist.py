"""Max-Min MNIST: one, two or four digits on a black 64x64 image; the label is the largest less the smallest, or the digit itself.

Voorhout, "Overthinking in MSDNet" (2022), section 4.2.2, figure 4.3. Three levels, easy (one digit), medium (two) and hard (four), stand in
the ratio 2:1:1 in every label, and every label is equally frequent. Drawn are first the label, then digits that give it, then places, by
seed. The thesis does not say whether digits may overlap; here they do not. It has 80,000 training and 20,000 validation images and 18,000
test images; here 20,000 are for training, so that they fit into memory as float32. Each part takes its digits from that part of MNIST.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from edgeexit.data.dataset import Dataset, make_dataset
from edgeexit.data.mnist import load_mnist_pixels
from edgeexit.data.splits import Indices
from edgeexit.errors import InputError

SIDE, BOX = 64, 20
"""Of the image, and of a digit in it."""
DIGITS = (1, 2, 4)
"""Of each level: easy, medium, hard."""
SHARES = (2, 1, 1)
COUNTS = {"train": 20_000, "calibration": 20_000, "test": 18_000}
SEEDS = {"train": 2022, "calibration": 2023, "test": 2024}
_CLASSES = 10
_ATTEMPTS = 4096  # draws of places at a time


@dataclass(frozen=True, eq=False)
class MaxMinImages:
    """Images as they are made.

    Attributes:
        pixels: uint8 [n, 1, 64, 64].
        labels: int64 [n], 0 to 9.
        levels: int64 [n], 0 easy, 1 medium, 2 hard.
    """

    pixels: NDArray[np.uint8]
    labels: Indices
    levels: Indices


def load_maxmin_mnist(part: str) -> Dataset:
    """One part (`train`, `calibration` or `test`): x float32 [n, 1, 64, 64] in [0, 1], y int64 [n].

    Raises:
        InputError: a file of MNIST is missing or is not the official one.
    """
    made = make_maxmin_part(part)
    return make_dataset(f"maxmin-mnist:{part}", made.pixels.astype(np.float32) / np.float32(255), made.labels)


def make_maxmin_part(part: str, count: int | None = None) -> MaxMinImages:
    """The images of a part with their levels; another number of them on demand, such as the thesis's 80,000 for training.

    Raises:
        InputError: a file of MNIST is missing or is not the official one, or as `make_maxmin_images`.
    """
    pixels, labels = load_mnist_pixels(part)
    return make_maxmin_images(pixels[:, 0], labels, COUNTS[part] if count is None else count, SEEDS[part])


def make_maxmin_images(digits: NDArray[np.uint8], labels: NDArray[np.integer], count: int, seed: int) -> MaxMinImages:
    """Draw images from digits of MNIST.

    Args:
        digits: uint8 [m, 28, 28].
        labels: of the digits, [m], 0 to 9, each at least once.
        count: number of images, a multiple of 40, so that labels and levels are balanced.
        seed: of the draws.

    Raises:
        InputError: another number, or a digit that is missing.

    Example:
        >>> digits = np.full((10, 28, 28), 255, np.uint8)
        >>> made = make_maxmin_images(digits, np.arange(10), 80, seed=0)
        >>> made.pixels.shape, np.bincount(made.labels).tolist(), np.bincount(made.levels).tolist()
        ((80, 1, 64, 64), [8, 8, 8, 8, 8, 8, 8, 8, 8, 8], [40, 20, 20])
    """
    unit = _CLASSES * sum(SHARES)
    if count < unit or count % unit:
        msg = f"the number of images must be a multiple of {unit}, so that labels and levels are balanced, not {count}"
        raise InputError(msg)
    pools = [np.flatnonzero(labels == digit) for digit in range(_CLASSES)]
    if not all(len(pool) for pool in pools):
        msg = f"every digit must be there at least once; missing: {[d for d in range(_CLASSES) if not len(pools[d])]}"
        raise InputError(msg)
    rng = np.random.default_rng(seed)
    order = rng.permutation(count)
    made = MaxMinImages(
        np.zeros((count, 1, SIDE, SIDE), np.uint8), np.empty(count, np.int64), np.empty(count, np.int64)
    )
    boxes = _cut_boxes(digits)
    values = (_draw_image(label, level, pools, rng) for label, level in _list_kinds(count // unit))
    places = {many: _draw_places(many, rng) for many in DIGITS}
    for at, (label, level, chosen) in zip(order, values, strict=True):
        made.labels[at], made.levels[at] = label, level
        for sample, (top, left) in zip(chosen, next(places[DIGITS[level]]), strict=True):
            made.pixels[at, 0, top : top + BOX, left : left + BOX] = boxes[sample]
    return made


def _list_kinds(units: int) -> Iterator[tuple[int, int]]:
    """The label and level of every image."""
    for label in range(_CLASSES):
        for level, share in enumerate(SHARES):
            for _ in range(units * share):
                yield label, level


def _draw_image(
    label: int, level: int, pools: list[NDArray[np.int64]], rng: np.random.Generator
) -> tuple[int, int, list[int]]:
    """Label, level, and the samples of MNIST that give the label."""
    options = _TUPLES[level][label]
    values = options[rng.integers(len(options))]
    return label, level, [int(pools[v][rng.integers(len(pools[v]))]) for v in values]


def _list_tuples(many: int) -> list[list[tuple[int, ...]]]:
    """By label the digits that give it."""
    found: list[list[tuple[int, ...]]] = [[] for _ in range(_CLASSES)]
    for values in product(range(_CLASSES), repeat=many):
        found[values[0] if many == 1 else max(values) - min(values)].append(values)
    return found


_TUPLES = [_list_tuples(many) for many in DIGITS]


def _draw_places(many: int, rng: np.random.Generator) -> Iterator[list[tuple[int, int]]]:
    """Corners of boxes that do not overlap, image by image: evenly among all that do not."""
    while True:
        corners = rng.integers(0, SIDE - BOX + 1, (_ATTEMPTS, many, 2))
        apart = np.abs(corners[:, :, None] - corners[:, None]).max(axis=-1) >= BOX
        apart |= np.eye(many, dtype=np.bool_)
        for places in corners[apart.all(axis=(1, 2))].tolist():
            yield [(top, left) for top, left in places]


def _cut_boxes(digits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What is drawn of each digit in the middle of a box of 20x20: the size that MNIST's digits have, uint8 [m, 20, 20]."""
    boxes = np.zeros((len(digits), BOX, BOX), np.uint8)
    for box, digit in zip(boxes, digits, strict=True):
        rows, columns = (_find_extent(digit.any(axis=axis)) for axis in (1, 0))
        drawn = digit[rows, columns]
        top, left = ((BOX - size) // 2 for size in drawn.shape)
        box[top : top + drawn.shape[0], left : left + drawn.shape[1]] = drawn
    return boxes


def _find_extent(drawn: NDArray[np.bool_]) -> slice:
    """From the first to the last row or column with something in it, at most 20."""
    places = np.flatnonzero(drawn)
    first = int(places[0]) if len(places) else 0
    last = int(places[-1]) + 1 if len(places) else 0
    surplus = max(0, last - first - BOX)
    return slice(first + (surplus + 1) // 2, last - surplus // 2)
