"""Open, check and change a bundle."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeexit.bundle import history
from edgeexit.bundle.calibration_document import CalibrationDocument
from edgeexit.bundle.leftovers import HASH_DIGITS, drop_unused_files, read_old_manifest, remove_leftovers
from edgeexit.bundle.manifest import SCHEMA, CalibrationEntry, CalibrationRecord, FileEntry, Manifest, PreferredSettings
from edgeexit.bundle.reading import MANIFEST, check_files, read_bundle_json, read_manifest, translate_read_errors
from edgeexit.bundle.seal import seal
from edgeexit.bundle.store import (
    LOCK,
    check_room_to_write,
    compute_sha256,
    lock_folder,
    make_folder,
    translate_write_errors,
)
from edgeexit.bundle.summary import format_bundle_summary
from edgeexit.errors import BundleError
from edgeexit.util.arguments import as_path, can_be_file_name
from edgeexit.util.atomic import create_temporary, move_into_place, write_whole
from edgeexit.util.display import Summarised, Summary
from edgeexit.util.documents import dumps
from edgeexit.util.progress import Progress, show_nothing


@dataclass(frozen=True, repr=False)
class Bundle(Summarised):
    """A bundle on disk, checked when it was opened.

    Attributes:
        path: its folder.
        manifest: the bundle's manifest.

    Example:
        >>> import edgeexit
        >>> bundle = edgeexit.Bundle.open("lenet.eexit")
        >>> bundle.manifest.criterion, [stage.name for stage in bundle.manifest.stages]
        ('entropy', ['exit1', 'exit2'])
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
        with translate_read_errors(folder):
            bundle = cls(folder, read_manifest(folder))
            try:
                check_files(folder, bundle.manifest)
            except (BundleError, FileNotFoundError):
                if not bundle.is_replaced():
                    raise
                return cls.open(folder)  # a writer has replaced it while it was being read
            return bundle

    def _summary(self) -> Summary:
        return format_bundle_summary(self.path, self.manifest)

    @property
    def name(self) -> str:
        """Name of its folder without `.eexit`, used in the names of files made from it."""
        return self.path.absolute().resolve().name.removesuffix(".eexit") or "bundle"

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the ONNX files."""
        return self.manifest.models

    def is_replaced(self) -> bool:
        """Whether the folder holds another manifest by now: it was compiled again, or calibrated."""
        return read_manifest(self.path) != self.manifest

    def is_recompiled(self) -> bool:
        """Whether the folder holds another network by now, or one whose pictures are prepared otherwise; False where it cannot be read."""
        try:
            return not self.manifest.agrees_with(read_manifest(self.path))
        except BundleError:
            return False

    def refuse_recompiled(self) -> None:
        """Raise a BundleError where the folder holds another network by now, or none."""
        if not self.manifest.agrees_with(read_manifest(self.path)):
            msg = f"{self.path} was recompiled since it was opened: load it again, or call runner.reload()."
            raise BundleError(msg)

    def file(self, name: str) -> Path:
        """Path of one of its files.

        Raises:
            BundleError: it is gone; the message says whether the bundle was recompiled.
        """
        path = self.path / name
        if not path.exists():
            self.refuse_recompiled()
            msg = f"{path} is missing: the bundle is damaged; copy it again, or compile it again."
            raise BundleError(msg)
        return path

    @property
    def history(self) -> tuple[CalibrationRecord, ...]:
        """Every calibration that is kept, oldest first; `manifest.calibrations` has the active ones by key."""
        return history.add_records(self.manifest, self._read_document).history

    def active(self, key: str) -> CalibrationRecord | None:
        """The active calibration of a key, or None."""
        manifest = history.add_records(self.manifest, self._read_document)
        entry = manifest.calibrations.get(key)
        return None if entry is None else history.find_record(manifest, entry.name)

    def find_calibration(self, name: str) -> CalibrationRecord:
        """The calibration of a name.

        Raises:
            InputError: there is none; the message lists the names.
        """
        return history.find_record(history.add_records(self.manifest, self._read_document), name)

    def check_calibration_name(self, name: str) -> None:
        """Raise an InputError where a new calibration cannot have this name."""
        history.check_name(history.add_records(self.manifest, self._read_document), name)

    def read_calibration(self, key: str) -> CalibrationDocument | None:
        """The document of the active calibration of a key, or None where there is none.

        Raises:
            BundleError: it is not a JSON object.
        """
        entry = self.manifest.calibrations.get(key)
        return None if entry is None else self._read_document(entry.file)

    def read_record(self, record: CalibrationRecord) -> CalibrationDocument:
        """The document of a calibration of the history.

        Raises:
            BundleError: it is not a JSON object.
        """
        return self._read_document(record.file)

    def _read_document(self, file: str) -> CalibrationDocument:
        document = read_bundle_json(self.file(file))
        if not isinstance(document, dict):
            msg = f"{self.path / file} is not a calibration (a JSON object)."
            raise BundleError(msg)
        return CalibrationDocument(document)

    def attachment(self, key: str, purpose: str) -> Path | None:
        """Path of a file that goes with the active calibration, such as its replay table; None where there is none."""
        entry = self.manifest.calibrations.get(key)
        name = entry.attachments.get(purpose) if entry else None
        return self.file(name) if name else None

    def write_calibration(
        self,
        key: str,
        document: Mapping[str, Any],
        attachments: Mapping[str, bytes] | None = None,
        *,
        name: str | None = None,
        activate: bool = True,
        old_key: str | None = None,
        waiting: Progress | None = None,
    ) -> Bundle:
        """Add a calibration to the history; returns the bundle as it is then.

        Args:
            key: `<device>/<backend>-<mode>-<precision>-t<threads>`.
            document: JSON values.
            attachments: contents of files that go with it, by name with a suffix (`replay.npz`); the purpose is the part before the dot.
            name: name of the calibration; None takes `cal-<n>`. Where another process has taken it meanwhile, `-2` is appended.
            activate: make it the active one of its key, unless that is pinned; the one before stays in the history.
            old_key: another name of the key, under which an earlier version wrote; what is active under it is then so under `key`.
            waiting: called while another process writes the bundle, which is then waited for; None raises an error at once.

        Raises:
            BundleError: another process writes, no permission, no room, or the bundle was recompiled meanwhile; nothing has changed then.
            InputError: a name that no calibration can have.
        """
        if name is not None:
            history.check_name(replace(self.manifest, history=(), activated={}, calibrations={}), name)
        with self._lock_for_change(waiting) as change:
            files = {
                purpose.split(".")[0]: change.add(f"calibrations/{key}-{purpose}", data)
                for purpose, data in (attachments or {}).items()
            }
            entry = CalibrationEntry(change.add(f"calibrations/{key}.json", dumps(document).encode()), files)

            def add(manifest: Manifest) -> Manifest:
                record = history.make_record(
                    history.choose_free_name(manifest, name), key, CalibrationDocument(document), entry
                )
                manifest = history.move_key(manifest, old_key or key, key)
                manifest = replace(manifest, history=(*manifest.history, record))
                wanted = activate and not history.is_pinned(manifest, key)
                return history.activate(manifest, record) if wanted else manifest

            return change.commit(add)

    def use(self, name: str, key: str | None = None, *, old_key: str | None = None, pinned: bool = False) -> Bundle:
        """Make a calibration the active one of its key, or of another key; returns the bundle as it is then. `old_key` is as of
        `write_calibration`. While it is `pinned`, no new calibration becomes active by itself.

        Raises:
            InputError: there is none of that name.
            BundleError: the bundle cannot be written.
        """

        def activate(manifest: Manifest) -> Manifest:
            record = history.find_record(manifest, name)
            manifest = history.move_key(manifest, old_key or "", key or record.key)
            return history.activate(manifest, record, key, pinned=pinned)

        return self._rewrite_manifest(activate)

    def prefer(self, key: str, settings: PreferredSettings, *thresholds: float) -> Bundle:
        """Note what is best on the device of a key, and thresholds to use without a calibration, if any; returns the bundle as it is then.

        Raises:
            BundleError: the bundle cannot be written.
        """
        kept = thresholds or self.manifest.thresholds
        return self._rewrite_manifest(lambda m: replace(m, preferred={**m.preferred, key: settings}, thresholds=kept))

    def roll_back(self, key: str) -> Bundle:
        """Make active again what was active before on a key; returns the bundle as it is then.

        Raises:
            InputError: nothing was active before.
            BundleError: the bundle cannot be written.
        """
        return self._rewrite_manifest(lambda m: history.roll_back(m, key))

    def remove_calibration(self, name: str) -> Bundle:
        """Remove a calibration and its files; returns the bundle as it is then.

        Raises:
            InputError: there is none of that name, or it is active.
            BundleError: the bundle cannot be written.
        """
        return self._rewrite_manifest(lambda m: history.remove(m, name))

    def _rewrite_manifest(self, make: Callable[[Manifest], Manifest]) -> Bundle:
        with self._lock_for_change(show_nothing) as change:
            return change.commit(make)

    @contextmanager
    def _lock_for_change(self, waiting: Progress | None) -> Iterator[BundleChange]:
        with translate_write_errors(self.path), lock_folder(self.path, waiting):
            self.refuse_recompiled()
            change = BundleChange(self.path, read_manifest(self.path))
            try:
                yield change
            except BaseException:
                change.undo()
                raise

    def check_writable(self) -> None:
        """Fail before a long computation if its result could not be written.

        A concurrent writer is not an error: it will have finished by then.

        Raises:
            BundleError: no permission, or the bundle was recompiled since it was opened.
        """
        check_room_to_write(self.path)
        self.refuse_recompiled()
        with suppress(BundleError, OSError), lock_folder(self.path):
            remove_leftovers(self.path, read_manifest(self.path))  # what killed writers left


class BundleChange:
    """New files for a bundle, and the one step that makes them its content. Made by `replace_bundle` and the writing methods."""

    def __init__(self, folder: Path, old: Manifest | None) -> None:
        self.folder = folder
        self.old = old
        self.files: dict[str, FileEntry] = {}
        self._made: list[Path] = []

    def add(self, name: str, content: bytes) -> str:
        """Add a file; the name gets its content's hash before the suffix. Returns that name."""
        unfinished = self.create_unfinished(name)
        unfinished.write_bytes(content)
        return self.adopt(unfinished, name)

    def create_unfinished(self, name: str) -> Path:
        """An empty file, new, to write what `adopt` will take in."""
        if ".." in Path(name).parts or Path(name).is_absolute():  # a key is made of what manifests and archives say
            msg = f"{name!r} lies outside the bundle {self.folder}: refused."
            raise BundleError(msg)
        if not can_be_file_name(name):
            msg = f"{name!r} can be no file's name in the bundle {self.folder}: refused."
            raise BundleError(msg)
        return create_temporary(make_folder(self.folder, Path(name).parent), Path(name).name)

    def adopt(self, unfinished: Path, name: str) -> str:
        """Take in a finished file under its content's name. Returns that name."""
        digest = compute_sha256(unfinished)
        plain = Path(name)
        final = str(plain.with_name(f"{plain.stem}-{digest[:HASH_DIGITS]}{plain.suffix}"))
        self.files[final] = FileEntry(digest, unfinished.stat().st_size)
        if not (self.folder / final).exists():
            self._made.append(self.folder / final)
        move_into_place(unfinished, self.folder / final)
        return final

    def copy(self, source: Path, name: str, entry: FileEntry) -> None:
        """Take in a copy of a file of another bundle, under the name that it has there."""
        unfinished = self.create_unfinished(name)
        shutil.copyfile(source, unfinished)
        self.files[name] = entry
        if not (self.folder / name).exists():
            self._made.append(self.folder / name)
        move_into_place(unfinished, self.folder / name)

    def undo(self) -> None:
        """Remove what was added, unless the manifest in force names it."""
        manifest = read_old_manifest(self.folder)
        for path in self._made:
            if manifest is None or str(path.relative_to(self.folder)) not in manifest.files:
                path.unlink(missing_ok=True)
        remove_leftovers(self.folder, manifest)

    def commit(self, make: Callable[[Manifest], Manifest]) -> Bundle:
        """Replace the manifest by what `make` makes of the old one; files that nothing names are then removed."""
        assert self.old is not None
        old = Bundle(self.folder, self.old)
        known = history.add_records(self.old, old._read_document)  # noqa: SLF001
        return self.install(make(replace(known, files={**known.files, **self.files})))

    def install(self, manifest: Manifest) -> Bundle:
        """Replace the manifest; from here on the bundle is the new one."""
        manifest = drop_unused_files(replace(manifest, schema=SCHEMA))
        write_whole(self.folder / MANIFEST, seal(manifest))
        with suppress(OSError):  # it is committed; what is left over goes when it is written next
            remove_leftovers(self.folder, manifest)
        return Bundle(self.folder, manifest)


def check_replaceable(path: Path) -> None:
    """Refuse before long work what `replace_bundle` would refuse after it.

    Raises:
        BundleError: `path` holds something that is no bundle, or cannot be written.
    """
    read_old_manifest(path)
    if path.exists():
        check_room_to_write(path)


def copy_bundle(bundle: Bundle, path: Path) -> Bundle:
    """Copy a bundle with its calibrations to `path`, over the bundle that may be there, in one step.

    Raises:
        BundleError: as of `replace_bundle`.
    """
    with replace_bundle(path) as change:
        for name, entry in bundle.manifest.files.items():
            change.copy(bundle.file(name), name, entry)
        return change.install(bundle.manifest)


@contextmanager
def replace_bundle(path: Path) -> Iterator[BundleChange]:
    """Write a new bundle at `path`, over the bundle that may be there. Until `install`, the old one stays as it is.

    Raises:
        BundleError: `path` holds something that is no bundle, another process writes, no permission, no room.
    """
    read_old_manifest(path)  # refuses what is no bundle, before anything is written
    fresh = not path.exists()
    with translate_write_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        with lock_folder(path):
            old = read_old_manifest(path)  # another writer may have replaced it meanwhile
            remove_leftovers(path, old)
            change = BundleChange(path, old)
            try:
                yield change
            except BaseException:
                change.undo()
                if fresh and not (path / MANIFEST).exists():
                    with suppress(OSError):
                        (path / LOCK).unlink()
                        path.rmdir()
                raise
