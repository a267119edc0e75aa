"""Requests of the Open Inference Protocol (V2) to tensors, and answers to bytes: binary, or JSON alone, as the request is."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeexit.backends.base import Array
from edgeexit.graph.model import BATCH, TensorSpec
from edgeexit.runtime.remote.protocol import DATA_TYPES, STRANGE, cut_binary
from edgeexit.runtime.remote.wire import expand, list_wire_forms, make_scale_spec

_DTYPES = {v2: dtype for dtype, v2 in DATA_TYPES.items()}
_LARGEST_HEADER = 1 << 16
_BYTES_OF_NUMBER = 32  # at most, of a number in JSON


class BadRequest(ValueError):  # noqa: N818 - named like its status
    """A request is not of the protocol, or not for this model."""


@dataclass(frozen=True)
class InferRequest:
    """A request.

    Attributes:
        tensors: those of the model's that it brings, by name, [n, ...] in the model's dtypes.
        outputs: names of the outputs that it asks for; none for all.
        binary: names of those of which the bytes are asked for, instead of JSON.
        binary_by_default: whether bytes are asked for where an output does not say.
        id: to be given back with the answer; None where there is none.
    """

    tensors: Mapping[str, Array]
    outputs: tuple[str, ...]
    binary: frozenset[str]
    binary_by_default: bool
    id: str | None


def find_largest_request(specs: Iterable[TensorSpec], max_batch: int) -> int:
    """Most bytes that a request with these tensors may have."""
    numbers = sum(math.prod(spec.shape_at_1) + 1 for spec in specs)
    return _LARGEST_HEADER + _BYTES_OF_NUMBER * max_batch * numbers


def decode_request(body: bytes, header_length: int | None, specs: Sequence[TensorSpec], max_batch: int) -> InferRequest:
    """Read a request.

    Args:
        body: JSON, and the bytes of tensors after it.
        header_length: bytes of the JSON; None where all of it is.
        specs: every tensor that may come. Any subset is taken: what is missing, the model says.
        max_batch: most samples.

    Raises:
        BadRequest: another type, shape or size than the model's, or unlike numbers of samples.
    """
    length = len(body) if header_length is None else header_length
    try:
        header = json.loads(body[:length])
        entries = {entry["name"]: entry for entry in header["inputs"]}
        raw = cut_binary(entries.values(), memoryview(body)[length:])
        received = _read_tensors(entries, raw, specs, max_batch)
        asked = [(str(entry["name"]), entry.get("parameters", {})) for entry in header.get("outputs", ())]
        return InferRequest(
            expand(received, specs),
            tuple(name for name, _ in asked),
            frozenset(name for name, parameters in asked if parameters.get("binary_data") is True),
            header.get("parameters", {}).get("binary_data_output") is True,
            header.get("id"),
        )
    except BadRequest:
        raise
    except STRANGE as error:
        msg = f"the request is not of the V2 protocol ({type(error).__name__}: {error})"
        raise BadRequest(msg) from error


def _read_tensors(
    entries: Mapping[str, Any], raw: Mapping[str, memoryview], specs: Sequence[TensorSpec], max_batch: int
) -> dict[str, Array]:
    allowed = {spec.name: list_wire_forms(spec) for spec in specs}
    allowed |= {scale.name: {"float32": scale} for scale in map(make_scale_spec, specs)}
    strange = sorted(set(entries) - set(allowed))
    if strange:
        msg = f"there is no input {strange[0]!r}; inputs: {', '.join(spec.name for spec in specs)}"
        raise BadRequest(msg)
    found = {name: _read_tensor(entry, raw.get(name), allowed[name], max_batch) for name, entry in entries.items()}
    if len({len(array) for array in found.values()}) != 1:
        msg = "the inputs must have the same number of samples, and there must be some"
        raise BadRequest(msg)
    return found


def _read_tensor(entry: Any, raw: memoryview | None, forms: Mapping[str, TensorSpec], max_batch: int) -> Array:
    dtype, shape = _DTYPES.get(entry["datatype"], ""), tuple(entry["shape"])
    spec = forms.get(dtype)
    if spec is None or not _fits(shape, spec, max_batch):
        wanted = next(iter(forms.values()))
        msg = (
            f"input {entry['name']!r} must be {' or '.join(DATA_TYPES[d] for d in forms)} {list(wanted.shape)} of at most {max_batch}"
            f" samples, and is {entry['datatype']} {list(shape)}"
        )
        raise BadRequest(msg)
    if raw is None and "binary_data_size" in entry.get("parameters", {}):
        msg = f"the request ends before the bytes of input {entry['name']!r}"
        raise BadRequest(msg)
    values = np.array(entry["data"], dtype) if raw is None else np.frombuffer(raw, dtype)
    return np.asarray(values).reshape(shape if len(shape) == len(spec.shape) else shape[:-1])


def _fits(shape: tuple[Any, ...], spec: TensorSpec, max_batch: int) -> bool:
    """Whether a shape is the model's; one number per sample may come as [n, 1]."""
    if len(shape) == len(spec.shape) + 1 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != len(spec.shape) or not all(type(d) is int and d >= 0 for d in shape):
        return False
    if not all(d == wanted or not isinstance(wanted, int) for d, wanted in zip(shape, spec.shape, strict=True)):
        return False
    return not spec.shape or spec.shape[0] != BATCH or 1 <= shape[0] <= max_batch


def encode_response(name: str, request: InferRequest, tensors: Mapping[str, Array]) -> tuple[bytes, int | None]:
    """An answer with the outputs that were asked for: its body, and the length of the JSON at its start, None where all of it is.

    Raises:
        BadRequest: an output that the model does not have.
    """
    unknown = [output for output in request.outputs if output not in tensors]
    if unknown:
        msg = f"there is no output {unknown[0]!r}; outputs: {', '.join(tensors)}"
        raise BadRequest(msg)
    entries, binary = [], []
    for output in request.outputs or tensors:
        array = np.ascontiguousarray(tensors[output])
        entry = {"name": output, "datatype": DATA_TYPES[str(array.dtype)], "shape": list(array.shape)}
        if request.binary_by_default or output in request.binary:
            entries.append({**entry, "parameters": {"binary_data_size": array.nbytes}})
            binary.append(array.tobytes())
        else:
            entries.append({**entry, "data": array.ravel().tolist()})
    header = {"model_name": name, "outputs": entries, **({} if request.id is None else {"id": request.id})}
    text = json.dumps(header).encode()
    return b"".join((text, *binary)), len(text) if binary else None
