"""Optimisers of ONNX Runtime that are left out where they would end the process."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from edgeexit.graph.arithmetic import uses_float16

_HALF_TRANSPOSES = "MatmulTransposeFusion"
_LARGEST_READ = 1 << 28  # bytes; the files of a bundle, whose weights lie outside, are far below


def list_unsafe_optimizers(model: Path | bytes) -> list[str]:
    """Names of those that are unsafe for a model, given as file or bytes.

    In float16 a product of a tensor with its first two dimensions swapped, as the attention of torch begins, is a segmentation fault in
    1.31 where the tensor is an input of the model. Boundary tensors make it one in every stage of a transformer.
    """
    if isinstance(model, Path) and model.is_file() and model.stat().st_size > _LARGEST_READ:
        return [_HALF_TRANSPOSES]  # without it such a model is at worst slower
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(model if isinstance(model, bytes) else model.read_bytes())
    except (DecodeError, OSError):  # the runtime says what is wrong with it
        return []
    return [_HALF_TRANSPOSES] if uses_float16(proto.graph) else []
