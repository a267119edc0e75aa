"""Arrays in .npz files: read whole, never unpickled, every damage one message."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.errors import InputError

DAMAGE = (
    OSError,
    ValueError,  # a header that is none, pickled objects
    KeyError,
    TypeError,
    OverflowError,
    SyntaxError,  # of a header, which NumPy reads as Python literals
    tokenize.TokenError,
    EOFError,
    RuntimeError,  # encrypted, or packed in a way that Python does not know
    MemoryError,  # a shape larger than any memory
    RecursionError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""Exceptions of reading a damaged .npz."""
PICKLED = "it holds pickled objects, which are never loaded"


def read_archive(path: str | Path | IO[bytes], what: str) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz file, by name.

    Args:
        path: the file, or an open one.
        what: what the content should be, for the message, such as "a replay table".

    Raises:
        InputError: it cannot be read, is no .npz, is damaged, or holds pickled objects.
    """
    try:
        if isinstance(path, str | Path) and Path(path).exists() and not Path(path).is_file():
            raise OSError("it is not a file")
        # Opened here, since NumPy leaves a damaged file open.
        with (
            Path(path).open("rb") if isinstance(path, str | Path) else nullcontext(path) as stream,
            np.load(stream, allow_pickle=False) as file,
        ):
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        msg = f"there is no file {path}, which should be {what}."
        raise InputError(msg) from error
    except DAMAGE as error:
        msg = f"{path} is not {what} that edgeexit wrote, or it is damaged: {explain_damage(error)}."
        raise InputError(msg) from error


def explain_damage(error: BaseException) -> str:
    """What is wrong with a file of arrays that raised `error`, as part of a sentence."""
    text = str(getattr(error, "strerror", None) or error).strip()
    if "pickle" in text.lower():  # NumPy's own words advise to load them
        return PICKLED
    return text.rstrip(".") or type(error).__name__
