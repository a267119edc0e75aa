"""MNIST in its official format: four gzipped IDX files, checked by hash.

50,000 of the 60,000 training images are for training and 10,000 for calibration, by `SPLIT_SEED`; the 10,000 test images are for final
figures only. Inputs are float32 [n, 1, 28, 28], pixel / 255.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeexit.data.dataset import Dataset, make_dataset
from edgeexit.data.download import SetFile, find_data_folder, verify_file
from edgeexit.data.splits import Indices, split_counts
from edgeexit.errors import InputError

SPLIT_SEED = 2016
COUNTS = {"train": 50_000, "calibration": 10_000}

FOLDER = "mnist"
_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
FILES = {
    key: SetFile(f"{key}-ubyte.gz", _URL + f"{key}-ubyte.gz", sha256)
    for key, sha256 in {
        "train-images-idx3": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    }.items()
}


def load_mnist(part: str) -> Dataset:
    """One part of MNIST: `train`, `calibration` or `test`.

    Raises:
        InputError: a file is missing or is not the official one.
    """
    pixels, labels = load_mnist_pixels(part)
    return make_dataset(f"mnist:{part}", pixels.astype(np.float32) / np.float32(255), labels)


def load_mnist_pixels(part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pixels [n, 1, 28, 28] and labels [n] of one part.

    Raises:
        InputError: a file is missing or is not the official one.
    """
    stem = "t10k" if part == "test" else "train"
    images, labels = (_read(f"{stem}-{kind}") for kind in ("images-idx3", "labels-idx1"))
    if part != "test":
        where = make_mnist_split()[part]
        images, labels = images[where], labels[where]
    return images[:, None], labels


def make_mnist_split() -> dict[str, Indices]:
    """Places of each part among the 60,000 training images."""
    return dict(zip(COUNTS, split_counts(60_000, SPLIT_SEED, list(COUNTS.values())), strict=True))


def _read(key: str) -> NDArray[np.uint8]:
    return read_idx(verify_file("mnist", find_data_folder() / FOLDER, FILES[key]))


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An array of bytes from a gzipped IDX file: 0, 0, type 8, rank, big-endian sizes, then the bytes.

    Raises:
        InputError: not such a file, or it ends early.
    """
    try:
        raw = gzip.decompress(path.read_bytes())
        zero, kind, rank = struct.unpack_from(">HBB", raw)
        shape = struct.unpack_from(f">{rank}I", raw, 4)
    except (OSError, EOFError, struct.error) as error:
        msg = f"{path} is not a gzipped IDX file: {error}"
        raise InputError(msg) from error
    body = raw[4 + 4 * rank :]
    if zero != 0 or kind != 8 or len(body) != int(np.prod(shape)):
        msg = f"{path}: IDX header says type {kind} and shape {list(shape)}, {len(body)} bytes follow"
        raise InputError(msg)
    return np.frombuffer(body, np.uint8).reshape(shape)
