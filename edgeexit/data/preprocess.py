"""Preprocessing: how a picture becomes an input of a network. One frozen value, which a bundle keeps and every command applies.

turn upright ─► colour ─► resize ─► crop ─► scale ─► subtract mean, divide by std ─► order of dimensions, dtype
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.errors import InputError

CHANNELS = {"rgb": 3, "bgr": 3, "grey": 1}
LAYOUTS = ("nchw", "nhwc")
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
DTYPES = ("float16", "float32", "float64", "uint8", "int8", "int16", "uint16", "int32", "int64")
_LARGEST_SIDE = 1 << 15


@dataclass(frozen=True)
class Preprocess:
    """Preprocessing of pictures.

    What depends on the network (size, layout, dtype) may be left out; `completed` takes it from the network's input.

    Attributes:
        size: height and width of the input, cut out of the middle after resizing; empty: the whole picture.
        resize: one number: length of the shorter side; two: height and width; empty: pictures keep their size.
        interpolation: interpolation of resizing, by its name in Pillow; reducing is antialiased, as in torchvision.
        channels: `rgb`, `bgr` or `grey`; empty: `rgb` for three channels, `grey` for one.
        scale: factor of pixel values, which are 0 to 255 whatever the depth of the file.
        mean: subtracted after scaling, one number for each channel in the order of `channels`, or one for all; empty: nothing.
        std: divided by after that, likewise.
        layout: `nchw` or `nhwc`; empty: as the network's input has the channels.
        dtype: dtype of the input; empty: the network's.
        upright: whether the rotation that cameras note in EXIF is applied (torchvision does not).

    Example:
        Preprocess(size=(224, 224), resize=(256,), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    """

    size: tuple[int, ...] = ()
    resize: tuple[int, ...] = ()
    interpolation: str = "bilinear"
    channels: str = ""
    scale: float = 1 / 255
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: str = ""
    dtype: str = ""
    upright: bool = True

    def faults(self) -> list[str]:
        """Faults of the values, one clause each."""
        count = CHANNELS.get(self.channels)
        found = [*_find_size_faults("size", self.size, (0, 2)), *_find_size_faults("resize", self.resize, (0, 1, 2))]
        for name, value, known in (
            ("interpolation", self.interpolation, INTERPOLATIONS),
            ("channels", self.channels, ("", *CHANNELS)),
            ("layout", self.layout, ("", *LAYOUTS)),
            ("dtype", self.dtype, ("", *DTYPES)),
        ):
            if value not in known:
                found.append(f"{name} is {value!r}; one of {', '.join(filter(None, known))} is needed")
        if not (math.isfinite(self.scale) and self.scale > 0):
            found.append(f"scale is {self.scale!r}; a number above 0 is needed, such as 1/255")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (0, 1, count or len(values)) or len(values) not in (0, 1, 3):
                found.append(f"{name} has {len(values)} numbers; one for each channel, or one for all, is needed")
            if not all(map(math.isfinite, values)):
                found.append(f"{name} must be finite numbers, not {list(values)}")
        found += self._mean_faults()
        if any(s <= 0 for s in self.std):
            found.append(f"std must be above 0, not {list(self.std)}")
        cut = self.size and self.resize and len(self.resize) == 2
        if cut and any(s > r for s, r in zip(self.size, self.resize, strict=False)):
            found.append(f"size {_format_size(self.size)} does not fit into resize {_format_size(self.resize)}")
        if self.size and len(self.resize) == 1 and min(self.size) > self.resize[0]:
            found.append(
                f"size {_format_size(self.size)} does not fit into pictures whose shorter side is resized to {self.resize[0]}"
            )
        return found

    def _mean_faults(self) -> list[str]:
        """A mean of another scale than the pixels: one of 0 to 255 with pixels of 0 to 1, or the other way round."""
        white = 255 * self.scale
        if not self.mean or not (math.isfinite(white) and white > 0):
            return []
        if max(self.mean) > max(1.0, 2 * white):
            return [
                f"mean is {_join(self.mean)}, the scaled pixels lie between 0 and {white:.4g}: give scale=1 for pixels of 0 to 255"
            ]
        if white >= 255 and 0 < max(self.mean) < 1:
            return [
                f"mean is {_join(self.mean)}, the scaled pixels lie between 0 and {white:.4g}: give scale=1/255 for pixels of 0 to 1"
            ]
        return []

    def complete(self, shape: tuple[int, ...], dtype: str) -> Preprocess:
        """Fill missing values from a network's input.

        Args:
            shape: shape of one sample, three dimensions.
            dtype: dtype of the input.

        Raises:
            InputError: it makes another shape than that, with both.
        """
        layout = self.layout or guess_layout(shape, CHANNELS.get(self.channels))
        depth, height, width = shape if layout == "nchw" else (shape[2], shape[0], shape[1])
        channels = self.channels or {1: "grey", 3: "rgb"}.get(depth, "")
        faults = []
        if CHANNELS.get(channels) != depth:
            faults.append(
                f"pictures have 1 or 3 channels ({channels or 'grey or rgb'}), the input has {depth} in {layout}"
            )
        if self.size and self.size != (height, width):
            faults.append(f"the size is {_format_size(self.size)}, the input has {height}x{width}")
        if self.dtype and self.dtype != dtype:
            faults.append(f"the dtype is {self.dtype}, the input has {dtype}")
        if any(len(values) not in (0, 1, depth) for values in (self.mean, self.std)):
            faults.append(f"mean and std need 1 or {depth} numbers")
        if faults:
            msg = f"the preprocessing does not fit the network's input {dtype}{list(shape)}: {'; '.join(faults)}."
            raise InputError(msg)
        raw = np.dtype(dtype).kind in "iu" and self.scale == 1 / 255 and not self.mean and not self.std
        scale = 1.0 if raw else self.scale  # a network that takes whole numbers takes pixels as they are
        ready = replace(self, size=(height, width), channels=channels, layout=layout, dtype=dtype, scale=scale)
        _refuse_overflow(ready)
        return ready

    def apply(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Pixels [height, width, channels], 0 to 255 in RGB or grey, already resized and cropped, as one sample of the input."""
        values = pixels[..., ::-1] if self.channels == "bgr" else pixels
        if self.dtype and np.dtype(self.dtype).kind in "iu" and self.scale == 1 and not self.mean and not self.std:
            sample = np.rint(values).astype(self.dtype)
        else:
            sample = self._scale_values(values.astype(np.float32))
        return np.ascontiguousarray(sample.transpose(2, 0, 1) if self.layout != "nhwc" else sample)

    def _scale_values(self, values: NDArray[np.float32]) -> NDArray[Any]:
        # x / 255 rounds otherwise than x * (1 / 255), and training divides
        scaled = values / np.float32(255) if self.scale == 1 / 255 else values * np.float32(self.scale)
        if self.mean:
            scaled = scaled - np.array(self.mean, np.float32)
        if self.std:
            scaled = scaled / np.array(self.std, np.float32)
        dtype = np.dtype(self.dtype or "float32")
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            scaled = np.clip(np.rint(scaled), limits.min, limits.max)
        return np.asarray(scaled, dtype)

    def __str__(self) -> str:
        """One line of text."""
        parts = [
            f"resize {_format_size(self.resize)}{' (shorter side)' if len(self.resize) == 1 else ''} {self.interpolation}"
        ]
        parts = [*(parts if self.resize else []), *([f"crop {_format_size(self.size)}"] if self.size else [])]
        parts.append(self.channels or "channels as the network has them")
        parts.append("pixels / 255" if self.scale == 1 / 255 else f"pixels × {self.scale:.6g}")
        parts += [
            f"{n} {', '.join(f'{v:g}' for v in values)}"
            for n, values in (("mean", self.mean), ("std", self.std))
            if values
        ]
        parts += [text for text in (self.layout.upper(), self.dtype) if text]
        return "; ".join([*parts, *([] if self.upright else ["EXIF rotation ignored"])])


UNIT_RANGE = Preprocess()
"""Pixels / 255 and nothing else."""


def guess_layout(shape: tuple[int, ...], channels: int | None = None) -> str:
    """Where an input of three dimensions has its channels: first where that number fits there, else last."""
    fits = (channels,) if channels else (1, 3)
    return "nhwc" if shape[0] not in fits and shape[2] in fits else "nchw"


def _find_size_faults(name: str, value: tuple[int, ...], lengths: tuple[int, ...]) -> list[str]:
    if len(value) in lengths and all(1 <= v <= _LARGEST_SIDE for v in value):
        return []
    wanted = "height x width, such as 224x224" if name == "size" else "one number (the shorter side) or height x width"
    return [f"{name} is {_format_size(value)}; {wanted}, is needed"]


def _refuse_overflow(how: Preprocess) -> None:
    """Raise InputError where black or white lies beyond an input of whole numbers, or both become the same number."""
    kind = np.dtype(how.dtype)
    if kind.kind not in "iu":
        return
    means, stds = np.array(how.mean or (0.0,)), np.array(how.std or (1.0,))
    black, white = (np.rint((value * how.scale - means) / stds) for value in (0, 255))
    limits = np.iinfo(kind)
    if black.min() < limits.min or white.max() > limits.max or (white - black).min() < 2:
        advice = "give scale=1,mean=128" if kind == np.int8 else "give scale=1 without mean and std"
        msg = (
            f"pictures become numbers from {black.min():g} to {white.max():g}, the network takes {how.dtype}, {limits.min} to "
            f"{limits.max}: {advice}, or what training did."
        )
        raise InputError(msg)


def _join(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{n:g}" for n in numbers)


def _format_size(numbers: tuple[int, ...]) -> str:
    return "x".join(map(str, numbers))
