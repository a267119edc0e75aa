"""Arrays in any common form, converted to what a network's input declares: dtype and order of dimensions, cast only where nothing is lost.

* anything that NumPy reads, tensors of torch among it (with or without gradient, on any device)
* floats are rounded to the input's float type; a value beyond its range is an error
* whole numbers go to any type that holds each of them; a picture's pixels do not become floats unscaled
* channels last or first, and a missing channel of one, are brought into the input's order where that is unambiguous
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.data.model import InputSpec
from edgeexit.data.preprocess import Preprocess
from edgeexit.errors import InputError

_CHANNELS = (1, 3, 4)
_CHUNK = 1 << 22  # numbers checked at a time, so that a check of gigabytes takes megabytes


def as_array(value: object, what: str) -> NDArray[Any]:
    """An array of numbers or text from anything that NumPy reads.

    Raises:
        InputError: it cannot be read as one, or part of it is masked.
    """
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            name = what.rpartition(": ")[2]
            msg = (
                f"{what} is masked, and masked values would be used as if they were data: fill them ({name}.filled(0))."
            )
            raise InputError(msg)
        return np.asarray(value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(_move_to_host(value))
    except Exception as error:  # another library's __array__ or cpu() may raise anything
        msg = f"{what} cannot be read as an array ({type(error).__name__}: {error}): give a NumPy array."
        raise InputError(msg) from error


def _move_to_host(value: Any) -> Any:
    """A tensor of torch without its gradient, in main memory, in a type that NumPy has."""
    if not (hasattr(value, "detach") and hasattr(value, "cpu")):
        if isinstance(value, (list, tuple)) and value and all(hasattr(v, "detach") for v in value):
            return [np.asarray(_move_to_host(v)) for v in value]
        return value
    plain = value.detach().cpu()
    return plain.float() if "bfloat16" in str(plain.dtype) else plain


def find_input_faults(key: str, array: NDArray[Any], dimensions: int = 2) -> list[str]:
    """Faults of an array that rule it out for any network: no numbers, no samples, NaN or infinite values."""
    if array.dtype.kind == "U" and array.ndim == 0:
        return [f"{key} is text; to read a file or a named set use edgeexit.data.load_data({str(array)!r})"]
    if array.dtype.kind not in "fiub":
        return [f"{key} is {array.dtype}; numbers are needed"]
    if array.ndim < dimensions:
        return [f"{key} has shape {list(array.shape)}; it needs [samples, ...]"]
    if array.size == 0:
        return [f"{key} is empty, shape {list(array.shape)}"]
    return find_non_finite(key, array) if array.dtype.kind == "f" else []


def find_non_finite(key: str, array: NDArray[Any], limit: float = math.inf) -> list[str]:
    """Samples with NaN or infinite values or, with a finite `limit`, values beyond it."""
    step = max(1, _CHUNK // max(1, math.prod(array.shape[1:])))
    bad = np.zeros(len(array), bool)
    for start in range(0, len(array), step):
        part = array[start : start + step].reshape(min(step, len(array) - start), -1)
        with np.errstate(invalid="ignore"):
            bad[start : start + step] = ~((np.abs(part) <= limit) & np.isfinite(part)).all(axis=1)
    if not bad.any():
        return []
    what = (
        "NaN or infinite values"
        if limit == math.inf
        else f"values beyond {limit:.4g}, the largest of the input's type,"
    )
    return [f"{key} has {what} in {int(bad.sum())} of {len(array)} samples, first in sample {int(bad.argmax())}"]


def as_float32(key: str, array: NDArray[Any]) -> tuple[NDArray[Any], list[str]]:
    """Floats as float32 where the network's type is not known; other numbers as they are."""
    if array.dtype.kind != "f":
        return np.ascontiguousarray(array), []
    return _round_to_dtype(key, array, np.dtype(np.float32))


def fit_array(key: str, array: NDArray[Any], spec: InputSpec) -> tuple[NDArray[Any], list[str]]:
    """An array as a network's input takes it, [n, *spec.shape] of its dtype; or what keeps it from that.

    Args:
        key: its name, for messages.
        array: numbers without NaN.
        spec: spec of the input.
    """
    shaped, faults = _reorder_dimensions(key, array, spec)
    if faults:
        return array, faults
    cast, faults = _convert_dtype(key, shaped, spec)
    return (np.ascontiguousarray(cast), []) if not faults else (array, faults)


def convert_pixels(key: str, array: NDArray[Any], spec: InputSpec, how: Preprocess) -> tuple[NDArray[Any], list[str]]:
    """Pixels 0 to 255 as whole numbers, [n, height, width, 3], [n, 3, height, width] or [n, height, width], prepared as pictures are."""
    ready = how.complete(spec.shape, spec.dtype)
    depth = 1 if ready.channels == "grey" else 3
    last = InputSpec(spec.name, "uint8", (*ready.size, depth))
    pixels, faults = _reorder_dimensions(key, array, last)
    if faults:
        return array, [
            f"{key} has shape {list(array.shape)}, the network's input {spec}; arrays are not resized, and their colours not changed"
        ]
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 255:
        return array, [f"{key} has values from {low} to {high}; whole numbers are taken as pixels, 0 to 255"]
    out = np.empty((len(pixels), *spec.shape), spec.dtype)
    for i, one in enumerate(pixels):
        out[i] = ready.apply(one)
    return out, []


def _reorder_dimensions(key: str, array: NDArray[Any], spec: InputSpec) -> tuple[NDArray[Any], list[str]]:
    """Dimensions in the input's order, where only one order fits."""
    wanted, shape = spec.shape, array.shape[1:]
    if shape == wanted:
        return array, []
    if array.shape == wanted:
        return array[None], []
    if len(wanted) == 3:
        for candidate in _as_pictures(array):
            if candidate.shape[1:] == wanted:
                return candidate, []
    hint = (
        f": use {key}.reshape(-1{''.join(f', {n}' for n in wanted)})" if math.prod(shape) == math.prod(wanted) else ""
    )
    needed = ", ".join(["samples", *map(str, wanted)])
    return array, [f"{key} has shape {list(array.shape)}; input {spec.name!r} must have shape [{needed}]{hint}"]


def _as_pictures(array: NDArray[Any]) -> list[NDArray[Any]]:
    """Pictures in the other order of channels, or with the channel that grey ones lack."""
    if array.ndim == 3:
        return [array[:, None], array[..., None]]
    if array.ndim == 4:
        turned = (array.transpose(0, 3, 1, 2), 1), (array.transpose(0, 2, 3, 1), 3)
        return [candidate for candidate, channels in turned if candidate.shape[channels] in _CHANNELS]
    return []


def _convert_dtype(key: str, array: NDArray[Any], spec: InputSpec) -> tuple[NDArray[Any], list[str]]:
    dtype = np.dtype(spec.dtype)
    if array.dtype == dtype:
        return array, []
    if dtype.kind == "f":
        return _as_float(key, array, dtype, picture=len(spec.shape) == 3)
    if dtype.kind == "b":
        whole = ((array == 0) | (array == 1)).all()
        return (
            (array.astype(bool), [])
            if whole
            else (array, [f"{key} is {array.dtype}, the input bool: 0 and 1 are needed"])
        )
    return _as_whole(key, array, dtype)


def _as_float(key: str, array: NDArray[Any], dtype: np.dtype[Any], *, picture: bool) -> tuple[NDArray[Any], list[str]]:
    if array.dtype.kind == "f":
        return _round_to_dtype(key, array, dtype)
    if picture and array.dtype.kind != "b" and array.size and int(array.max()) > 1:
        return array, [
            f"{key} is {array.dtype} with values up to {int(array.max())}, the network takes {dtype}: say how they are scaled"
            f" (--preprocess), or save them scaled as in training"
        ]
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    if array.dtype.kind == "b" or np.array_equal(cast.astype(np.longdouble), array.astype(np.longdouble)):
        return cast, []
    return array, [f"{key} is {array.dtype} with values that {dtype} does not hold exactly: save it as {dtype}"]


def _round_to_dtype(key: str, array: NDArray[Any], dtype: np.dtype[Any]) -> tuple[NDArray[Any], list[str]]:
    """Rounded to another float type; infinities are errors before this."""
    if array.dtype.itemsize > dtype.itemsize:
        faults = find_non_finite(key, array, float(np.finfo(dtype).max))
        if faults:
            return array, faults
    return np.ascontiguousarray(array, dtype), []


def _as_whole(key: str, array: NDArray[Any], dtype: np.dtype[Any]) -> tuple[NDArray[Any], list[str]]:
    limits = np.iinfo(dtype)
    if array.dtype.kind == "f" and (array != np.floor(array)).any():
        hint = f"; multiply by {limits.max} where they are shares" if dtype == np.uint8 and array.max() <= 1 else ""
        return array, [f"{key} is {array.dtype} with fractions, the network takes {dtype}{hint}"]
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    if low < limits.min or high > limits.max:
        return array, [
            f"{key} has values from {low} to {high}; the network takes {dtype}, {limits.min} to {limits.max}"
        ]
    return array.astype(dtype), []
