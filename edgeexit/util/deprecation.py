"""Old names that forward to functions of a higher layer.

`edgeexit/__init__.py`, which stands above every layer, registers the functions, so that no module imports one above it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

_MOVED: dict[str, Callable[..., Any]] = {}


def register_moved(old: str, function: Callable[..., Any]) -> None:
    """Register what an old name, such as `Runner.control`, calls."""
    _MOVED[old] = function


def call_moved(old: str, new: str, *args: Any, **options: Any) -> Any:
    """Warn the caller's caller that `old` is deprecated in favour of `new`, and call the registered function."""
    warnings.warn(f"{old} is deprecated: call {new}.", DeprecationWarning, stacklevel=3)
    return _MOVED[old](*args, **options)
