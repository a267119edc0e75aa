"""Backends, which run a split network on a device: siblings of one base (`base.py`), with a public fake beside them for tests.

A new backend is one file (or folder) here whose `BACKEND` is a `Backend`, and one row of `edgeexit.choices.BACKENDS`.
"""

from __future__ import annotations

from importlib import import_module

from edgeexit.backends.base import Backend, Batch, Program, Settings, StagedProgram
from edgeexit.choices import BACKENDS, BackendName, check_choice
from edgeexit.stage_choices import is_mixed, list_stage_names


def list_backends() -> tuple[str, ...]:
    """Names of all backends, installed or not."""
    return tuple(BACKENDS)


def find_backend(name: str) -> Backend:
    """The backend of that name; of several names, one a stage and joined by `+`, what runs each stage in its own.

    Raises:
        InputError: there is none of that name, or one that runs all stages of a bundle or none.
        MissingExtra, HardwareMissing: it cannot run here.
    """
    if is_mixed(name):
        from edgeexit.backends.mixed import MixedBackend

        return MixedBackend([find_backend(one) for one in list_stage_names(name)])
    check_choice("backend", name, BACKENDS)
    backend: Backend = import_module(f"edgeexit.backends.{name}").BACKEND  # when asked for, because runtimes are heavy
    backend.check()
    return backend


__all__ = ["Backend", "BackendName", "Batch", "Program", "Settings", "StagedProgram", "find_backend", "list_backends"]
