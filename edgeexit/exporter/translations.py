"""Operators of torch that its graph exporter has no ONNX form for, or a wrong one, written with those that ONNX has."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch


def list_translations() -> dict[Any, Callable[..., Any]]:
    """ONNX forms by torch operator, as `torch.onnx.export` takes them.

    Raises:
        ImportError: onnxscript is not installed.
    """
    from onnxscript import opset18 as op

    aten, pools = torch.ops.aten, {}
    for name in ("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"):
        pools[getattr(aten, name).default] = partial(_translate_adaptive_max_pool, op)
    return pools | {
        aten.squeeze.dim: partial(_translate_squeeze, op),
        aten.squeeze.dims: partial(_translate_squeeze, op),
        aten.log_sigmoid.default: lambda x: op.Neg(op.Softplus(op.Neg(x))),  # the exporter's log(sigmoid(-100)) is -inf
        aten.logaddexp.default: partial(_translate_log_add_exp, op),
        aten.scaled_dot_product_attention.default: partial(_translate_attention, op),
        aten._cdist_forward.default: partial(_translate_distances, op),  # noqa: SLF001  # the one that cdist becomes
        aten.rrelu_with_noise_functional.default: partial(_translate_rrelu, op),
        torch.ops.prims.prod.default: partial(_translate_product, op),
    }


def _translate_squeeze(op: Any, x: Any, dim: int | Sequence[int]) -> Any:
    """Without the dimensions that are longer than 1, which torch leaves as they are and ONNX refuses."""
    single = [d for d in ([dim] if isinstance(dim, int) else dim) if x.shape[d] == 1]
    return op.Squeeze(x, op.Constant(value_ints=single)) if single else op.Identity(x)


def _translate_log_add_exp(op: Any, a: Any, b: Any) -> Any:
    """Finite where the exporter's log(exp(a) + exp(b)) has an exp(100)."""
    return op.Add(op.Max(a, b), op.Softplus(op.Neg(op.Abs(op.Sub(a, b)))))


def _translate_product(op: Any, x: Any, dims: Sequence[int], **_: Any) -> Any:
    return op.ReduceProd(x, op.Constant(value_ints=list(dims)), keepdims=0)


def _translate_attention(op: Any, query: Any, key: Any, value: Any, *more: Any, **options: Any) -> Any:
    """Attention with any number of dimensions before [length, features]; a query that a mask lets see nothing gets zeros, as in torch.

    The exporter's own form has one dimension of heads, gives such a query the mean of all values, and transposes by way of shapes that
    keep ONNX Runtime from fusing the transposition into the product.
    """
    import onnx_ir as ir
    from onnxscript.function_libs.torch_lib.ops.nn import aten_scaled_dot_product_attention

    options |= dict(zip(("attn_mask", "dropout_p", "is_causal"), more, strict=False))
    if options.get("enable_gqa"):
        return aten_scaled_dot_product_attention(query, key, value, **options)
    scale = options.get("scale") or int(query.shape[-1]) ** -0.5
    scaled = op.Mul(query, op.Constant(value=ir.tensor(scale, dtype=query.dtype)))
    last = len(key.shape) - 1
    scores = op.MatMul(scaled, op.Transpose(key, perm=[*range(last - 1), last, last - 1]))
    mask = options.get("attn_mask")
    if options.get("is_causal"):
        mask = op.Constant(value=ir.tensor(np.tri(int(query.shape[-2]), int(key.shape[-2]), dtype=bool)))
    elif mask is None or mask.dtype != ir.DataType.BOOL:
        return op.MatMul(op.Softmax(scores if mask is None else op.Add(scores, mask), axis=-1), value)
    return op.MatMul(_weigh_allowed(op, scores, mask, query.dtype), value)


def _weigh_allowed(op: Any, scores: Any, mask: Any, dtype: Any) -> Any:
    """Softmax over the scores for which the mask is true; zeros in a row without any, for which ONNX's softmax gives NaN."""
    import onnx_ir as ir

    zero, never = (op.Constant(value=ir.tensor(number, dtype=dtype)) for number in (0.0, -math.inf))
    weights = op.Softmax(op.Where(mask, scores, never), axis=-1)
    return op.Where(op.IsNaN(weights), zero, weights)


def _translate_distances(op: Any, x: Any, y: Any, p: float, *_: Any) -> Any:
    """Of each row of `x` to each of `y`, as in a classifier by prototypes; other norms than 1 and 2 are refused."""
    if p not in (1, 2):
        msg = f"ONNX has no norm with p={p:g}; cdist is exported with p=1 and p=2"
        raise NotImplementedError(msg)
    apart = op.Sub(op.Unsqueeze(x, op.Constant(value_ints=[-2])), op.Unsqueeze(y, op.Constant(value_ints=[-3])))
    return (op.ReduceL1 if p == 1 else op.ReduceL2)(apart, op.Constant(value_ints=[-1]), keepdims=0)


def _translate_rrelu(
    op: Any, x: Any, noise: Any, lower: float = 1 / 8, upper: float = 1 / 3, *_: Any
) -> tuple[Any, Any]:
    """In evaluation its slope is the mean of both, and the noise is left as it is."""
    return op.LeakyRelu(x, alpha=(lower + upper) / 2), op.Identity(noise)


def _translate_adaptive_max_pool(op: Any, x: Any, output_size: Sequence[int]) -> tuple[Any, Any]:
    """The values, and a stand-in for their places, which only an unpooling reads; a file with one is found to differ."""
    values = _pool_adaptively(op, x, output_size)
    return values, op.Cast(values, to=7)


def _pool_adaptively(op: Any, x: Any, output_size: Sequence[int]) -> Any:
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
