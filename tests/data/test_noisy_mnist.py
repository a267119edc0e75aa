"""Noisy MNIST: as much noise as is said, the same each time."""

from __future__ import annotations

import numpy as np

from edgeexit.data import load_data, mnist
from edgeexit.data.noisy_mnist import PEPPER, SALT, SIGMA, add_noise
from tests.data.test_named import needs_mnist


def test_noise_is_as_strong_as_it_says() -> None:
    """Before clipping, of the pixels that are neither salt nor pepper."""
    grey = np.full((400, 28, 28), 0.5, np.float32)
    noisy = add_noise(grey, seed=1)
    clipped_above = 0.5 * (1 - SALT - PEPPER) * 2 * 0.15866  # half a pixel's range is one standard deviation
    assert 0.5 == SIGMA
    assert abs((noisy == 1).mean() - SALT - clipped_above) < 0.005
    assert abs((noisy == 0).mean() - PEPPER - clipped_above) < 0.005
    assert np.float32 == noisy.dtype


def test_noise_leaves_its_input_alone_and_repeats() -> None:
    """The same seed gives the same bits, another seed other ones."""
    image = np.full((2, 28, 28), 0.5, np.float32)
    first, second, other = add_noise(image, 3), add_noise(image, 3), add_noise(image, 4)
    assert (image == 0.5).all()
    assert (first == second).all()
    assert (first != other).any()


@needs_mnist
def test_the_set_is_mnist_with_noise() -> None:
    """The same labels, images of the same range, and the clean image is still in it."""
    noisy, clean = load_data("noisy-mnist:test", limit=500), mnist.load_mnist("test")
    assert (noisy.y == clean.y[:500]).all()
    assert 0 <= noisy.x.min() < noisy.x.max() <= 1
    assert np.corrcoef(noisy.x.mean(axis=0).ravel(), clean.x[:500].mean(axis=0).ravel())[0, 1] > 0.95
