"""What is left in a bundle's folder by the manifest before, or by a writer that was killed."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from edgeexit.bundle.manifest import Manifest
from edgeexit.bundle.reading import MANIFEST, read_manifest
from edgeexit.bundle.store import LOCK
from edgeexit.errors import BundleError, EdgeExitError
from edgeexit.util.atomic import is_temporary

HASH_DIGITS = 16
"""Digits of its content's SHA-256 in the name of a file."""
_CONTENT_NAME = re.compile(rf"-[0-9a-f]{{{HASH_DIGITS}}}\.\w+$")


def read_old_manifest(path: Path) -> Manifest | None:
    """The manifest of the bundle that is to be replaced; None where there is none, or a damaged one.

    Raises:
        BundleError: `path` holds something that is no bundle.
    """
    if (path / MANIFEST).exists():
        with suppress(EdgeExitError):  # a damaged bundle may be recompiled
            return read_manifest(path)
        return None
    if path.exists() and (not path.is_dir() or any(path.iterdir())) and not (path / LOCK).exists():
        msg = f"{path} exists and is not a bundle: choose another path, or remove it first."
        raise BundleError(msg)
    return None


def remove_leftovers(folder: Path, manifest: Manifest | None) -> None:
    """Remove what no manifest names: unfinished files of killed writers, and files of the manifest before. Files of other programs stay.

    A manifest that is there and cannot be read (damaged, or of a newer edgeexit) may name anything: then only unfinished files go.
    """
    unknown = manifest is None and (folder / MANIFEST).exists()
    keep = manifest.files if manifest else {}
    calibrations = folder / "calibrations"
    for path in sorted(folder.rglob("*"), reverse=True):
        ours = not unknown and _CONTENT_NAME.search(path.name) and str(path.relative_to(folder)) not in keep
        if (path.is_file() or path.is_symlink()) and (is_temporary(path) or ours):
            path.unlink()
        elif calibrations in (path, *path.parents) and _is_empty_folder(path):
            path.rmdir()


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def drop_unused_files(manifest: Manifest) -> Manifest:
    """The manifest without files that no model, calibration or weight of it names."""
    used = {*manifest.models, *(file for entry in manifest.calibrations.values() for file in entry.files)}
    used |= {file for record in manifest.history for file in record.entry.files}
    return replace(manifest, files={n: f for n, f in manifest.files.items() if n in used or n.endswith(".bin")})
