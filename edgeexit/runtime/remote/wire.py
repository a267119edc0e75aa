"""Tensors in fewer bytes on the way to a server: float16, or int8 with one scale per sample.

A float32 tensor `t` goes as FP16 under its own name, or as INT8 with a second tensor `t:scale`, FP32 [n, 1], by which it is multiplied. The
scale of a sample is its largest absolute value over 127, whatever else is in its batch. Other dtypes go as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from edgeexit.backends.base import Array
from edgeexit.graph.model import TensorSpec

WIRES = ("float32", "float16", "int8")
"""Precisions of float32 tensors on the way to a server."""

_SCALE = ":scale"
_LARGEST_FLOAT16, _LARGEST_INT8 = 65504.0, 127


def compress(tensors: Mapping[str, Array], wire: str) -> dict[str, Array]:
    """The tensors [n, ...] as they are sent.

    Example:
        >>> sent = compress({"t": np.array([[0.5, -1.0]], np.float32)}, "int8")
        >>> sent["t"].tolist(), round(float(sent["t:scale"][0]), 5)
        ([[64, -127]], 0.00787)
    """
    sent: dict[str, Array] = {}
    for name, array in tensors.items():
        if wire == "float32" or array.dtype != np.float32:
            sent[name] = array
        elif wire == "float16":
            sent[name] = np.clip(array, -_LARGEST_FLOAT16, _LARGEST_FLOAT16).astype(np.float16)
        else:
            sent[name], sent[f"{name}{_SCALE}"] = _quantise(array)
    return sent


def _quantise(array: Array) -> tuple[Array, Array]:
    each = np.abs(array.reshape(len(array), -1)).max(axis=1, initial=0.0)
    scale = np.where(each > 0, each / _LARGEST_INT8, 1).astype(np.float32)
    return np.rint(array / scale.reshape(-1, *(1,) * (array.ndim - 1))).astype(np.int8), scale


def list_wire_forms(spec: TensorSpec) -> dict[str, TensorSpec]:
    """What may come for a tensor, by the name of the element type: the tensor itself, or a shorter form."""
    shorter = ("float16", "int8") if spec.dtype == "float32" else ()
    return {dtype: TensorSpec(spec.name, dtype, spec.shape) for dtype in (spec.dtype, *shorter)}


def make_scale_spec(spec: TensorSpec) -> TensorSpec:
    """The tensor of scales that goes with a tensor in int8."""
    return TensorSpec(f"{spec.name}{_SCALE}", "float32", spec.shape[:1])


def expand(received: Mapping[str, Array], specs: Iterable[TensorSpec]) -> dict[str, Array]:
    """What `compress` made, as tensors of the dtypes of `specs`; those that are not there are left out.

    Raises:
        KeyError: a tensor in int8 without its scales.
    """
    found: dict[str, Array] = {}
    for spec in specs:
        array = received.get(spec.name)
        if array is None:
            continue
        if array.dtype == np.int8 and spec.dtype == "float32":
            scale = received[make_scale_spec(spec).name]
            found[spec.name] = array.astype(np.float32) * scale.reshape(-1, *(1,) * (array.ndim - 1))
        else:
            found[spec.name] = array.astype(spec.dtype, copy=False)
    return found
