"""The arrays of a replay table, as arguments or from a file: converted to the table's dtypes and checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeexit.errors import InputError
from edgeexit.util.archives import read_archive
from edgeexit.util.documents import parse_json
from edgeexit.util.units import format_count


def as_scores(scores: ArrayLike) -> NDArray[np.float32]:
    """Scores as float32.

    Raises:
        InputError: not numbers.
    """
    array = np.asarray(scores)
    if array.dtype.kind not in "fiu":
        msg = f"scores must be numbers, not {array.dtype}."
        raise InputError(msg)
    return np.asarray(array, np.float32)


def as_flags(flags: ArrayLike | None, name: str) -> NDArray[np.bool_] | None:
    """Flags as bool; 0 and 1 will do.

    Raises:
        InputError: other values.
    """
    if flags is None:
        return None
    array = np.asarray(flags)
    if array.dtype == np.bool_:
        return array
    if array.dtype.kind not in "fiu" or not np.isin(array, (0, 1)).all():
        msg = f"{name} must be true or false (0 or 1) for every sample and exit."
        raise InputError(msg)
    return array.astype(np.bool_)


def as_costs(cost_s: ArrayLike | Sequence[ArrayLike] | None) -> tuple[NDArray[np.float64], ...]:
    """Costs as one float64 array per exit; () for None.

    Raises:
        InputError: not numbers.
    """
    if cost_s is None:
        return ()
    try:
        return tuple(np.atleast_1d(np.asarray(samples, np.float64)).ravel() for samples in cost_s)  # type: ignore[union-attr]
    except (TypeError, ValueError) as error:
        msg = "cost_s must be [N] seconds or a sequence of N arrays of seconds."
        raise InputError(msg) from error


def as_vector(values: ArrayLike | None) -> NDArray[np.float64] | None:
    """Values as float64."""
    return None if values is None else np.asarray(values, np.float64)


def check_thresholds(thresholds: ArrayLike, exits: int) -> NDArray[np.float32]:
    """Inner thresholds as float32 [N-1].

    Raises:
        InputError: another number of them, or NaN.
    """
    inner = np.asarray(thresholds, np.float32)
    if inner.shape != (exits - 1,) or np.isnan(inner).any():
        msg = (
            f"{format_count(exits, 'exit')} take {format_count(exits - 1, 'threshold')} without NaN, not "
            f"{np.asarray(thresholds).tolist()}."
        )
        raise InputError(msg)
    return inner


def parse_exit_number(name: str) -> int:
    """The exit in the name of an array: 3 of `cost_s_3`."""
    return int(name.rsplit("_", 1)[1])


def read_arrays(path: str | Path | IO[bytes], known: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Header and arrays of a table's file.

    Raises:
        InputError: not such a file, pickled, or of another schema than `known`.
    """
    arrays = read_archive(path, "a replay table")
    try:
        header = parse_json(str(arrays.pop("header")))
        schema, _, _ = str(header["schema"]), header["sha256"], header["origin"].items()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        msg = f"{path} is not a replay table that edgeexit wrote: its header is damaged ({error})."
        raise InputError(msg) from error
    if schema != known:
        msg = f"{path} has schema {schema!r}; this edgeexit reads {known!r}. Update edgeexit to read a newer one."
        raise InputError(msg)
    return header, arrays
