"""Names of models: parts of folders and of URLs."""

from __future__ import annotations

import re

from edgeexit.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_model_name(name: str) -> None:
    """Check the first part of models' names.

    Raises:
        InputError: it can be no folder's and no part of a URL.

    Example:
        >>> check_model_name("lenet-2.1")
    """
    if not _NAME.fullmatch(name):
        msg = f"{name!r} can be no model's name, which has letters, digits, dots, dashes and underscores: give another one (--name)."
        raise InputError(msg)
