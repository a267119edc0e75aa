"""The demo's set: 1,797 real handwritten digits, 8x8 pixels of 0 to 16, brought to the 28x28 inputs of LeNet.

They are the test part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, UCI 1998, CC BY 4.0), as scikit-learn ships
them. Two slices of them, with which no network here was trained, are files of this package; training takes the rest from scikit-learn.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeexit.data.dataset import Dataset, make_dataset
from edgeexit.data.npz import read_npz
from edgeexit.data.splits import split_counts
from edgeexit.errors import InputError, MissingExtra, did_you_mean

ASSETS = Path(__file__).resolve().parent.parent / "assets" / "demo"

SPLIT_SEED = 2016
COUNTS = {"train": 797, "calibration": 500, "test": 500}
"""Half of the small set is kept from training so that the demo's figures are not all noise."""


def find_demo_asset(name: str) -> Path:
    """A file of the demo: `lenet-digits.onnx`, `digits-calibration.npz` or `digits-test.npz`.

    Raises:
        InputError: there is none of that name.
    """
    path = ASSETS / name
    if not path.is_file():
        found = sorted(p.name for p in ASSETS.glob("*")) if ASSETS.is_dir() else []
        msg = f"edgeexit ships no demo file named {name!r}.{did_you_mean(name, found)} Shipped: {', '.join(found) or 'none'}."
        raise InputError(msg)
    return path


def load_digits_set(part: str) -> Dataset:
    """One part of the digits: x float32 [n, 1, 28, 28] in [0, 1], y int64 [n].

    Raises:
        MissingExtra: the training part needs scikit-learn, which brings the images.
    """
    if part == "train":
        return make_digits_part("train")
    shipped = read_npz(find_demo_asset(f"digits-{part}.npz"))
    return Dataset(f"digits:{part}", shipped.inputs, shipped.labels)


def make_digits_part(part: str) -> Dataset:
    """Any part made afresh from scikit-learn's images; the shipped slices were written from this."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtra("scikit-learn", "dev") from error
    images, labels = load_digits(return_X_y=True)
    where = make_digits_split()[part]
    return make_dataset(f"digits:{part}", upscale(images[where].reshape(-1, 8, 8).astype(np.int64)), labels[where])


def make_digits_split() -> dict[str, NDArray[np.int64]]:
    """Places of each part among scikit-learn's 1,797 images."""
    parts = split_counts(sum(COUNTS.values()), SPLIT_SEED, list(COUNTS.values()))
    return dict(zip(COUNTS, parts, strict=True))


def upscale(images: NDArray[np.int64]) -> NDArray[np.float32]:
    """Images [n, 8, 8] of 0..16 as [n, 1, 28, 28] in 0..1: bilinear with half-pixel centres, in integers so that every machine agrees.

    Output pixel i reads the line at (i + 1/2) / 3.5 - 1/2 = (4 i - 5) / 14, held inside 0..7; the weights are fourteenths. The result
    is rounded to 64ths, which float32 holds exactly and a compressed file holds in a third of the space.
    """
    weights = _compute_bilinear_weights()
    sums = weights @ images @ weights.T  # value * 14 * 14 * 16, at most 3136
    grey = (sums * 64 + 1568) // 3136
    return np.asarray(grey[:, None] / 64, np.float32)


def _compute_bilinear_weights() -> NDArray[np.int64]:
    weights = np.zeros((28, 8), np.int64)
    for i in range(28):
        whole, rest = divmod(min(max(4 * i - 5, 0), 7 * 14), 14)
        weights[i, whole] += 14 - rest
        weights[i, min(whole + 1, 7)] += rest
    return weights
