"""Optimisers of ONNX Runtime that are left out where they would end the process."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from edgeexit.graph.arithmetic import computes_in_halves

_HALF_TRANSPOSES = "MatmulTransposeFusion"
_LARGEST_READ = 1 << 28  # bytes; the files of a bundle, whose weights lie outside, are far below


def unsafe_optimisers(model: Path | bytes) -> list[str]:
    """Names of those that are unsafe for a model, given as file or bytes.

    In float16 a product of a tensor with its first two dimensions swapped, as the attention of torch begins, is a segmentation fault in
    1.31 where the tensor is an input of the model. Boundary tensors make it one in every stage of a transformer.
    """
    try:
        proto = _parsed(model)
    except (DecodeError, OSError, ValueError):  # the runtime says what is wrong with it
        return []
    return [_HALF_TRANSPOSES] if computes_in_halves(proto.graph) else []


def _parsed(model: Path | bytes) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    if isinstance(model, bytes) or model.stat().st_size <= _LARGEST_READ:
        proto.ParseFromString(model if isinstance(model, bytes) else model.read_bytes())
    return proto
