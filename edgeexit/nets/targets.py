"""A module by a short text, as the command line takes it: `lenet`, `package.module:factory`, `file.py:factory`."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pickle
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from edgeexit.errors import EdgeExitError, InputError, ModelError, did_you_mean
from edgeexit.nets.registry import NETS, build


def load_module(target: str, options: Mapping[str, Any] | None = None) -> nn.Module:
    """A module by name.

    Args:
        target: a network of `edgeexit.nets`; or `package.module:name` or `path/to/file.py:name`, where name is a torch module or
            something that returns one when called with the options. The file is run, as Python runs any module it imports.
        options: keyword arguments of the call.

    Raises:
        InputError: nothing of that name.
        ModelError: it is no torch module and gives none, or the user's code fails; with its file and line.
    """
    options = dict(options or {})
    if ":" not in target:
        if target.endswith(".py") or ("." in target and target not in NETS):
            msg = f"{target!r} does not say what to take from it; write {target}:factory"
            raise InputError(msg)
        return build(target, **options)
    where, _, name = target.rpartition(":")
    found = _attribute(_imported(where), where, name)
    if isinstance(found, nn.Module):
        return found
    return _made(target, found, options)


_NOT_THE_USERS = (
    f"{Path(__file__).parents[1]}{os.sep}",
    *(sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")),
    "<",  # frozen modules and generated code
)


def place_of(error: BaseException) -> str:
    """` (net.py, line 7)`: where the user's code raised it or called what did; empty where no frame is theirs."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if not f.filename.startswith(_NOT_THE_USERS)]
    return f" ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else ""


@contextmanager
def users_code(what_failed: str) -> Iterator[None]:
    """Turn whatever a user's code raises, and its `sys.exit`, into a ModelError that names its file and line."""
    try:
        yield
    except EdgeExitError:
        raise
    except (Exception, SystemExit) as error:
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        msg = f"{what_failed}: {type(error).__name__}: {said or 'no message'}{place_of(error)}"
        raise ModelError(msg) from error


def _imported(where: str) -> ModuleType:
    try:
        with users_code(f"running {where} failed"):
            return _file_module(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except ModelError as error:
        if not isinstance(error.__cause__, ImportError):
            raise
        msg = f"cannot import {where!r}: {error.__cause__}{place_of(error.__cause__)}"
        raise InputError(msg) from error


def _file_module(path: Path) -> ModuleType:
    """Run a file as a module of its own; its folder is searched for what it imports, as `python file.py` does."""
    if not path.is_file():
        msg = f"no such file: {path}"
        raise InputError(msg)
    name = re.sub(r"\W", "_", path.stem)
    spec = importlib.util.spec_from_file_location(f"edgeexit_user_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    finally:
        with suppress(ValueError):  # the file may have taken it out itself
            sys.path.remove(str(path.resolve().parent))
    return module


def _attribute(module: ModuleType, where: str, name: str) -> Any:
    if not hasattr(module, name):
        public = [n for n in vars(module) if not n.startswith("_")]
        msg = f"{where} has no {name!r}.{did_you_mean(name, public)}"
        raise InputError(msg)
    return getattr(module, name)


def _made(target: str, factory: Any, options: Mapping[str, Any]) -> nn.Module:
    with users_code(f"calling {target} failed"):
        made = _called(target, factory, options)
    if not isinstance(made, nn.Module):
        msg = f"{target} gave a {type(made).__name__}; a torch.nn.Module is needed"
        raise ModelError(msg)
    return made


def _called(target: str, factory: Any, options: Mapping[str, Any]) -> Any:
    try:
        return factory(**options)
    except TypeError as error:
        if (
            len(traceback.extract_tb(error.__traceback__)) > 1
        ):  # raised inside, by what it does and not by how it was called
            raise
        msg = f"{target} cannot be called with {dict(options) or 'no options'}: {error}"
        raise ModelError(msg) from error


def load_weights(module: nn.Module, path: Path) -> None:
    """Put a state_dict that `torch.save` wrote into the module. Only tensors are taken; code in the file is never run.

    Raises:
        InputError: no such file, damaged, holding more than tensors, or not fitting the module; every misfit is listed.
    """
    state = read_tensors(path)
    own = module.state_dict()
    faults = [f"lacks {k}" for k in own if k not in state]
    faults += [f"has {k}, which the module does not" for k in state if k not in own]
    faults += [
        f"{k} is {list(state[k].shape)} and the module's {list(v.shape)}"
        for k, v in own.items()
        if isinstance(state.get(k), Tensor) and state[k].shape != v.shape
    ]
    if faults:
        more = f"; and {len(faults) - 6} more" if len(faults) > 6 else ""
        msg = f"{path} does not fit the module: {'; '.join(faults[:6])}{more}"
        raise InputError(msg)
    module.load_state_dict(state)


_UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError)
"""What `torch.load` raises on files that it did not write, or that hold objects."""


def _why_unreadable(path: Path, said: str) -> str:
    """In our words: torch's own name an argument that would run the file's code."""
    objects = re.search(r"GLOBAL (\S+)", said)
    if objects is None:
        return f"{path} is damaged, or torch.save did not write it."
    return (
        f"{path} holds {objects[1]}, and only tensors are taken: code in a file is never run. Save the weights alone:"
        " torch.save(module.state_dict(), path)."
    )


def read_tensors(path: Path) -> dict[str, Any]:
    """A dict that `torch.save` wrote, on the CPU. Only tensors and plain values are taken; code in the file is never run.

    Raises:
        InputError: no such file, damaged, or holding other objects.
    """
    try:
        raw = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        msg = (
            f"no such file: {path}" if isinstance(error, FileNotFoundError) else f"cannot read {path}: {error.strerror}"
        )
        raise InputError(msg) from error
    except _UNREADABLE as error:
        raise InputError(_why_unreadable(path, str(error))) from error
    if not isinstance(raw, dict):
        msg = f"{path} holds a {type(raw).__name__}; a dict of tensors (a state_dict) is needed"
        raise InputError(msg)
    return raw
