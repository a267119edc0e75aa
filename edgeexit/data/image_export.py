"""Named sets as folders of PNGs: what a user's own images look like to edgeexit, and a way to try it with known ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeexit.data import cifar10, mnist
from edgeexit.data.named import PARTS
from edgeexit.data.picture import import_pillow
from edgeexit.errors import InputError
from edgeexit.util.progress import Progress, show_nothing

LoadPixels: TypeAlias = Callable[[str], "tuple[NDArray[np.uint8], NDArray[np.uint8]]"]
"""The name of a part in, its pixels [n, channels, height, width] and labels [n] out."""


@dataclass(frozen=True)
class ImageSet:
    """A named set that is images.

    Attributes:
        load: gives the pixels and labels of a part.
        classes: class names in the order of the labels.
        preprocess: what makes inputs of the images, as the networks here are trained on them.
    """

    load: LoadPixels
    classes: tuple[str, ...]
    preprocess: str


_CIFAR10 = ",".join(
    f"{key}={','.join(f'{v:.4f}' for v in values)}" for key, values in (("mean", cifar10.MEAN), ("std", cifar10.STD))
)

IMAGE_SETS: dict[str, ImageSet] = {
    "mnist": ImageSet(mnist.load_mnist_pixels, tuple("0123456789"), "unit"),
    "cifar10": ImageSet(cifar10.load_cifar10_pixels, cifar10.CLASSES, _CIFAR10),
}
"""Every set that is images, by name."""

_EVERY = 500  # images between two looks at the progress


def write_image_folder(name: str, folder: Path, *, limit: int | None = None, progress: Progress = show_nothing) -> int:
    """Write a named set as `folder/<part>/<class>/<number>.png`, and return how many images.

    Args:
        name: one of `IMAGE_SETS`.
        folder: made if missing; it must be empty.
        limit: images of each part, the first ones; all of them if None.
        progress: watches the images.

    Raises:
        InputError: the folder holds something, cannot be written, or the set is not there.
        MissingExtra: Pillow is not installed.
    """
    images = IMAGE_SETS[name]
    import_pillow()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            msg = f"{folder} is not empty; images are written into a new folder"
            raise InputError(msg)
        return sum(_write_part(images, part, folder / part, limit, progress) for part in PARTS)
    except OSError as error:
        msg = f"images cannot be written into {folder}: {error.strerror or error}"
        raise InputError(msg) from error


def _write_part(images: ImageSet, part: str, folder: Path, limit: int | None, progress: Progress) -> int:
    pixels, labels = (array[:limit] for array in images.load(part))
    for name in images.classes:
        (folder / name).mkdir(parents=True)
    pillow = import_pillow()
    for i, (image, label) in enumerate(zip(pixels, labels.tolist(), strict=True)):
        if i % _EVERY == 0:
            progress(f"write {folder}", i, len(pixels))
        grey = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
        pillow.fromarray(grey).save(folder / images.classes[label] / f"{i:05}.png")
    progress(f"write {folder}", len(pixels), len(pixels))
    return len(pixels)
