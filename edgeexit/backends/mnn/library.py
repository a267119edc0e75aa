"""The `MNN` package, imported without the line that it prints, and what sessions and modules are opened with."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any

import numpy as np

from edgeexit.backends.base import Array, Settings
from edgeexit.errors import ModelError

_importing = Lock()

_NORMAL = 0
"""Float32, as MNN numbers its precisions; by name it prints which one it takes."""


def import_mnn() -> Any:
    """The `MNN` package.

    Its library prints a line about the CPU on the standard output, where commands print JSON: that is kept away while it is imported.
    """
    with _importing:
        if "MNN" in sys.modules:
            return sys.modules["MNN"]
        with _silence_stdout():
            import MNN
        return MNN


@contextmanager
def _silence_stdout() -> Iterator[None]:
    """Send what C code prints on the standard output nowhere."""
    library = ctypes.CDLL(None)
    with suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    library.fflush(None)
    try:
        kept = os.dup(1)
    except OSError:  # the program has closed it
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        library.fflush(None)  # C keeps what it prints until then where the output is no terminal
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def make_configuration(settings: Settings) -> dict[str, int]:
    """The schedule of a session or module: CPU, its threads, float32, and no pinning to cores."""
    return {"backend": 0, "numThread": settings.threads, "precision": _NORMAL, "power": 0}


def view_tensor(mnn: Any, tensor: Any, what: str) -> Array:
    """A NumPy view of the memory of a tensor, which lives as long as its session and moves when that is resized.

    Args:
        mnn: the `MNN` package.
        tensor: a tensor of a session.
        what: name of the tensor, for messages.

    Raises:
        ModelError: its numbers are of a kind that NumPy has not, or its channels are interleaved.
    """
    shape = tensor.getShape()
    dtype = _find_dtype(mnn, tensor.getDataType())
    if dtype is None or tensor.getDimensionType() == mnn.Tensor_DimensionType_Caffe_C4:
        msg = f"MNN {mnn.version()} keeps {what} in a form of its own, which edgeexit cannot read. Please report it with the model."
        raise ModelError(msg)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    memory = (ctypes.c_uint8 * size).from_address(_read_pointer(tensor.getHost()))
    values: Array = np.ctypeslib.as_array(memory).view(dtype).reshape(shape)
    return values


def _find_dtype(mnn: Any, kind: object) -> np.dtype[Any] | None:
    kinds = (
        (mnn.Halide_Type_Float, np.float32),
        (mnn.Halide_Type_Int, np.int32),
        (mnn.Halide_Type_Int64, np.int64),
        (mnn.Halide_Type_Uint8, np.uint8),
    )
    return next((np.dtype(dtype) for known, dtype in kinds if known == kind), None)


def _read_pointer(capsule: object) -> int:
    read = ctypes.pythonapi.PyCapsule_GetPointer
    read.restype, read.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    return int(read(capsule, None))
