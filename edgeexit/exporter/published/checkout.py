"""Import from the user's checkout of a repository, whose modules have names such as `models` and `utils`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from edgeexit.errors import InputError, ModelError, did_you_mean
from edgeexit.nets.users_code import format_code_location, translate_user_errors

_OURS = {"edgeexit", "numpy", "onnx", "onnx_ir", "onnxruntime", "onnxscript", "torch", "typer"}
"""Packages that edgeexit runs on itself, whatever else a folder has of their names."""


@contextmanager
def open_checkout(folder: Path) -> Iterator[None]:
    """In the body the folder comes first on the path, and modules of the same names from elsewhere are out of the way."""
    root = str(folder.resolve())
    own = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()} - _OURS
    hidden = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in own}
    for name in hidden:
        del sys.modules[name]
    sys.path.insert(0, root)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if root in sys.path:
            sys.path.remove(root)
        for name in [name for name in sys.modules if name.partition(".")[0] in own]:
            del sys.modules[name]
        sys.modules.update(hidden)


def import_name(target: str, folder: Path, hint: str) -> Any:
    """What `package.module:name` is in the opened checkout.

    Args:
        target: what to import.
        folder: the checkout, for the message.
        hint: how to get a checkout, for the message.

    Raises:
        InputError: the folder has no such module, or the module no such name.
        ModelError: the module fails when it is imported; with its file and line.
    """
    where, _, name = target.partition(":")
    module = _import_module(where, folder, hint)
    if not hasattr(module, name):
        near = did_you_mean(name, [n for n in vars(module) if not n.startswith("_")])
        raise InputError(
            f"{module.__file__ or where} has no {name!r}.{near} Is it another version of the repository? {hint}"
        )
    return getattr(module, name)


def _import_module(where: str, folder: Path, hint: str) -> ModuleType:
    top = where.partition(".")[0]
    if not (folder / top).is_dir() and not (folder / f"{top}.py").is_file() and not _is_installed(top):
        raise InputError(f"{folder} has no module {top!r}, so it is no checkout of the repository. {hint}")
    try:
        with translate_user_errors(f"importing {where!r} from {folder} failed"):
            return importlib.import_module(where)
    except ModelError as error:
        cause = error.__cause__
        if not isinstance(cause, ModuleNotFoundError):
            raise
        msg = f"importing {where!r} from {folder} failed: {cause}{format_code_location(cause)}. Install what the repository needs. {hint}"
        raise InputError(msg) from cause


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
