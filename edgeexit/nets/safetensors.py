"""Files of safetensors: an 8-byte length, a JSON header of dtypes, shapes and offsets, and raw numbers; no code, no further package.

Format: https://huggingface.co/docs/safetensors, section "Format".
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgeexit.errors import InputError
from edgeexit.util.arguments import check_regular_file

_INDEX = ".safetensors.index.json"
_LARGEST_HEADER = 100_000_000  # bytes, as the format says
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def is_safetensors(path: Path) -> bool:
    """Whether a file is of this format by its name, or by how it begins."""
    if path.name.endswith((".safetensors", _INDEX)):
        return True
    try:
        with path.open("rb") as stream:
            start = stream.read(9)
    except OSError:  # the reader of the file reports why
        return False
    return len(start) == 9 and start[8:] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= _LARGEST_HEADER


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name, of one file or of all parts that an index lists.

    Raises:
        InputError: no such file, damaged, or numbers of a kind that is not read.
    """
    check_regular_file(path)
    try:
        if path.name.endswith(_INDEX):
            return _read_parts(path)
        return _parse_tensors(path, path.read_bytes())
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        name = error.filename or path
        raise InputError(f"no such file: {name}" if missing else f"cannot read {name}: {error.strerror}") from error


def _read_parts(index: Path) -> dict[str, Tensor]:
    listed = _parse_json(index, index.read_bytes()).get("weight_map")
    if not isinstance(listed, dict) or not all(isinstance(f, str) and Path(f).name == f for f in listed.values()):
        raise InputError(f"{index} is damaged: its weight_map must name files beside it.")
    state: dict[str, Tensor] = {}
    for name in sorted(set(listed.values())):
        part = index.parent / name
        check_regular_file(part)
        state |= _parse_tensors(part, part.read_bytes())
    return state


def _parse_tensors(path: Path, content: bytes) -> dict[str, Tensor]:
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(_LARGEST_HEADER, len(content) - 8):
        raise InputError(f"{path} is damaged: it ends before its header does.")
    header = _parse_json(path, content[8 : 8 + size])
    numbers = bytearray(content[8 + size :])
    return {name: _parse_tensor(path, name, about, numbers) for name, about in header.items() if name != "__metadata__"}


def _parse_json(path: Path, text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: its header is not JSON.") from error
    if not isinstance(document, dict):
        raise InputError(f"{path} is damaged: its header is not a JSON object.")
    return document


def _parse_tensor(path: Path, name: str, about: Any, numbers: bytearray) -> Tensor:
    try:
        dtype, shape, (start, end) = about["dtype"], [int(d) for d in about["shape"]], about["data_offsets"]
        kind = _DTYPES.get(dtype)
        count = math.prod(shape)
        fits = kind is not None and 0 <= start <= end <= len(numbers) and end - start == count * kind.itemsize
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is damaged: tensor {name!r} has the header {about!r:.200}.") from error
    if kind is None:
        raise InputError(f"{path}: tensor {name!r} is of {dtype!r}; read are {', '.join(_DTYPES)}.")
    if not fits or min(shape, default=0) < 0:
        raise InputError(f"{path} is damaged: tensor {name!r} of shape {shape} does not fit bytes {start} to {end}.")
    if not count:
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(numbers, dtype=kind, count=count, offset=start).reshape(shape).clone()
