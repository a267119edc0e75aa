"""Inputs of many samples, taken one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def split_samples(inputs: Any) -> list[Any]:
    """Split inputs [n, ...], or a mapping of such, into n inputs [1, ...]; views, not copies.

    Example:
        >>> split_samples({"x": np.array([[1.0], [2.0]])})
        [{'x': array([[1.]])}, {'x': array([[2.]])}]
    """
    if isinstance(inputs, Mapping):
        n = len(next(iter(inputs.values())))
        return [{name: array[i : i + 1] for name, array in inputs.items()} for i in range(n)]
    return [inputs[i : i + 1] for i in range(len(inputs))]
