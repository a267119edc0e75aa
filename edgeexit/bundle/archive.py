"""One calibration as one file, to carry it from bundle to bundle: a ZIP of JSON and of the files that go with it.

    archive.json        schema edgeexit.calibration-archive/1: name, key, and the digest of the network that it holds for
    calibration.json    the document
    <purpose>.<suffix>  what goes with it, such as replay.npz

It is read as what it is, a file from anywhere: nothing is unpacked to disk, sizes are limited, names are not paths.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeexit.errors import InputError
from edgeexit.util.documents import check_schema, dumps, parse_document, parse_json

SCHEMA = "edgeexit.calibration-archive/1"
SUFFIX = ".calibration.zip"
_ABOUT, _DOCUMENT = "archive.json", "calibration.json"
_LARGEST = 1 << 30  # bytes of everything in it
_MOST_FILES = 16
_DAMAGE = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError, KeyError)
_MADE = (1980, 1, 1, 0, 0, 0)  # so that the same calibration is the same file


@dataclass(frozen=True)
class ArchiveInfo:
    """Metadata of an archive; `network` is the SHA-256 of the network that the calibration holds for."""

    schema: str
    name: str
    key: str
    network: str


@dataclass(frozen=True)
class Archive:
    """A calibration outside of a bundle.

    Attributes:
        about: name, key and network.
        document: the calibration, as JSON values.
        attachments: contents of the files that go with it, by name (`replay.npz`).
    """

    about: ArchiveInfo
    document: Mapping[str, Any]
    attachments: Mapping[str, bytes] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The archive as a file."""
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            contents = {
                _ABOUT: dumps(self.about).encode(),
                _DOCUMENT: dumps(self.document).encode(),
                **self.attachments,
            }
            for name, content in contents.items():
                archive.writestr(zipfile.ZipInfo(name, _MADE), content, zipfile.ZIP_DEFLATED)
        return sink.getvalue()


def read_calibration_archive(path: Path) -> Archive:
    """Read what `Archive.to_bytes` wrote.

    Raises:
        InputError: it cannot be read, is not such a file, is damaged, too large, or of a newer edgeexit.
    """
    if not path.is_file():
        msg = f"{path} is not a file. Make one: edgeexit calibrations export BUNDLE NAME -o {path}"
        raise InputError(msg)
    try:
        with zipfile.ZipFile(path) as archive:
            contents = _read_contents(archive, path)
        about, document = (parse_json(contents.pop(name).decode()) for name in (_ABOUT, _DOCUMENT))
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror or error})."
        raise InputError(msg) from error
    except (*_DAMAGE, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        msg = f"{path} is not a calibration that edgeexit exported, or is damaged ({error}): export it again."
        raise InputError(msg) from error
    check_schema(about, "calibration-archive", 1, str(path))
    if not isinstance(document, dict):
        msg = f"{path} is damaged: its calibration is not a JSON object. Export it again."
        raise InputError(msg)
    return Archive(parse_document(ArchiveInfo, about, str(path)), document, contents)


def _read_contents(archive: zipfile.ZipFile, path: Path) -> dict[str, bytes]:
    infos = archive.infolist()
    if len(infos) > _MOST_FILES or sum(info.file_size for info in infos) > _LARGEST:
        msg = f"{path} holds more than {_MOST_FILES} files or {_LARGEST >> 30} GiB: it is not a calibration that edgeexit exported."
        raise InputError(msg)
    return {info.filename: _read_content(archive, info) for info in infos}


def _read_content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Read at most the size that was checked, even if the stream holds more."""
    with archive.open(info) as stream:
        return stream.read(info.file_size)
