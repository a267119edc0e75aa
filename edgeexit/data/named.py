"""Data by a short text: `digits:test`, `mnist:calibration`, `samples.npz`, a folder of images."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from edgeexit.data import cifar10, mnist
from edgeexit.data.dataset import Dataset
from edgeexit.data.digits import digits
from edgeexit.data.download import SetFile, data_folder, fetch
from edgeexit.data.images import read_image_folder
from edgeexit.data.npz import read_npz
from edgeexit.errors import InputError, did_you_mean
from edgeexit.progress import Progress, silent

Loader: TypeAlias = Callable[[str], Dataset]
"""The name of a part in, that part of the set out."""

SETS: dict[str, Loader] = {"digits": digits, "mnist": mnist.mnist, "cifar10": cifar10.cifar10}
"""Every named set. A new one is a loader and a line here."""

DOWNLOADS: dict[str, tuple[str, tuple[SetFile, ...]]] = {
    "mnist": (mnist.FOLDER, tuple(mnist.FILES.values())),
    "cifar10": (cifar10.FOLDER, tuple(cifar10.FILES.values())),
}
"""Folder and files of the sets that are fetched."""

PARTS = ("train", "calibration", "test")


def load_data(spec: str | os.PathLike[str]) -> Dataset:
    """Read data.

    Args:
        spec: `<set>:<part>` of a named set (digits, mnist, cifar10; train, calibration, test), the path of an .npz (`x`, `y`; never
            unpickled), or an image folder with one sub-folder per class. `digits:calibration` and `digits:test` are part of
            edgeexit; MNIST and CIFAR-10 are looked for under $EDGEEXIT_DATA, or ~/.cache/edgeexit where it is not set.

    Raises:
        InputError: nothing of that name or at that path, or any fault of what is there.
    """
    text = os.fspath(spec)
    path = Path(text)
    try:
        if path.is_dir():
            return read_image_folder(path)
        if path.suffix == ".npz" or path.is_file():
            return read_npz(path)
    except OSError as error:
        msg = f"{error.filename or text} cannot be read ({error.strerror})"
        raise InputError(msg) from error
    return _named(text)


def fetch_set(name: str, progress: Progress = silent) -> None:
    """Download what is missing of a named set, into $EDGEEXIT_DATA or ~/.cache/edgeexit; sets that need no download are ready.

    Raises:
        InputError: no network, or a file that is not the official one.
    """
    if name in DOWNLOADS:
        folder, files = DOWNLOADS[name]
        fetch(data_folder() / folder, files, progress)


def _named(text: str) -> Dataset:
    name, _, part = text.partition(":")
    if name not in SETS:
        known = ", ".join(f"{s}:{p}" for s in SETS for p in PARTS)
        hint = did_you_mean(name, SETS)
        msg = f"no data at {text!r}: not an .npz, not a folder, and no set of that name.{hint} Sets: {known}."
        raise InputError(msg)
    if part not in PARTS:
        msg = f"{text!r} does not say which part of {name}.{did_you_mean(part, PARTS)} Write {', '.join(f'{name}:{p}' for p in PARTS)}."
        raise InputError(msg)
    return SETS[name](part)
