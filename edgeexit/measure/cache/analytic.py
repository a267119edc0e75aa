"""Bytes on paper: the weights and tensors that leaving at an exit touches, beside the sizes of a device's caches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from edgeexit.graph.onnx_files import load_binary
from edgeexit.hardware.profiles import Cache
from edgeexit.measure.cache.report import WorkingSet

if TYPE_CHECKING:
    from edgeexit.bundle import Bundle


def compute_working_sets(bundle: Bundle, caches: Sequence[Cache]) -> tuple[WorkingSet, ...]:
    """Per exit: weights of all stages up to it, tensors that they make at batch 1, and the smallest cache that holds both."""
    stages = bundle.manifest.stages
    weights = list(accumulate(stage.weight_bytes for stage in stages))
    made = [_count_activation_bytes(Path(bundle.path) / stage.file) for stage in stages]
    return tuple(_make_working_set(k, weights[k], made[: k + 1], caches) for k in range(len(stages)))


def _make_working_set(k: int, weights: int, made: Sequence[int | None], caches: Sequence[Cache]) -> WorkingSet:
    known = [size for size in made if size is not None]
    activations = sum(known) if len(known) == len(made) else None
    together = weights + (activations or 0)
    holding = [c for c in caches if c.kind != "instruction" and c.size_bytes >= together]
    smallest = min(holding, key=lambda c: c.size_bytes, default=None)
    return WorkingSet(k + 1, weights, activations, f"L{smallest.level}" if smallest else None)


def _count_activation_bytes(file: Path) -> int | None:
    """Size of everything that the nodes of one stage make, at batch 1; None where a shape is not known."""
    model = onnx.shape_inference.infer_shapes(load_binary(file))
    graph = model.graph
    values = {v.name: v for v in (*graph.value_info, *graph.output)}
    sizes = [
        _count_tensor_bytes(values.get(name))
        for node in graph.node
        if node.op_type != "Constant"
        for name in node.output
        if name
    ]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _count_tensor_bytes(value: onnx.ValueInfoProto | None) -> int | None:
    """Size of one tensor at batch 1, which a named dimension stands for; None where its type or shape is not known."""
    if value is None or not value.type.HasField("tensor_type") or not value.type.tensor_type.elem_type:
        return None
    kind = value.type.tensor_type
    if not kind.HasField("shape") or any(
        not d.HasField("dim_value") and not d.HasField("dim_param") for d in kind.shape.dim
    ):
        return None
    sides = (d.dim_value if d.HasField("dim_value") else 1 for d in kind.shape.dim)
    return int(math.prod(sides) * onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize)
