"""Noisy MNIST: MNIST with Gaussian noise, then salt and pepper.

Pimpley and Indulkar ("Exploring Sophisticated Loss Functions for Early Prediction", 2017, section 4) add both to make MNIST harder and
print the strength of neither. Ours: standard deviation 0.5 of the range of pixels, 10 % salt, 10 % pepper. Each part has its own seed, so
that an image has the same noise each time it is read.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeexit.data.dataset import Dataset, make_dataset
from edgeexit.data.mnist import load_mnist_pixels

SIGMA, SALT, PEPPER = 0.5, 0.1, 0.1
SEEDS = {"train": 2017, "calibration": 2018, "test": 2019}


def load_noisy_mnist(part: str) -> Dataset:
    """One part of MNIST (`train`, `calibration` or `test`) with noise: x float32 [n, 1, 28, 28] in [0, 1], y int64 [n].

    Raises:
        InputError: a file is missing or is not the official one.
    """
    pixels, labels = load_mnist_pixels(part)
    images = pixels.astype(np.float32) / np.float32(255)
    return make_dataset(f"noisy-mnist:{part}", add_noise(images, SEEDS[part]), labels)


def add_noise(
    images: NDArray[np.float32], seed: int, *, sigma: float = SIGMA, salt: float = SALT, pepper: float = PEPPER
) -> NDArray[np.float32]:
    """Gaussian noise, then pixels that become 1 or 0, clipped to the range of pixels; a copy.

    Args:
        images: in [0, 1], any shape.
        seed: of the noise.
        sigma: standard deviation of the Gaussian noise.
        salt: share of the pixels that become 1.
        pepper: share that become 0.

    Example:
        >>> noisy = add_noise(np.full((100, 28, 28), 0.5, np.float32), seed=0, sigma=0.0)
        >>> [round(float((noisy == value).mean()), 2) for value in (0.0, 0.5, 1.0)]
        [0.1, 0.8, 0.1]
    """
    rng = np.random.default_rng(seed)
    noisy: NDArray[np.float32] = images + np.float32(sigma) * rng.standard_normal(images.shape, np.float32)
    chance = rng.random(images.shape, np.float32)
    noisy[chance < salt] = 1.0
    noisy[chance >= 1 - pepper] = 0.0
    np.clip(noisy, 0.0, 1.0, out=noisy)
    return noisy
