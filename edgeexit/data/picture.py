"""One picture from a file: pixels as a network's preprocessing wants them, or an error that names the file.

Grey pictures of 16 bits are brought to 0..255 in full (not clipped); a palette is looked up; transparency is dropped, as torchvision does;
CMYK and other colour spaces become RGB; the rotation noted in EXIF is applied unless the preprocessing says otherwise.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeexit.data.preprocess import Preprocess
from edgeexit.errors import InputError, MissingExtra
from edgeexit.util.arguments import check_regular_file, make_printable

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff", ".gif",
)  # fmt: skip

_GREY = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F"})
_DEEP = 65535 / 255  # 16 bits to 8
_MOST_PIXELS = 1 << 28  # of a resized picture; a line of pixels may become any number

T = TypeVar("T")


def is_picture(path: Path) -> bool:
    """Whether a file has the suffix of a picture that can be read."""
    return path.suffix.lower() in SUFFIXES


def read_picture_kind(path: Path) -> tuple[bool, tuple[int, int]]:
    """Whether a picture is grey, and its height and width when it stands upright; from the head of the file alone.

    Raises:
        InputError: it cannot be read.
        MissingExtra: Pillow is not installed.
    """
    return _open_picture(path, lambda image: (_is_grey(image), _read_upright_size(image)))


def find_picture_kind(path: Path) -> tuple[bool, tuple[int, int]] | None:
    """What `read_picture_kind` tells; None where the file cannot be read."""
    try:
        return read_picture_kind(path)
    except InputError:
        return None


def read_picture(path: Path, how: Preprocess) -> NDArray[Any]:
    """One sample of a network's input; see `Preprocess.completed` for what must be known before.

    Raises:
        InputError: it is no file, cannot be read, is larger than Pillow takes, or has another size where nothing resizes it.
        MissingExtra: Pillow is not installed.
    """
    return _open_picture(path, lambda image: prepare(image, how))


def prepare(image: Image, how: Preprocess) -> NDArray[Any]:
    """An opened picture as one sample."""
    if how.upright:
        from PIL import ImageOps

        image = ImageOps.exif_transpose(image)
    image, factor = _convert_colours(image, grey=how.channels == "grey")
    image = _crop(_resize(image, how), how)
    pixels = np.atleast_3d(np.asarray(image))
    return how.apply(pixels if factor == 1 else pixels / np.float32(factor))


def import_pillow() -> ModuleType:
    """Pillow's Image module.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra("Pillow", "images") from error
    return Image


def _open_picture(path: Path, use: Callable[[Image], T]) -> T:
    """Apply `use` to a picture; every fault of the file becomes one error that names it."""
    opener = import_pillow()
    check_regular_file(path)
    try:
        with _silence_pillow(), opener.open(path) as image:
            return use(image)
    except MissingExtra:
        raise
    except MemoryError as error:
        msg = f"the image {make_printable(path)} does not fit into memory."
        raise InputError(msg) from error
    except Exception as error:  # Pillow's plugins let through what their parsers raise: struct.error, SyntaxError, ...
        msg = f"cannot read the image {make_printable(path)}: {_explain_error(error, path)}"
        raise InputError(msg) from error


@contextmanager
def _silence_pillow() -> Iterator[None]:
    """No warnings of odd metadata and of sizes below Pillow's limit.

    The filters of warnings belong to all threads: a thread that sets them back may undo what another one set. `silence_pillow_in_threads`
    serves those.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def silence_pillow_in_threads() -> None:
    """Turn off Pillow's own warnings, and no others, for the rest of the process; call it before threads read pictures."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _explain_error(error: Exception, path: Path) -> str:
    text = make_printable(str(error).replace(repr(str(path)), "the file").replace(str(path), "the file"))
    kind = type(error).__name__
    if kind == "DecompressionBombError":
        return f"it is too large ({text}); resize it, or take it out"
    if kind == "UnidentifiedImageError":
        return "it is empty or of no known format; repair it, or take it out"
    return (error.strerror if isinstance(error, OSError) else None) or text or kind


_ORIENTATION = 0x0112  # of EXIF
_ON_ITS_SIDE = (5, 6, 7, 8)


def _read_upright_size(image: Image) -> tuple[int, int]:
    turned = image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE
    return (image.width, image.height) if turned else (image.height, image.width)


def _is_grey(image: Image) -> bool:
    if image.mode == "P":
        return _is_grey_palette(image)
    return image.mode in _GREY


def _is_grey_palette(image: Image) -> bool:
    """A palette of greys only, as many PNGs of masks and scans have."""
    colours = np.array(image.getpalette() or [0, 0, 0]).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


def _convert_colours(image: Image, *, grey: bool) -> tuple[Image, float]:
    """The picture in grey or RGB, and the factor of its values over 0..255."""
    if image.mode.startswith("I") or image.mode == "F":
        return _convert_deep_grey(image, grey=grey)
    if image.mode in ("P", "PA") and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("L" if grey else "RGB"), 1.0


def _convert_deep_grey(image: Image, *, grey: bool) -> tuple[Image, float]:
    """16-bit grey as numbers with a fraction, which Pillow resizes without a loss; RGB repeats it in three channels."""
    wide = image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM"))
    if wide:
        msg = f"its pixels are 32-bit ({image.mode}), whose range is not known: save it with 8 or 16 bits"
        raise InputError(msg)
    values = np.asarray(image).astype(np.float32)
    opener = import_pillow()
    if grey:
        return opener.fromarray(values), _DEEP
    eight = np.rint(values / _DEEP).astype(np.uint8)
    return opener.fromarray(np.repeat(eight[..., None], 3, axis=2)), 1.0


def _resize(image: Image, how: Preprocess) -> Image:
    """As torchvision's Resize: two numbers are height and width; one is the shorter side, the longer one keeps the ratio, rounded down."""
    if not how.resize:
        return image
    if len(how.resize) == 2:
        height, width = how.resize
    else:
        short, long = sorted((image.width, image.height))
        other = max(1, int(how.resize[0] * long / short))
        height, width = (how.resize[0], other) if image.height <= image.width else (other, how.resize[0])
    if height * width > _MOST_PIXELS:
        msg = f"it would have {height}x{width} pixels with its shorter side resized to {min(height, width)}; crop it, or take it out"
        raise InputError(msg)
    method = getattr(import_pillow().Resampling, how.interpolation.upper())
    return image if image.size == (width, height) else image.resize((width, height), method)


def _crop(image: Image, how: Preprocess) -> Image:
    """The middle, as torchvision's CenterCrop has it; without resizing the picture must have the size already.

    Raises:
        InputError: it is smaller, or nothing says how it is brought to that size.
    """
    if not how.size or (image.height, image.width) == how.size:
        return image
    height, width = how.size
    if not how.resize or image.height < height or image.width < width:
        msg = (
            f"it has {image.height}x{image.width} pixels (height x width), the network takes {height}x{width}: choose how to"
            f" resize it, for example --preprocess resize={height}x{width} or resize={max(height, width) * 8 // 7},size={height}x{width}"
        )
        raise InputError(msg)
    top, left = round((image.height - height) / 2), round((image.width - width) / 2)
    return image.crop((left, top, left + width, top + height))
