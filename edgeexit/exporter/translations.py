"""Operators of torch that its graph exporter has no ONNX form for, written with those that ONNX has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


def list_translations() -> dict[Any, Callable[..., Any]]:
    """ONNX forms by torch operator, as `torch.onnx.export` takes them.

    Raises:
        ImportError: onnxscript is not installed.
    """
    from onnxscript import opset18 as op

    def adaptive_max_pool(x: Any, output_size: Sequence[int]) -> tuple[Any, Any]:
        """The values, and a stand-in for their places, which only an unpooling reads; a file with one is found to differ."""
        values = _translate_adaptive_max_pool(op, x, output_size)
        return values, op.Cast(values, to=7)

    names = ("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
    return {getattr(torch.ops.aten, name).default: adaptive_max_pool for name in names}


def _translate_adaptive_max_pool(op: Any, x: Any, output_size: Sequence[int]) -> Any:
    """Maxima over the windows of each dimension in turn: from floor(i·size/count) up to ceil((i+1)·size/count), as torch has them."""
    sizes = [int(d) for d in x.shape[-len(output_size) :]]
    counts = [size if count is None else int(count) for size, count in zip(sizes, output_size, strict=True)]
    if all(size % count == 0 for size, count in zip(sizes, counts, strict=True)) and len(x.shape) == len(sizes) + 2:
        kernel = [size // count for size, count in zip(sizes, counts, strict=True)]
        pooled = op.MaxPool(x, kernel_shape=kernel, strides=kernel)
        return pooled[0] if isinstance(pooled, tuple) else pooled  # the second is the places
    for axis, (size, count) in enumerate(zip(sizes, counts, strict=True), len(x.shape) - len(sizes)):
        windows = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
        x = op.Concat(*(_reduce_slice_max(op, x, axis, *window) for window in windows), axis=axis)
    return x


def _reduce_slice_max(op: Any, x: Any, axis: int, start: int, end: int) -> Any:
    place = op.Constant(value_ints=[axis])
    part = op.Slice(x, op.Constant(value_ints=[start]), op.Constant(value_ints=[end]), place)
    return op.ReduceMax(part, place, keepdims=1)
