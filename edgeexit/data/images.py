"""A folder of images as data: one sub-folder per class, in the order of their names.

The preprocessing, which a network must have been trained with for this to make sense: pixels of 0..255 as float32 / 255, channels
first; colour images keep red, green, blue, grey ones their single channel; no resizing, so that all images must have one size.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeexit.data.dataset import Dataset, checked
from edgeexit.errors import InputError, MissingExtra

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm")


def read_image_folder(folder: Path) -> Dataset:
    """Every image of `folder/<class>/`, labels numbered in the order of the class names; or of `folder/` itself, without labels.

    Raises:
        InputError: no images, images of several sizes or modes, or one that cannot be read.
        MissingExtra: Pillow is not installed.
    """
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    files = [(f, label) for label, c in enumerate(classes) for f in _images(c)] or [(f, -1) for f in _images(folder)]
    if not files:
        msg = f"{folder} holds no images ({', '.join(SUFFIXES)}), neither itself nor in sub-folders, one per class"
        raise InputError(msg)
    pixels = [_pixels(f) for f, _ in files]
    shapes = {p.shape: f for p, (f, _) in zip(pixels, files, strict=True)}
    if len(shapes) > 1:
        listed = "; ".join(f"{list(shape)} as {f.name}" for shape, f in sorted(shapes.items())[:4])
        msg = f"the images of {folder} have several shapes ({listed}); resize them as they were for training"
        raise InputError(msg)
    labels = None if files[0][1] < 0 else np.array([label for _, label in files])
    return checked(str(folder), np.stack(pixels), labels)


def _images(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES)


def _pixels(path: Path) -> NDArray[np.float32]:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingExtra("Pillow", "images") from error
    try:
        with Image.open(path) as image:
            mode = "L" if image.mode in ("1", "L", "LA", "I;16") else "RGB"
            array: NDArray[np.float32] = np.asarray(image.convert(mode), np.float32) / np.float32(255)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        msg = f"cannot read the image {path}: {error}"
        raise InputError(msg) from error
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
