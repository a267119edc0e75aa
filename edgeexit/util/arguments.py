"""Normalise the arguments of public Python functions, or raise a clear error."""

from __future__ import annotations

import math
import operator
import os
import stat
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from numbers import Real
from pathlib import Path

import numpy as np

from edgeexit.errors import InputError


def as_path(what: str, value: object) -> Path:
    """A path.

    Raises:
        InputError: neither text nor a path, or one that is not UTF-8.
    """
    if not isinstance(value, (str, os.PathLike)) or isinstance(os.fspath(value), bytes):
        msg = f"{what} must be a path, not {value!r}."
        raise InputError(msg)
    path = Path(value)
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        msg = (
            f"{what} {make_printable(path)} holds bytes that are not UTF-8, which the runtimes cannot open: rename it."
        )
        raise InputError(msg) from error
    return path


def can_be_file_name(name: str) -> bool:
    """Whether a file can have this name: it holds no NUL, and nothing that UTF-8 cannot write."""
    try:
        return b"\0" not in name.encode()
    except UnicodeEncodeError:
        return False


_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_regular_file(path: Path, error: type[InputError] = InputError) -> None:
    """Raise an error for a pipe, a socket or a device, links followed: reading one may never end. A missing file passes.

    Raises:
        InputError: (or `error`) with what it is instead of a file.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), None)
    if kind is not None:
        msg = f"{make_printable(path)} is {kind}, not a file: copy what it holds into a file and give that."
        raise error(msg)


def path_exists(path: Path) -> bool:
    """Whether there is something at a path; text that cannot be a file name, such as one that is too long, is none."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def check_small(path: Path, most: int) -> None:
    """Raise an error unless it is a regular file of at most `most` bytes; a missing file passes.

    Raises:
        InputError: with the size.
    """
    check_regular_file(path)
    if path.is_file() and path.stat().st_size > most:
        msg = f"{make_printable(path)} has {path.stat().st_size} bytes; at most {most} are expected: this is probably another kind of file."
        raise InputError(msg)


_CONTROL = {c: f"\\x{c:02x}" for c in (*range(0x20), *range(0x7F, 0xA0))}


def make_printable(name: str | os.PathLike[str]) -> str:
    """A name that any file and terminal can hold: bytes that are not UTF-8, and control characters, are written as numbers."""
    whole = os.fspath(name)
    return "".join(c if not _is_surrogate(c) else _escape_surrogate(c) for c in whole).translate(_CONTROL)


def _is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def _escape_surrogate(surrogate: str) -> str:
    code = ord(surrogate)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def as_names(what: str, value: object) -> list[str] | None:
    """A list of names, or None where none are given.

    Raises:
        InputError: one name by itself, which would be read letter by letter, or what holds no names.
    """
    if value is None:
        return None
    names = list(value) if isinstance(value, Iterable) and not isinstance(value, (str, bytes)) else None
    if names is None or not all(isinstance(name, str) for name in names):
        msg = f"{what} must be a list of names, such as ['z1', 'z2'], not {value!r}."
        raise InputError(msg)
    return names


def as_whole(what: str, value: object, least: int, most: int) -> int:
    """A whole number in a range.

    Raises:
        InputError: anything else.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    if not least <= number <= most:
        msg = f"{what} must be {least} to {most}, not {value!r}."
        raise InputError(msg)
    return number


def as_float(value: object) -> float:
    """A real number, also in an array or tensor of no dimensions; NaN where it is none, or where no float holds it."""
    number = value if isinstance(value, Real) else _unwrap_element(value)
    try:
        return float(number) if isinstance(number, Real) else math.nan
    except OverflowError:
        return math.nan


def _unwrap_element(value: object) -> object:
    """The one element of a 0-d array or tensor; None of anything else, and of what is masked or a truth value."""
    if getattr(value, "shape", None) != () or isinstance(value, np.ma.MaskedArray):
        return None
    try:
        element = value.item()  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError, TypeError, ValueError):  # a tensor without content
        return None
    return None if isinstance(element, bool) else element


def as_seconds(what: str, value: object) -> float:
    """A time of 0 or more, in seconds.

    Raises:
        InputError: no number, NaN, infinite or below 0.
    """
    return as_number_from(what, value, 0)


def as_number_from(what: str, value: object, least: int) -> float:
    """A finite number that is `least` or more.

    Raises:
        InputError: no number, NaN, infinite or less.
    """
    number = math.nan if isinstance(value, bool) else as_float(value)
    if not least <= number < math.inf:
        msg = f"{what} must be a number of {least} or more, not {value!r}."
        raise InputError(msg)
    return number


def as_share(what: str, value: object) -> float:
    """A number between 0 and 1, both excluded.

    Raises:
        InputError: anything else.
    """
    number = math.nan if isinstance(value, bool) else as_float(value)
    if not 0 < number < 1:
        msg = f"{what} must be a number between 0 and 1, not {value!r}."
        raise InputError(msg)
    return number


def check_progress(progress: object) -> None:
    """Raise an InputError if the progress callback is not a function."""
    if not callable(progress):
        msg = f"progress must be a function of (what, done, total), not {progress!r}."
        raise InputError(msg)


def as_numbers(values: object) -> list[float]:
    """One number or the numbers in a sequence, NaN for what is none; nothing where there is no order, or where it is text."""
    if isinstance(values, (str, bytes, bytearray, AbstractSet, Mapping)):
        return []
    if not isinstance(values, Iterable) or getattr(values, "shape", None) == ():  # 0-d arrays cannot be iterated
        return [as_float(values)]
    return [as_float(v) for v in values]
