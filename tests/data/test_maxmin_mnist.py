"""Max-Min MNIST: balanced, without overlaps, the same each time, and labelled as the thesis says."""

from __future__ import annotations

import numpy as np
import pytest

from edgeexit.data import load_data
from edgeexit.data.maxmin_mnist import BOX, COUNTS, SEEDS, make_maxmin_images
from edgeexit.errors import InputError
from tests.data.test_named import needs_mnist

PLAIN = np.zeros((10, 28, 28), np.uint8)
for value in range(10):
    PLAIN[value, 4:24, 4:24] = 10 + value  # a full box whose grey says which digit it is


def test_every_label_has_every_level_in_the_ratio_2_1_1() -> None:
    """In each of the ten labels."""
    made = make_maxmin_images(PLAIN, np.arange(10), 400, seed=1)

    for label in range(10):
        assert [20, 10, 10] == np.bincount(made.levels[made.labels == label]).tolist()


def test_digits_do_not_overlap_and_give_the_label() -> None:
    """One, two or four whole boxes; the largest less the smallest, or the digit itself."""
    made = make_maxmin_images(PLAIN, np.arange(10), 400, seed=2)
    for image, label, level in zip(made.pixels[:, 0], made.labels, made.levels, strict=True):
        values, counts = np.unique(image[image > 0].astype(int) - 10, return_counts=True)

        assert counts.sum() == BOX * BOX * (1, 2, 4)[level]
        assert (counts % (BOX * BOX) == 0).all()
        assert label == (values[0] if level == 0 else values.max() - values.min())


def test_the_same_seed_gives_the_same_images() -> None:
    """And another one other images."""
    first, again, other = (make_maxmin_images(PLAIN, np.arange(10), 40, seed) for seed in (3, 3, 4))

    assert (first.pixels == again.pixels).all()
    assert (first.labels == again.labels).all()
    assert (first.pixels != other.pixels).any()


def test_a_number_that_cannot_be_balanced_is_refused() -> None:
    """With the numbers that can, and so is a digit that is missing."""
    with pytest.raises(InputError, match="multiple of 40"):
        make_maxmin_images(PLAIN, np.arange(10), 50, seed=0)
    with pytest.raises(InputError, match=r"missing: \[9\]"):
        make_maxmin_images(PLAIN[:9], np.arange(9), 40, seed=0)


def test_parts_have_seeds_of_their_own_and_can_be_balanced() -> None:
    """So that no image is in two of them."""
    assert len(set(SEEDS.values())) == len(SEEDS)
    assert all(count % 40 == 0 for count in COUNTS.values())


@needs_mnist
def test_the_named_set_is_balanced_and_in_range() -> None:
    """Float32 from 0 to 1."""
    test = load_data("maxmin-mnist:test")

    assert (18_000, 1, 64, 64) == test.x.shape
    assert [1_800] * 10 == np.bincount(test.y).tolist()
    assert (0, 1) == (test.x.min(), test.x.max())
