"""A module by a short text, as the command line takes it: `lenet`, `package.module:factory`, `file.py:factory`."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from torch import nn

from edgeexit.errors import InputError, ModelError, did_you_mean
from edgeexit.nets.registry import NETS, build
from edgeexit.nets.users_code import format_code_location, translate_user_errors


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
    found = _get_attribute(_import_module(where), where, name)
    if isinstance(found, nn.Module):
        return found
    return _make_network(target, found, options)


def load_function(target: str) -> Callable[[Any], Any]:
    """A function by name: `package.module:name` or `path/to/file.py:name`. The file is run.

    Raises:
        InputError: nothing of that name, or it cannot be called.
        ModelError: the user's code fails; with its file and line.
    """
    where, colon, name = target.rpartition(":")
    if not colon:
        msg = f"{target!r} does not say what to take from it; write file.py:function"
        raise InputError(msg)
    found = _get_attribute(_import_module(where), where, name)
    if not callable(found):
        msg = f"{target} is a {type(found).__name__}; a function is needed"
        raise InputError(msg)
    return cast("Callable[[Any], Any]", found)


def _import_module(where: str) -> ModuleType:
    try:
        with translate_user_errors(f"running {where} failed"):
            return _run_file_module(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except ModelError as error:
        if not isinstance(error.__cause__, ImportError):
            raise
        msg = f"cannot import {where!r}: {error.__cause__}{format_code_location(error.__cause__)}"
        raise InputError(msg) from error


def _run_file_module(path: Path) -> ModuleType:
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


def _get_attribute(module: ModuleType, where: str, name: str) -> Any:
    if not hasattr(module, name):
        public = [n for n in vars(module) if not n.startswith("_")]
        msg = f"{where} has no {name!r}.{did_you_mean(name, public)}"
        raise InputError(msg)
    return getattr(module, name)


def _make_network(target: str, factory: Any, options: Mapping[str, Any]) -> nn.Module:
    with translate_user_errors(f"calling {target} failed"):
        made = _call_factory(target, factory, options)
    if not isinstance(made, nn.Module):
        msg = f"{target} gave a {type(made).__name__}; a torch.nn.Module is needed"
        raise ModelError(msg)
    return made


def _call_factory(target: str, factory: Any, options: Mapping[str, Any]) -> Any:
    try:
        return factory(**options)
    except TypeError as error:
        raised_inside = len(traceback.extract_tb(error.__traceback__)) > 1  # by what it does, not by how it was called
        if raised_inside:
            raise
        msg = f"{target} cannot be called with {dict(options) or 'no options'}: {error}"
        raise ModelError(msg) from error
