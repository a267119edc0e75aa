"""Read a bundle's manifest and check the files that it names: schema, digests, and that every path stays inside."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx

from edgeexit.bundle.manifest import FileEntry, Manifest
from edgeexit.bundle.seal import read_sealed
from edgeexit.bundle.store import compute_sha256
from edgeexit.errors import BundleError, ModelError
from edgeexit.graph.damage import find_damage
from edgeexit.graph.model import compute_external_end, list_all_tensors, read_external_data
from edgeexit.graph.onnx_files import UNREADABLE, load_binary, parse_reason
from edgeexit.graph.paths import is_file, is_inside
from edgeexit.util.documents import parse_json

MANIFEST = "manifest.json"
_LARGEST_DOCUMENT = 1 << 28  # bytes of a manifest or a calibration


def _describe_missing(folder: Path) -> str:
    """Explain what a path is instead of a bundle, and how to make one."""
    if folder.is_file():
        return f"{folder} is a file, and a bundle is a folder. Make one: edgeexit compile model.onnx -o model.eexit"
    kind = (
        "holds no manifest.json (not a bundle, or its compile never finished)" if folder.exists() else "does not exist"
    )
    return f"{folder} {kind}. Make one: edgeexit compile model.onnx -o {folder}"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder.

    Raises:
        BundleError: there is none, or it is damaged, changed or too new.
    """
    if not is_file(folder / MANIFEST):
        raise BundleError(_describe_missing(folder))
    if not is_inside(folder, folder / MANIFEST):
        msg = f"{folder / MANIFEST} is a symbolic link to a place outside the bundle, which is not allowed."
        raise BundleError(msg)
    return read_sealed(_read_content(folder / MANIFEST), str(folder / MANIFEST))


def read_bundle_json(path: Path) -> Any:
    """The JSON values of a file.

    Raises:
        BundleError: it cannot be read or is not JSON.
    """
    try:
        return parse_json(_read_content(path).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        msg = f"{path} is not JSON ({error}): the bundle is damaged; compile it again."
        raise BundleError(msg) from error


def _read_content(path: Path) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST_DOCUMENT:
            msg = f"{path} is not a file of at most {_LARGEST_DOCUMENT >> 20} MiB: the bundle is damaged."
            raise BundleError(msg)
        return path.read_bytes()
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror})."
        raise BundleError(msg) from error


@contextmanager
def translate_read_errors(folder: Path) -> Iterator[None]:
    """Turn the system's refusals to read into one message."""
    try:
        yield
    except OSError as error:
        msg = f"{error.filename or folder} cannot be read ({error.strerror})."
        raise BundleError(msg) from error


def check_files(folder: Path, manifest: Manifest) -> None:
    """Check every file that a manifest names.

    Raises:
        BundleError: one is missing, changed, or lies outside; outside weights of a model do.
        FileNotFoundError: one vanished meanwhile.
    """
    for name, entry in manifest.files.items():
        _check_file(folder, name, entry)
    for name in manifest.models:
        _check_pointers(folder, manifest, name)


def _check_file(folder: Path, name: str, entry: FileEntry) -> None:
    path = folder / name
    if Path(name).is_absolute() or not is_inside(folder, path):
        msg = f"the manifest of {folder} names {name!r}, which lies outside the bundle: refused."
        raise BundleError(msg)
    if not is_file(path):
        msg = f"{path} is missing: the bundle is damaged; copy it again, or compile it again."
        raise BundleError(msg)
    if path.stat().st_size != entry.bytes or compute_sha256(path) != entry.sha256:
        msg = f"{path} is not the file that was written (its SHA-256 differs): the bundle is damaged; copy it again, or compile it again."
        raise BundleError(msg)


def _check_pointers(folder: Path, manifest: Manifest, name: str) -> None:
    """Outside weights of a model must lie in a listed file beside it, within its size."""
    path = folder / name
    try:
        proto = load_binary(path)
    except UNREADABLE as error:
        msg = f"{path} is not an ONNX model ({parse_reason(error)}): compile the bundle again."
        raise BundleError(msg) from error
    fault = find_damage(proto)
    if fault is not None:
        msg = f"{path} is damaged: {fault}. Compile the bundle again."
        raise BundleError(msg)
    if proto.functions or proto.graph.sparse_initializer:  # weights could hide there
        msg = f"{path} holds functions or sparse weights, which edgeexit never writes: refused."
        raise BundleError(msg)
    for tensor in list_all_tensors(proto.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            where = read_external_data(tensor)
            file = manifest.files.get(str(Path(name).parent / where.get("location", "")))
            if file is None or not _fits(tensor, file):
                msg = f"weight {tensor.name!r} of {name} points to {where}, which is not in the bundle: refused."
                raise BundleError(msg)


def _fits(tensor: onnx.TensorProto, file: FileEntry) -> bool:
    """Whether an outside weight lies within its file."""
    try:
        return compute_external_end(tensor) <= file.bytes
    except ModelError as error:
        msg = f"{str(error).rstrip('.')}: refused."
        raise BundleError(msg) from error
