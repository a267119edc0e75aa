"""The calibrations of a bundle: list, read, and carry them from bundle to bundle."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeexit.bundle import Bundle, CalibrationRecord
from edgeexit.bundle.archive import SCHEMA, Archive, ArchiveInfo, read_calibration_archive
from edgeexit.calibration.kept import REPLAY
from edgeexit.calibration.replay import ReplayTable
from edgeexit.calibration.result import Calibration, parse_calibration
from edgeexit.errors import EdgeExitError, InputError
from edgeexit.util.arguments import as_path
from edgeexit.util.progress import show_nothing


def list_calibrations(bundle: Bundle | Path | str) -> tuple[CalibrationRecord, ...]:
    """Every calibration of a bundle, oldest first: name, key, date, target and verdict.

    Raises:
        BundleError: the bundle is damaged.

    Example:
        >>> import edgeexit
        >>> [(record.name, record.target) for record in edgeexit.list_calibrations("lenet.eexit")]
        [('cal-1', 'accuracy>=0.9')]
    """
    return _open_bundle(bundle).history


def load_calibration(bundle: Bundle | Path | str, name: str) -> Calibration:
    """A calibration of a bundle by its name in the history.

    Raises:
        InputError: there is none of that name; the message lists the names.
        BundleError: the bundle or the calibration is damaged.

    Example:
        >>> import edgeexit
        >>> edgeexit.load_calibration("lenet.eexit", "cal-1").target
        'accuracy>=0.9'
    """
    opened = _open_bundle(bundle)
    record = opened.find_calibration(name)
    return parse_calibration(opened.read_record(record), f"calibration {name!r} of {opened.path}")


def export_calibration(bundle: Bundle | Path | str, name: str) -> bytes:
    """A calibration of a bundle as the bytes of a file, to be written and imported into a bundle of the same network elsewhere.

    Raises:
        InputError: there is none of that name.

    Example:
        >>> from pathlib import Path
        >>> import edgeexit
        >>> Path("cal-1.calib").write_bytes(edgeexit.export_calibration("lenet.eexit", "cal-1")) > 0
        True
    """
    opened = _open_bundle(bundle)
    record = opened.find_calibration(name)
    files = {f"{purpose}{Path(file).suffix}": opened.file(file) for purpose, file in record.attachments.items()}
    about = ArchiveInfo(SCHEMA, name, record.key, opened.manifest.network_sha256)
    return Archive(about, opened.read_record(record), {n: f.read_bytes() for n, f in files.items()}).to_bytes()


def import_calibration(bundle: Bundle | Path | str, path: Path | str, *, save_as: str | None = None) -> Bundle:
    """Add a calibration from a file to a bundle's history; it does not become active. Returns the bundle as it is then.

    Args:
        bundle: a bundle of the same network, or its path.
        path: what `export_calibration` made.
        save_as: its name in the history; None keeps the one that it had, with `-2` where that is taken.

    Raises:
        InputError: the file is damaged, or of another network; a name that is taken.
        BundleError: the bundle cannot be written.

    Example:
        >>> from pathlib import Path
        >>> import edgeexit
        >>> _ = Path("cal-1.calib").write_bytes(edgeexit.export_calibration("lenet.eexit", "cal-1"))
        >>> _ = edgeexit.compile("lenet-digits.onnx", "other.eexit", seconds=0)
        >>> bundle = edgeexit.import_calibration("other.eexit", "cal-1.calib", save_as="from-lenet")
        >>> [record.name for record in edgeexit.list_calibrations(bundle)]
        ['from-lenet']
    """
    opened, file = _open_bundle(bundle), as_path("path", path)
    archive = read_calibration_archive(file)
    if archive.about.network != opened.manifest.network_sha256:
        what = "another network, criterion or precision"
        msg = f"{file} was calibrated on {what} than {opened.path} holds: its thresholds would be wrong here."
        raise InputError(msg)
    result = parse_calibration(archive.document, str(file))
    _check_fits(opened, result, archive, file)
    document = result.to_document()
    if save_as is None:
        _refuse_known(opened, document, file)
    else:
        opened.check_calibration_name(save_as)
    return opened.write_calibration(
        result.key,
        document,
        {f"{REPLAY}.npz": archive.attachments[f"{REPLAY}.npz"]},
        name=save_as or archive.about.name,
        activate=False,
        waiting=show_nothing,
    )


def _refuse_known(bundle: Bundle, document: Mapping[str, Any], file: Path) -> None:
    for record in bundle.history:
        if record.key == document["key"] and _is_same(bundle.read_record(record), document):
            msg = f"{file} is in {bundle.path} already, as {record.name!r}; to add it once more, give it another name."
            raise InputError(msg)


def _is_same(kept: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    """Whether a document of a bundle says what another one says; earlier versions wrote fewer fields."""
    try:
        return parse_calibration(kept, "").to_document() == document
    except EdgeExitError:  # damaged, or of a newer edgeexit
        return False


def _check_fits(bundle: Bundle, result: Calibration, archive: Archive, file: Path) -> None:
    table = archive.attachments.get(f"{REPLAY}.npz")
    if table is None:
        msg = f"{file} has no replay table: export it again."
        raise InputError(msg)
    exits = ReplayTable.load(io.BytesIO(table)).exits
    if not exits == bundle.manifest.exits == len(result.inner_thresholds) + 1:
        msg = f"{file} is of a network with {exits} exits, {bundle.path} has {bundle.manifest.exits}."
        raise InputError(msg)


def _open_bundle(bundle: Bundle | Path | str) -> Bundle:
    return bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
