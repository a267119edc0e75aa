"""Ways to run a split network on a device: siblings of one base (`base.py`), with a public fake beside them for tests.

A new backend is one file (or folder) here with a `Backend`, and one line in `_KNOWN`.
"""

from __future__ import annotations

from importlib import import_module

from edgeexit.backends.base import Backend, Batch, Program, Settings, StagedProgram
from edgeexit.errors import InputError, did_you_mean

_KNOWN = {
    "onnxruntime": "edgeexit.backends.onnxruntime.backend",
    "tensorrt": "edgeexit.backends.tensorrt",
    "openvino": "edgeexit.backends.openvino",
    "fake": "edgeexit.backends.fake",
}
"""Backend name -> module whose `BACKEND` is the Backend. Imported when asked for, because runtimes are heavy."""


def list_backends() -> tuple[str, ...]:
    """Names of all backends, installed or not."""
    return tuple(_KNOWN)


def find_backend(name: str) -> Backend:
    """The backend of that name.

    Raises:
        InputError: there is none of that name.
        MissingExtra, HardwareMissing: it cannot run here.
    """
    if name not in _KNOWN:
        msg = f"no backend named {name!r}.{did_you_mean(name, _KNOWN)} Backends: {', '.join(_KNOWN)}."
        raise InputError(msg)
    backend: Backend = import_module(_KNOWN[name]).BACKEND
    backend.check()
    return backend


__all__ = ["Backend", "Batch", "Program", "Settings", "StagedProgram", "find_backend", "list_backends"]
