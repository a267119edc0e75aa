"""External data: one file of weights for all models of a bundle.

A weight that the model, a stage and the fused graph all read is stored once. Small tensors stay inside their model: shapes and axes
    must be readable for shape inference, and a pointer would cost more than it saves.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, TypeAlias

import onnx
from onnx import TensorProto, numpy_helper

from edgeexit.graph.model import NARROW, count_file_bytes, list_all_tensors, read_external_data, read_external_range
from edgeexit.graph.paths import join_safely

SMALLEST = 1024  # bytes; below this a tensor stays inline
_ALIGN_SMALL, _ALIGN_LARGE, _LARGE = 64, 4096, 1 << 20  # large tensors start on a page, so that a runtime can map them
_CHUNK = 1 << 22
_UNKNOWN_LOCATION = "unknown"

_Opener: TypeAlias = Callable[[], BinaryIO]


class WeightFile:
    """Collects weights while models are rewritten to point into one file.

    Args:
        stream: where the bytes go; its position must be at the start.

    The models get the file's name from `set_location`, because it is named by its content, which is known last.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._taken: list[TensorProto] = []
        self._stream = stream
        self._end = 0
        self._places: dict[bytes, tuple[int, int]] = {}
        self._read: dict[tuple[Path, int, int], tuple[int, int]] = {}  # what several stages need is read once

    @property
    def bytes(self) -> int:
        """Bytes written so far."""
        return self._end

    def take(self, model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
        """Move every large weight of a model into the file.

        Args:
            model: the model; it is consumed.
            folder: where the model's outside weights lie now.

        Returns:
            The model whose large weights point into the file: another message, since one keeps the memory of what was taken out of it.
        """
        for tensor in list_all_tensors(model.graph):
            self._take_one(tensor, folder)
        lean = onnx.ModelProto()
        lean.CopyFrom(model)
        self._taken += [
            t for t in list_all_tensors(lean.graph) if read_external_data(t).get("location") == _UNKNOWN_LOCATION
        ]
        return lean

    def set_location(self, location: str) -> None:
        """Write the name of the file into every model that was added."""
        for tensor in self._taken:
            next(e for e in tensor.external_data if e.key == "location").value = location

    def _take_one(self, tensor: TensorProto, folder: Path) -> None:
        if tensor.data_location == TensorProto.EXTERNAL:
            self._point(tensor, *self._store_outside(tensor, folder))
            return
        if tensor.data_type == TensorProto.STRING:
            return
        raw = tensor.raw_data or _as_raw(tensor)
        if len(raw) >= SMALLEST:
            self._point(tensor, *self._store(lambda: io.BytesIO(raw), len(raw)))

    def _store_outside(self, tensor: TensorProto, folder: Path) -> tuple[int, int]:
        file = join_safely(folder, read_external_data(tensor).get("location", ""), tensor.name)
        offset, length = read_external_range(tensor)
        length = count_file_bytes(tensor) if length is None else length

        def opened() -> BinaryIO:
            stream = file.open("rb")
            stream.seek(offset)
            return stream

        key = file, offset, length
        if key not in self._read:
            self._read[key] = self._store(opened, length)
        return self._read[key]

    def _store(self, opened: _Opener, length: int) -> tuple[int, int]:
        with opened() as stream:
            digest = _compute_digest(stream, length)
        if digest not in self._places:
            align = _ALIGN_LARGE if length >= _LARGE else _ALIGN_SMALL
            padding = -self._end % align
            self._stream.write(b"\0" * padding)
            with opened() as stream:
                for chunk in _read_chunks(stream, length):
                    _write(self._stream, chunk)
            self._places[digest] = (self._end + padding, length)
            self._end += padding + length
            self._stream.truncate(self._end)
        return self._places[digest]

    def _point(self, tensor: TensorProto, offset: int, length: int) -> None:
        for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
            tensor.ClearField(field)
        point_to_file(tensor, _UNKNOWN_LOCATION, offset, length)


def point_to_file(tensor: TensorProto, location: str, offset: int, length: int) -> None:
    """Make a weight lie in another file."""
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def _write(stream: BinaryIO, chunk: bytes) -> None:
    """Zeros become a hole in the file (sparse), as they may have been in their source."""
    if chunk == bytes(len(chunk)):
        stream.seek(len(chunk), io.SEEK_CUR)
    else:
        stream.write(chunk)


def _as_raw(tensor: TensorProto) -> bytes:
    """As a file holds it. Elements smaller than a byte are packed into bytes already, each in an entry of its own; NumPy gives each a byte,
    and onnx 1.16 makes float32 of them.
    """
    if tensor.data_type in NARROW:
        return bytes(entry & 0xFF for entry in tensor.int32_data)
    return numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data


def _read_chunks(stream: BinaryIO, length: int) -> Iterable[bytes]:
    left = length
    while left > 0:
        chunk = stream.read(min(left, _CHUNK))
        if not chunk:
            msg = f"a weight file ended {left} bytes early"
            raise OSError(msg)
        left -= len(chunk)
        yield chunk


def _compute_digest(stream: BinaryIO, length: int) -> bytes:
    hasher = hashlib.sha256()
    for chunk in _read_chunks(stream, length):
        hasher.update(chunk)
    return hasher.digest()
