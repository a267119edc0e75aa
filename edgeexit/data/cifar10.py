"""CIFAR-10 in its official binary format: five training batches and a test batch, checked by hash.

40,000 of the 50,000 training images are for training and 10,000 for calibration, by `SPLIT_SEED`; the 10,000 test images are for final
figures only. Inputs are float32 [n, 3, 32, 32]: (pixel / 255 - mean) / standard deviation of each colour over the training images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeexit.data.dataset import Dataset, Floats, make_dataset
from edgeexit.data.download import SetFile, find_data_folder, verify_file
from edgeexit.data.splits import Indices, split_counts
from edgeexit.errors import InputError

SPLIT_SEED = 2016
COUNTS = {"train": 40_000, "calibration": 10_000}
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

MEAN = np.array([0.4914, 0.4822, 0.4465], np.float32)
STD = np.array([0.2470, 0.2435, 0.2616], np.float32)
"""Mean of the 50,000 training images for red, green, blue, in units of full brightness."""

FOLDER = "cifar-10-batches-bin"
_ARCHIVE = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_SHA256 = {
    "data_batch_1": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
FILES = {key: SetFile(f"{key}.bin", _ARCHIVE, sha256, member=f"{FOLDER}/{key}.bin") for key, sha256 in _SHA256.items()}

_RECORD = 1 + 3 * 32 * 32
"""Bytes of one image: its label, then the red, green and blue planes row by row."""


def load_cifar10(part: str) -> Dataset:
    """One part of CIFAR-10: `train`, `calibration` or `test`.

    Raises:
        InputError: a file is missing or is not the official one.
    """
    pixels, labels = load_cifar10_pixels(part)
    return make_dataset(f"cifar10:{part}", standardize(pixels), labels)


def load_cifar10_pixels(part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pixels [n, 3, 32, 32] and labels [n] of one part.

    Raises:
        InputError: a file is missing or is not the official one.
    """
    keys = ["test_batch"] if part == "test" else [f"data_batch_{i}" for i in range(1, 6)]
    folder = find_data_folder() / FOLDER
    records = np.concatenate([read_batch(verify_file("cifar10", folder, FILES[key])) for key in keys])
    if part != "test":
        records = records[make_cifar10_split()[part]]
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


def make_cifar10_split() -> dict[str, Indices]:
    """Places of each part among the 50,000 training images, in the order of the batches."""
    return dict(zip(COUNTS, split_counts(50_000, SPLIT_SEED, list(COUNTS.values())), strict=True))


def standardize(images: NDArray[np.uint8]) -> Floats:
    """Images [n, 3, 32, 32] of bytes as the inputs that the networks here are trained on."""
    scale, shift = 1 / (255 * STD), MEAN / STD
    return images.astype(np.float32) * scale[:, None, None].astype(np.float32) - shift[:, None, None]


def read_batch(path: Path) -> NDArray[np.uint8]:
    """Records [n, 3073] of one file: a label byte and 3,072 pixel bytes each.

    Raises:
        InputError: the file does not hold whole records.
    """
    raw = np.frombuffer(path.read_bytes(), np.uint8)
    if len(raw) == 0 or len(raw) % _RECORD:
        msg = f"{path} has {len(raw)} bytes, which is not a whole number of CIFAR-10 records of {_RECORD}"
        raise InputError(msg)
    return raw.reshape(-1, _RECORD)
