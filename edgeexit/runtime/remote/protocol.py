"""Tensors as requests and responses of the Open Inference Protocol (V2) over HTTP, with tensors in binary (KServe, Triton, MLServer).

A body is a JSON header, whose length an HTTP header tells, and then the bytes of each tensor in the order of the header. A server without
that extension answers in JSON alone, which is read too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from edgeexit.backends.base import Array
from edgeexit.graph.model import BATCH, TensorSpec

HEADER_LENGTH = "Inference-Header-Content-Length"
_LARGEST_HEADER = 1 << 16
_BYTES_OF_NUMBER = 32  # at most, of a number in JSON
DATA_TYPES = {
    "bool": "BOOL",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
"""The protocol's name of each element type."""


class MalformedResponse(ValueError):  # noqa: N818 - says what it is
    """A response is not what the protocol or the manifest says."""


def shape_for_wire(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Tensors as servers of the protocol know them: contiguous, and one number per sample has the shape [n, 1]."""
    return {name: np.ascontiguousarray(a[:, None] if a.ndim == 1 else a) for name, a in tensors.items()}


def encode_request(tensors: Mapping[str, Array], outputs: Sequence[TensorSpec]) -> tuple[bytes, int]:
    """A request for some outputs: its body, and the length of the JSON at its start. A tensor [n] goes as [n, 1]."""
    arrays = shape_for_wire(tensors)
    header = {
        "inputs": [
            {
                "name": name,
                "shape": list(a.shape),
                "datatype": DATA_TYPES[str(a.dtype)],
                "parameters": {"binary_data_size": a.nbytes},
            }
            for name, a in arrays.items()
        ],
        "outputs": [{"name": spec.name, "parameters": {"binary_data": True}} for spec in outputs],
    }
    text = json.dumps(header).encode()
    return b"".join((text, *(a.tobytes() for a in arrays.values()))), len(text)


def find_largest_response(outputs: Sequence[TensorSpec], count: int) -> int:
    """Most bytes that a response for `count` samples may have."""
    return _LARGEST_HEADER + _BYTES_OF_NUMBER * count * sum(math.prod(spec.shape_at_1) for spec in outputs)


def decode_response(
    body: bytes, header_length: int | None, outputs: Sequence[TensorSpec], count: int
) -> dict[str, Array]:
    """The outputs of a response by name, of the dtypes and shapes that the manifest has for `count` samples.

    Raises:
        MalformedResponse: one is missing, or of another type, shape or size.
    """
    length = len(body) if header_length is None else header_length
    with explain_strange_response():
        entries = {entry["name"]: entry for entry in json.loads(body[:length])["outputs"]}
        raw = cut_binary(entries.values(), memoryview(body)[length:])
        return read_outputs(entries, raw, outputs, count)


@contextmanager
def explain_strange_response() -> Iterator[None]:
    """What reading a response of any other structure raises in the body, as MalformedResponse."""
    try:
        yield
    except MalformedResponse:
        raise
    except STRANGE as error:
        msg = f"the response is not of the V2 protocol ({type(error).__name__})"
        raise MalformedResponse(msg) from error


def read_outputs(
    entries: Mapping[str, Any], raw: Mapping[str, Any], outputs: Sequence[TensorSpec], count: int
) -> dict[str, Array]:
    """Outputs from what a response says of each (`datatype`, `shape`, `data` where it is not in `raw`) and from their bytes.

    Raises:
        MalformedResponse: one is missing, or of another type or shape.
        ValueError, LookupError, TypeError: data that do not fit the shape.
    """
    return {spec.name: _read(spec, entries.get(spec.name), raw, count) for spec in outputs}


STRANGE = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading a JSON document of any other structure raises."""


def cut_binary(entries: Iterable[Any], rest: memoryview) -> dict[str, memoryview]:
    """The bytes of each binary tensor by name."""
    raw, start = {}, 0
    for entry in entries:
        size = entry.get("parameters", {}).get("binary_data_size")
        if isinstance(size, int) and 0 <= size <= len(rest) - start:
            raw[entry["name"]] = rest[start : start + size]
            start += size
    return raw


def _read(spec: TensorSpec, entry: Any, raw: Mapping[str, memoryview], count: int) -> Array:
    shape = tuple(count if d == BATCH else d for d in spec.shape)
    found = None if entry is None else (entry["datatype"], tuple(entry["shape"]))
    if found not in ((DATA_TYPES[spec.dtype], shape), (DATA_TYPES[spec.dtype], (*shape, 1))):
        msg = f"output {spec.name!r} must be {DATA_TYPES[spec.dtype]} {list(shape)}, and is {found or 'missing'}"
        raise MalformedResponse(msg)
    values = np.frombuffer(raw[spec.name], spec.dtype) if spec.name in raw else np.array(entry["data"], spec.dtype)
    return np.asarray(values).reshape(shape)
