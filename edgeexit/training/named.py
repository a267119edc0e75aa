"""Choices by name out of a table of functions, their options checked against the function's own parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from edgeexit.errors import InputError, did_you_mean

Made = TypeVar("Made")


def make_named(
    kind: str, table: Mapping[str, Callable[..., Made]], name: str, options: Mapping[str, Any], *given: Any
) -> Made:
    """What the function of that name makes of its options.

    Args:
        kind: what the table holds, for the message, such as "loss".
        table: functions by name.
        name: one of them.
        options: keyword arguments of a recipe.
        given: positional arguments of the caller.

    Raises:
        InputError: unknown name or option, or a missing one.

    Example:
        >>> make_named("shape", {"square": lambda *, side: side**2}, "square", {"sides": 2})
        Traceback (most recent call last):
        edgeexit.errors.InputError: shape 'square': no option 'sides', needs 'side'. Did you mean 'side'? Options: side.
    """
    check_named(kind, table, name, options)
    return table[name](*given, **options)


def check_named(kind: str, table: Mapping[str, Callable[..., Any]], name: str, options: Mapping[str, Any]) -> None:
    """Raise what `make_named` would raise; see there."""
    if name not in table:
        msg = f"no {kind} named {name!r}.{did_you_mean(name, table)} {_pluralize(kind)}: {', '.join(table)}."
        raise InputError(msg)
    every = inspect.signature(table[name]).parameters.values()
    known = {p.name: p for p in every if p.kind is p.KEYWORD_ONLY}
    unknown = [o for o in options if o not in known]
    missing = [p.name for p in known.values() if p.default is p.empty and p.name not in options]
    if unknown or missing:
        hint = did_you_mean(unknown[0], known) if unknown else ""
        wrong = [*(f"no option {o!r}" for o in unknown), *(f"needs {m!r}" for m in missing)]
        msg = f"{kind} {name!r}: {', '.join(wrong)}.{hint} Options: {', '.join(known) or 'none'}."
        raise InputError(msg)


def _pluralize(kind: str) -> str:
    return f"{kind.capitalize()}{'es' if kind.endswith('s') else 's'}"
