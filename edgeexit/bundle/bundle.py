"""Open, check and change a bundle."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from edgeexit.arguments import as_path
from edgeexit.bundle.manifest import CalibrationEntry, FileEntry, Manifest, manifest_from
from edgeexit.bundle.store import (
    LOCK,
    digest_of,
    is_temporary,
    locked,
    move_into_place,
    temporary,
    write_whole,
    writing,
)
from edgeexit.documents import dumps
from edgeexit.errors import BundleError, EdgeExitError
from edgeexit.graph.damage import damage_of
from edgeexit.graph.network import all_tensors, is_file, lies_in, outside_location

MANIFEST = "manifest.json"
PROBE = ".tmp-probe"
_HASH_DIGITS = 16
_CONTENT_NAME = re.compile(rf"-[0-9a-f]{{{_HASH_DIGITS}}}\.\w+$")


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk, checked when it was opened.

    Attributes:
        path: its folder.
        manifest: what it says of itself.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path | str) -> Bundle:
        """Open a bundle and check it: schema, every hash, and that every path stays inside, those of outside weights too.

        Raises:
            BundleError: with what is wrong and what to do.
        """
        folder = as_path("path", path)
        with _reading(folder):
            bundle = cls(folder, _read_manifest(folder))
            try:
                _check(bundle)
            except (BundleError, FileNotFoundError):
                if _read_manifest(folder) == bundle.manifest:
                    raise
                return cls.open(folder)  # a writer has replaced it while it was being read
            return bundle

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the ONNX files."""
        m = self.manifest
        return (m.model, m.backbone, m.fused, *(s.file for s in m.stages))

    def file(self, name: str) -> Path:
        """Path of one of its files."""
        return self.path / name

    def read_calibration(self, key: str) -> dict[str, Any] | None:
        """The calibration document of a key, or None where there is none.

        Raises:
            BundleError: it is not a JSON object.
        """
        entry = self.manifest.calibrations.get(key)
        if entry is None:
            return None
        document = _read_json(self.file(entry.file))
        if not isinstance(document, dict):
            msg = f"{self.file(entry.file)} is not a calibration (a JSON object)."
            raise BundleError(msg)
        return document

    def attachment(self, key: str, purpose: str) -> Path | None:
        """Path of a file that goes with a calibration, such as its replay table; None where there is none."""
        entry = self.manifest.calibrations.get(key)
        name = entry.attachments.get(purpose) if entry else None
        return self.file(name) if name else None

    def write_calibration(
        self, key: str, document: Mapping[str, Any], attachments: Mapping[str, bytes] | None = None
    ) -> Bundle:
        """Add or replace a calibration; returns the bundle as it is then.

        Args:
            key: `<device>/<backend>-<mode>-<precision>-t<threads>`.
            document: JSON values.
            attachments: contents of files that go with it, by name with a suffix (`replay.npz`); the purpose is the part before the dot.

        Raises:
            BundleError: another process writes, no permission, no room; the bundle is then as it was.
        """
        with _changing(self.path) as change:
            files = {
                purpose: change.add(f"calibrations/{key}-{purpose}", data)
                for purpose, data in (attachments or {}).items()
            }
            name = change.add(f"calibrations/{key}.json", dumps(document).encode())
            entry = CalibrationEntry(name, {purpose.split(".")[0]: file for purpose, file in files.items()})
            return change.commit(lambda m: replace(m, calibrations={**m.calibrations, key: entry}))

    def check_writable(self) -> None:
        """Refuse before long work whose result could not be kept.

        Raises:
            BundleError: another process writes, no permission.
        """
        with locked(self.path):
            write_whole(self.path / PROBE, b"")
            (self.path / PROBE).unlink()


class BundleChange:
    """New files for a bundle, and the one step that makes them its content. Made by `replace_bundle` and the writing methods."""

    def __init__(self, folder: Path, old: Manifest | None) -> None:
        self.folder = folder
        self.old = old
        self.files: dict[str, FileEntry] = {}
        self._made: list[Path] = []

    def add(self, name: str, content: bytes) -> str:
        """Add a file; the name gets its content's hash before the suffix. Returns that name."""
        unfinished = self.unfinished(name)
        unfinished.write_bytes(content)
        return self.adopt(unfinished, name)

    def unfinished(self, name: str) -> Path:
        """Where to write a file that `adopt` will take in."""
        if ".." in Path(name).parts or Path(name).is_absolute():  # a key is made of what manifests say
            msg = f"{name!r} lies outside the bundle {self.folder}: refused."
            raise BundleError(msg)
        path = temporary((self.folder / name).parent, Path(name).name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def adopt(self, unfinished: Path, name: str) -> str:
        """Take in a finished file under its content's name. Returns that name."""
        digest = digest_of(unfinished)
        plain = Path(name)
        final = str(plain.with_name(f"{plain.stem}-{digest[:_HASH_DIGITS]}{plain.suffix}"))
        self.files[final] = FileEntry(digest, unfinished.stat().st_size)
        if not (self.folder / final).exists():
            self._made.append(self.folder / final)
        move_into_place(unfinished, self.folder / final)
        return final

    def undo(self) -> None:
        """Remove what was added, unless the manifest in force names it."""
        manifest = _old_manifest(self.folder)
        for path in self._made:
            if manifest is None or str(path.relative_to(self.folder)) not in manifest.files:
                path.unlink(missing_ok=True)
        _sweep(self.folder, manifest)

    def commit(self, make: Callable[[Manifest], Manifest]) -> Bundle:
        """Replace the manifest by what `make` makes of the old one; files that nothing names are then removed."""
        assert self.old is not None
        return self.install(make(replace(self.old, files={**self.old.files, **self.files})))

    def install(self, manifest: Manifest) -> Bundle:
        """Replace the manifest; from here on the bundle is the new one."""
        manifest = _without_orphans(manifest)
        write_whole(self.folder / MANIFEST, dumps(manifest).encode())
        with suppress(OSError):  # it is committed; what is left over goes when it is written next
            _sweep(self.folder, manifest)
        return Bundle(self.folder, manifest)


@contextmanager
def replace_bundle(path: Path) -> Iterator[BundleChange]:
    """Write a new bundle at `path`, over the bundle that may be there. Until `install`, the old one stays as it is.

    Raises:
        BundleError: `path` holds something that is no bundle, another process writes, no permission, no room.
    """
    _old_manifest(path)  # refuses what is no bundle, before anything is written
    fresh = not path.exists()
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        with locked(path):
            old = _old_manifest(path)  # another writer may have replaced it meanwhile
            _sweep(path, old)
            change = BundleChange(path, old)
            try:
                yield change
            except BaseException:
                change.undo()
                if fresh and not (path / MANIFEST).exists():
                    _remove_empty(path)
                raise


@contextmanager
def _changing(path: Path) -> Iterator[BundleChange]:
    with writing(path), locked(path):
        change = BundleChange(path, _read_manifest(path))
        try:
            yield change
        except BaseException:
            change.undo()
            raise


def _old_manifest(path: Path) -> Manifest | None:
    if (path / MANIFEST).exists():
        with suppress(EdgeExitError):  # a damaged bundle may be compiled anew
            return _read_manifest(path)
        return None
    if path.exists() and (not path.is_dir() or any(path.iterdir())) and not (path / LOCK).exists():
        msg = f"{path} exists and is not a bundle: choose another path, or remove it first."
        raise BundleError(msg)
    return None


def _sweep(folder: Path, manifest: Manifest | None) -> None:
    """Remove what no manifest names: unfinished files of killed writers, and files of the manifest before. Other people's stay.

    A manifest that is there and cannot be read (damaged, or of a newer edgeexit) may name anything: then only unfinished files go.
    """
    unknown = manifest is None and (folder / MANIFEST).exists()
    keep = manifest.files if manifest else {}
    calibrations = folder / "calibrations"
    for path in sorted(folder.rglob("*"), reverse=True):
        ours = not unknown and _CONTENT_NAME.search(path.name) and str(path.relative_to(folder)) not in keep
        if path.is_file() and (is_temporary(path) or ours):
            path.unlink()
        elif calibrations in (path, *path.parents) and _is_empty_folder(path):
            path.rmdir()


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        (folder / LOCK).unlink()
        folder.rmdir()


def _without_orphans(manifest: Manifest) -> Manifest:
    used = {manifest.model, manifest.backbone, manifest.fused, *(s.file for s in manifest.stages)}
    for entry in manifest.calibrations.values():
        used |= {entry.file, *entry.attachments.values()}
    return replace(manifest, files={n: f for n, f in manifest.files.items() if n in used or n.endswith(".bin")})


def _read_manifest(folder: Path) -> Manifest:
    if not (folder / MANIFEST).is_file():
        kind = (
            "does not exist"
            if not folder.exists()
            else "holds no manifest.json (not a bundle, or its compile never finished)"
        )
        msg = f"{folder} {kind}. Make one: edgeexit compile model.onnx -o {folder}"
        raise BundleError(msg)
    return manifest_from(_read_json(folder / MANIFEST), str(folder / MANIFEST))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        msg = f"{path} is not JSON ({error}): the bundle is damaged; compile it again."
        raise BundleError(msg) from error
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror})."
        raise BundleError(msg) from error


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = f"{error.filename or folder} cannot be read ({error.strerror})."
        raise BundleError(msg) from error


def _check(bundle: Bundle) -> None:
    for name, entry in bundle.manifest.files.items():
        _check_file(bundle.path, name, entry)
    for name in bundle.models:
        _check_pointers(bundle, name)


def _check_file(folder: Path, name: str, entry: FileEntry) -> None:
    path = folder / name
    if Path(name).is_absolute() or not lies_in(folder, path):
        msg = f"the manifest of {folder} names {name!r}, which lies outside the bundle: refused."
        raise BundleError(msg)
    if not is_file(path):
        msg = f"{path} is missing: the bundle is damaged; copy it again, or compile it again."
        raise BundleError(msg)
    if path.stat().st_size != entry.bytes or digest_of(path) != entry.sha256:
        msg = f"{path} is not the file that was written (its SHA-256 differs): the bundle is damaged; copy it again, or compile it again."
        raise BundleError(msg)


def _check_pointers(bundle: Bundle, name: str) -> None:
    """Outside weights of a model must lie in a listed file beside it, within its size."""
    try:
        proto = onnx.load(str(bundle.file(name)), load_external_data=False)
    except (DecodeError, ValueError) as error:
        msg = f"{bundle.file(name)} is not an ONNX model ({error}): compile the bundle again."
        raise BundleError(msg) from error
    fault = damage_of(proto)
    if fault is not None:
        msg = f"{bundle.file(name)} is damaged: {fault}. Compile the bundle again."
        raise BundleError(msg)
    if proto.functions or proto.graph.sparse_initializer:  # weights could hide there
        msg = f"{bundle.file(name)} holds functions or sparse weights, which edgeexit never writes: refused."
        raise BundleError(msg)
    for tensor in all_tensors(proto.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            where = outside_location(tensor)
            file = bundle.manifest.files.get(str(Path(name).parent / where.get("location", "")))
            if file is None or _end_of(where) > file.bytes:
                msg = f"weight {tensor.name!r} of {name} points to {where}, which is not in the bundle: refused."
                raise BundleError(msg)


def _end_of(where: Mapping[str, str]) -> int:
    try:
        offset, length = int(where.get("offset", "0")), int(where.get("length", "0"))
    except ValueError as error:
        msg = f"a weight's place {dict(where)} is not made of numbers: refused."
        raise BundleError(msg) from error
    return offset + length if offset >= 0 and length >= 0 else 1 << 62
