"""Data by a short text: `digits:test`, `mnist:calibration`, `samples.npz`, a folder of images."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from edgeexit.data import cifar10, mnist
from edgeexit.data.dataset import Dataset, make_dataset
from edgeexit.data.digits import load_digits_set
from edgeexit.data.download import SetFile, fetch, find_data_folder
from edgeexit.data.images import open_pictures
from edgeexit.data.maxmin_mnist import load_maxmin_mnist
from edgeexit.data.model import ModelInfo
from edgeexit.data.noisy_mnist import load_noisy_mnist
from edgeexit.data.npz import read_npy, read_npz
from edgeexit.data.picture import is_picture
from edgeexit.errors import InputError, did_you_mean
from edgeexit.util.arguments import as_whole, check_regular_file, make_printable
from edgeexit.util.progress import Progress, show_nothing

Loader: TypeAlias = Callable[[str], Dataset]
"""The name of a part in, that part of the set out."""

SETS: dict[str, Loader] = {
    "digits": load_digits_set,
    "mnist": mnist.load_mnist,
    "noisy-mnist": load_noisy_mnist,
    "maxmin-mnist": load_maxmin_mnist,
    "cifar10": cifar10.load_cifar10,
}
"""Every named set. A new one is a loader and a line here."""

DOWNLOADS: dict[str, tuple[str, tuple[SetFile, ...]]] = {
    "mnist": (mnist.FOLDER, tuple(mnist.FILES.values())),
    "noisy-mnist": (mnist.FOLDER, tuple(mnist.FILES.values())),
    "maxmin-mnist": (mnist.FOLDER, tuple(mnist.FILES.values())),
    "cifar10": (cifar10.FOLDER, tuple(cifar10.FILES.values())),
}
"""Folder and files of the sets that are fetched."""

PARTS = ("train", "calibration", "test")


@dataclass(frozen=True)
class DataSource:
    """Data that is read piece by piece.

    Attributes:
        name: name for messages and records.
        count: number of samples.
        read: samples from a first place up to an end; pictures are decoded then.
        class_names: class names in the order of the labels; empty where they are not known.
        pictures: whether samples are picture files.
    """

    name: str
    count: int
    read: Callable[[int, int], Dataset]
    class_names: tuple[str, ...] = ()
    pictures: bool = False


def load_data(
    spec: str | os.PathLike[str], model: ModelInfo | None = None, *, limit: int | None = None, strict: bool = False
) -> Dataset:
    """Read data.

    Args:
        spec: `<set>:<part>` of a named set (digits, mnist, noisy-mnist, maxmin-mnist, cifar10; train, calibration, test), the path of an
            .npz or .npy (never unpickled; `data.npz:test` where a file holds parts; `x.npy,y.npy`), an image folder with one sub-folder
            per class, or one picture. `digits:calibration` and `digits:test` are part of edgeexit; MNIST and CIFAR-10 are looked for
            under $EDGEEXIT_DATA, or ~/.cache/edgeexit where it is not set.
        model: what the network expects, as `edgeexit.runtime.model_info(bundle)` gives it: the inputs are then of its dtypes and
            shapes, and pictures prepared as its bundle says. None: float32, pictures as pixels / 255.
        limit: read this many samples, the first ones.
        strict: raise an error where the preprocessing of pictures, or the numbers of their classes, are not known, instead of a warning.

    Raises:
        InputError: nothing of that name or at that path, or any fault of what is there.

    Warns:
        DataWarning: something that the data's owner should know, such as files that were left out.

    Example:
        load_data("digits:test").x.shape
    """
    most = None if limit is None else as_whole("limit", limit, 1, sys.maxsize)
    source = open_data(spec, model, strict=strict)
    return source.read(0, source.count if most is None else min(most, source.count))


def open_data(spec: str | os.PathLike[str], model: ModelInfo | None = None, *, strict: bool = False) -> DataSource:
    """Find data, to be read piece by piece; see `load_data`. Pictures are not decoded yet, arrays are read whole."""
    text = os.fspath(spec) if isinstance(spec, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text.strip():
        msg = f"data must be a path or the name of a set, such as digits:test, not {spec!r}."
        raise InputError(msg)
    path = Path(text)
    try:
        check_regular_file(path)
        if path.is_dir() or (is_picture(path) and path.is_file()):
            pictures = open_pictures(path, model, strict=strict)
            return DataSource(pictures.name, len(pictures), pictures.read, pictures.class_names, pictures=True)
        return _make_source(_read_arrays(text, path, model))
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        msg = f"{make_printable(str(getattr(error, 'filename', None) or text))} cannot be read ({reason})"
        raise InputError(msg) from error


def _make_source(data: Dataset) -> DataSource:
    return DataSource(data.name, len(data), lambda start, stop: data.take(slice(start, stop)), data.class_names)


def _read_arrays(text: str, path: Path, model: ModelInfo | None) -> Dataset:
    """Data that is read whole: NumPy files and named sets."""
    first, comma, second = text.partition(",")
    if comma and first.strip().lower().endswith(".npy") and not path.is_file():
        if not second.strip():
            msg = f"{make_printable(text)}: give the labels after the comma, as x.npy,y.npy"
            raise InputError(msg)
        return read_npy(Path(first.strip()), Path(second.strip()), model)
    if path.suffix.lower() == ".npy":
        return read_npy(path, None, model)
    file, _, part = text.rpartition(":")
    if file.lower().endswith(".npz") and not path.is_file():
        return read_npz(file, model, part)
    if path.suffix.lower() == ".npz" or path.is_file():
        return read_npz(path, model)
    named = _load_named_set(text)
    return (
        named
        if model is None
        else replace(make_dataset(named.name, named.inputs, named.labels, model), name=named.name)
    )


def fetch_set(name: str, progress: Progress = show_nothing) -> None:
    """Download what is missing of a named set, into $EDGEEXIT_DATA or ~/.cache/edgeexit; sets that need no download are ready.

    Raises:
        InputError: no network, or a file that is not the official one.
    """
    if name in DOWNLOADS:
        folder, files = DOWNLOADS[name]
        fetch(find_data_folder() / folder, files, progress)


def _load_named_set(text: str) -> Dataset:
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
