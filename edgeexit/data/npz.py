"""Datasets as .npz files: `x` [n, ...] and, where there are labels, `y` [n]; several inputs as `x_<name>`. Never pickled."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.data.dataset import Dataset, checked
from edgeexit.data.files import replacing
from edgeexit.errors import InputError

_FORM = (
    "an .npz for edgeexit holds x [samples, ...] (or x_<name> for each of several inputs) and optionally y [samples]"
)

_DAMAGE = (ValueError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
"""What zip files raise: the last one where they are encrypted or packed in a way that Python does not know."""


def read_npz(path: str | os.PathLike[str]) -> Dataset:
    """Read a dataset. Objects that would need unpickling are refused, not loaded.

    Raises:
        InputError: no such file, not an .npz, pickled, other arrays than x and y, or any fault of `checked`.
    """
    path = Path(path)
    arrays = _arrays(path)
    labels = arrays.pop("y", None)
    named = {name.removeprefix("x_"): a for name, a in arrays.items() if name.startswith("x_")}
    if "x" in arrays and len(arrays) == 1:
        return checked(str(path), arrays["x"], labels)
    if named and len(named) == len(arrays):
        return checked(str(path), named, labels)
    msg = f"{path} holds {', '.join(sorted(arrays)) or 'nothing'}; {_FORM}"
    raise InputError(msg)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as raw:
            if not zipfile.is_zipfile(raw):
                msg = f"{path}: not an .npz file; {_FORM}"
                raise InputError(msg)
            raw.seek(0)
            file = np.load(raw, allow_pickle=False)
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        msg = f"no such file: {path}"
        raise InputError(msg) from error
    except MemoryError as error:
        msg = f"{path} does not fit into memory ({error}): give a smaller part of it."
        raise InputError(msg) from error
    except PermissionError as error:
        msg = f"{path} cannot be read ({error.strerror})"
        raise InputError(msg) from error
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, InputError):
            raise
        pickled = "pickle" in str(error).lower()
        why = "it holds pickled objects, which are never loaded" if pickled else f"not an .npz file ({error})"
        msg = f"{path}: {why}; {_FORM}"
        raise InputError(msg) from error


def write_npz(path: str | os.PathLike[str], dataset: Dataset) -> None:
    """Write a dataset, compressed, whole or not at all; `read_npz` gives the same arrays back."""
    whole = dataset.inputs
    arrays: dict[str, Any] = (
        {f"x_{name}": array for name, array in whole.items()} if isinstance(whole, dict) else {"x": whole}
    )
    if dataset.labels is not None:
        arrays["y"] = dataset.labels
    with replacing(path) as scratch, scratch.open("wb") as file:
        np.savez_compressed(file, **arrays)
