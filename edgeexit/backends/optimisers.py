"""Optimisers of ONNX Runtime that are left out where they would end the process."""

from __future__ import annotations

from pathlib import Path

import onnx

from edgeexit.graph.arithmetic import computes_in_halves

_HALF_TRANSPOSES = "MatmulTransposeFusion"


def unsafe_optimisers(model: Path | bytes) -> list[str]:
    """Names of those that are unsafe for a model, given as file or bytes.

    In float16 a product of a tensor with its first two dimensions swapped, as the attention of torch begins, is a segmentation fault in
    1.31 where the tensor is an input of the model. Boundary tensors make it one in every stage of a transformer.
    """
    try:
        proto = _parsed(model)
    except Exception:
        return []
    return [_HALF_TRANSPOSES] if computes_in_halves(proto.graph) else []


def _parsed(model: Path | bytes) -> onnx.ModelProto:
    if isinstance(model, Path):
        return onnx.load(str(model), load_external_data=False)
    proto = onnx.ModelProto()
    proto.ParseFromString(model)
    return proto
