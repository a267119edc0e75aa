"""Options of a network from the names and shapes of its checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from edgeexit.errors import InputError
from edgeexit.exporter.published.recipe import Derivation, freeze
from edgeexit.nets.weights import read_checkpoint

Shapes = Mapping[str, tuple[int, ...]]
"""Shape by name of every weight."""


def read_shapes(path: Path) -> Shapes:
    """Names and shapes of the weights in a checkpoint: of the dict in it that holds the most.

    Raises:
        InputError: no such file, damaged, or holding other objects than tensors.
    """
    found = max(_list_states(read_checkpoint(path)), key=len)
    return {name: tuple(tensor.shape) for name, tensor in found.items()}


def _list_states(raw: Mapping[str, Any]) -> list[dict[str, Tensor]]:
    inner = [value for value in raw.values() if isinstance(value, Mapping)]
    own = {str(name): value for name, value in raw.items() if isinstance(value, Tensor)}
    return [own, *(state for value in inner for state in _list_states(value))]


def derive_option(shapes: Shapes, how: Derivation) -> Any:
    """The value that shapes tell; None where the checkpoint has none of the names."""
    number = _read_number(shapes, how)
    if number is None:
        return None
    if how.minus:
        number -= _count(shapes, how.minus)
    if how.if_zero and number == 0:
        number = _count(shapes, how.if_zero)
    number = number // how.divide * how.times + how.add
    if not how.values:
        return number
    return freeze(how.values.get(str(number), how.values.get("*")))


def _read_number(shapes: Shapes, how: Derivation) -> int | None:
    for pattern in how.of:
        names = [name for name in shapes if _match(pattern, name)]
        if names and how.axis is None:
            return _count(shapes, pattern)
        if names and how.axis is not None:
            shape = shapes[names[0]]
            if not -len(shape) <= how.axis < len(shape):
                msg = f"{names[0]} of the checkpoint has the shape {list(shape)} and no axis {how.axis}: this is another kind of network."
                raise InputError(msg)
            return shape[how.axis]
    return None


def _count(shapes: Shapes, pattern: str) -> int:
    """Number of different parts at the `*`."""
    return len({found.groups() for name in shapes if (found := _match(pattern, name))})


def _match(pattern: str, name: str) -> re.Match[str] | None:
    """The name, or its end where it has a prefix such as `module.`."""
    written = re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", r"([^.]+)")
    return re.fullmatch(rf"(?:.*\.)?{written}", name)
