"""Pictures as data: a folder with one sub-folder per class, a folder of pictures, or one picture.

Without a network the preprocessing is pixels / 255 as float32 [3, height, width] ([1, height, width] where all are grey), turned upright
as EXIF says. With one it is what the network's bundle, or the user, says; what is not known is not guessed (`open_pictures`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeexit.data.classes import assign_class_numbers, clean_name, warn
from edgeexit.data.dataset import Dataset
from edgeexit.data.model import InputSpec, ModelInfo
from edgeexit.data.picture import read_picture, read_picture_kind
from edgeexit.data.picture_folders import list_pictures
from edgeexit.data.preprocess import UNIT_RANGE, Preprocess
from edgeexit.errors import InputError
from edgeexit.util.arguments import make_printable
from edgeexit.util.units import bytes_, format_count

_MOST_SHOWN = 4


@dataclass(frozen=True)
class ImageFiles:
    """Pictures on disk, read when asked.

    Attributes:
        name: name of the folder or file, for messages.
        files: files in order: by class, then by path.
        shown: each as text, from the folder on.
        labels: one per file; empty where there are no classes.
        class_names: class names in the order of the labels; empty where they are not all known.
        how: each is prepared, completed for the input.
        spec: the input.
    """

    name: str
    files: tuple[Path, ...]
    shown: tuple[str, ...]
    labels: tuple[int, ...]
    class_names: tuple[str, ...]
    how: Preprocess
    spec: InputSpec

    def __len__(self) -> int:
        return len(self.files)

    def take(self, places: Sequence[int]) -> ImageFiles:
        """The pictures at these places, in this order."""
        return replace(
            self,
            files=tuple(self.files[i] for i in places),
            shown=tuple(self.shown[i] for i in places),
            labels=tuple(self.labels[i] for i in places if self.labels),
        )

    def read(self, start: int = 0, stop: int | None = None) -> Dataset:
        """Those of the files from `start` up to `stop`, each read once into its place.

        Raises:
            InputError: one cannot be read (it is named), or all together do not fit into memory.
        """
        files = self.files[start:stop]
        shape = (len(files), *self.spec.shape)
        self._refuse_too_large(shape)
        try:
            inputs = np.empty(shape, self.spec.dtype)
            for i, file in enumerate(files):
                inputs[i] = read_picture(file, self.how)
        except MemoryError as error:
            raise self._make_size_error(shape) from error
        labels = np.array(self.labels[start:stop], np.int64) if self.labels else None
        return Dataset(self.name, inputs, labels, self.shown[start:stop], self.class_names)

    def _refuse_too_large(self, shape: tuple[int, ...]) -> None:
        free = _read_free_memory()
        if free is not None and np.dtype(self.spec.dtype).itemsize * np.prod(shape, dtype=np.float64) > free:
            raise self._make_size_error(shape)

    def _make_size_error(self, shape: tuple[int, ...]) -> InputError:
        needed = bytes_(float(np.dtype(self.spec.dtype).itemsize * np.prod(shape, dtype=np.float64)))
        msg = (
            f"{self.name} does not fit into memory: {format_count(shape[0], 'picture')} as {self.spec} take {needed}. "
            "Give a smaller folder."
        )
        return InputError(msg)


def read_image_folder(folder: Path) -> Dataset:
    """Every picture of `folder/<class>/`, labels numbered in the order of the class names; or of `folder/` itself, without labels.

    Raises:
        InputError: no pictures, pictures of several sizes, or one that cannot be read.
        MissingExtra: Pillow is not installed.
    """
    return open_pictures(folder, None).read()


def open_pictures(path: Path, model: ModelInfo | None, *, strict: bool = False) -> ImageFiles:
    """The pictures at a path, known to suit a network; none is decoded yet.

    Args:
        path: a folder or one file.
        model: what the network expects; None takes pixels / 255 and the size of the pictures.
        strict: raise an error where the preprocessing, or the numbers of the classes, are not known, instead of a warning.

    Raises:
        InputError: no pictures; a network without a picture's input; what is not known, with `strict`.
        MissingExtra: Pillow is not installed.
    """
    name = make_printable(path)
    known = frozenset(clean_name(n).casefold() for n in (model.class_names if model is not None else ()))
    found = list_pictures(path, name, known)
    spec, how = (
        _make_default_preprocess(found.files, name) if model is None else _infer_input(model, name, strict=strict)
    )
    numbers, class_names = (
        assign_class_numbers(found.folders, model, name, strict=strict)
        if found.folders
        else ({}, model.class_names if model else ())
    )
    every = ImageFiles(name, found.files, found.shown, (), class_names, how, spec)
    return number_pictures(every, [numbers[c] for c in found.classes])


def number_pictures(pictures: ImageFiles, labels: Sequence[int]) -> ImageFiles:
    """Pictures with these labels, one each or none at all, in the order of the labels, then of their paths."""
    order = range(len(pictures))
    labelled = replace(pictures, labels=tuple(labels), shown=tuple(map(make_printable, pictures.shown)))
    return labelled.take(sorted(order, key=lambda i: labels[i] if labels else 0))  # stable: by path within a class


def _infer_input(model: ModelInfo, name: str, *, strict: bool) -> tuple[InputSpec, Preprocess]:
    """The network's input, and how pictures are prepared for it.

    Raises:
        InputError: the network takes no pictures, the preprocessing does not fit it, or, with `strict`, is not known.
    """
    spec = model.image_input
    if spec is None:
        msg = f"{name} holds pictures, but the network takes {', '.join(map(str, model.inputs))}: give the inputs as an .npz."
        raise InputError(msg)
    how = model.preprocess
    if how is None and spec.dtype != "uint8":  # 8-bit pixels are as they are
        advice = (
            "Say how the network's training images were prepared, as --preprocess imagenet, --preprocess unit (pixels / 255),"
            " --preprocess mean=0.5,std=0.25 or the configuration file that came with the network; edgeexit compile --preprocess keeps it."
        )
        if strict:
            msg = f"{name} holds pictures, and {model.name} records no preprocessing for them. {advice}"
            raise InputError(msg)
        warn(
            f"{model.name} does not say how pictures are prepared for the network; {name} is read as pixels / 255 without"
            f" normalisation, and the predictions are wrong if training did otherwise. {advice}"
        )
    return spec, (how or UNIT_RANGE).complete(spec.shape, spec.dtype)


def _make_default_preprocess(files: Sequence[Path], name: str) -> tuple[InputSpec, Preprocess]:
    """Pixels / 255, in the size that all pictures have."""
    kinds = [read_picture_kind(f) for f in files]
    size = find_common_size(files, [size for _, size in kinds], name)
    spec = InputSpec("x", "float32", (1 if all(grey for grey, _ in kinds) else 3, *size))
    return spec, replace(UNIT_RANGE, layout="nchw").complete(spec.shape, spec.dtype)


def find_common_size(files: Sequence[Path], sizes: Sequence[tuple[int, int]], name: str) -> tuple[int, int]:
    """Height and width that all pictures have."""
    by_size = {size: f for f, size in zip(reversed(files), reversed(sizes), strict=True)}
    if len(by_size) > 1:
        listed = "; ".join(f"{h}x{w} as {f.name}" for (h, w), f in sorted(by_size.items())[:_MOST_SHOWN])
        msg = (
            f"the images of {name} have several sizes ({make_printable(listed)}); resize them as they were for training"
        )
        raise InputError(msg)
    return sizes[0]


def _read_free_memory() -> float | None:
    """Bytes that the system says are free for use; None where it does not say."""
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as lines:
            found = next(line for line in lines if line.startswith("MemAvailable"))
        return float(found.split()[1]) * 1024
    except (OSError, StopIteration, ValueError, IndexError):
        return None
