"""What a report can be made of: files of results and of calibrations, and bundles with their calibrations."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from edgeexit.bundle import Bundle
from edgeexit.calibration import Calibration, calibration_from
from edgeexit.documents import read_json
from edgeexit.errors import InputError
from edgeexit.measure import BenchResult, read_result

Item: TypeAlias = BenchResult | Calibration


def read_items(path: Path) -> list[tuple[str, Item]]:
    """Everything that a file or a bundle holds for a report, with a name each.

    Raises:
        InputError: it is neither a result nor a calibration nor a bundle with a calibration.
    """
    if path.is_dir():
        return _of_bundle(path)
    document = read_json(path, "a bench result or a calibration")
    if isinstance(document, dict) and str(document.get("schema")).startswith("edgeexit.calibration/"):
        return [(path.name, calibration_from(document, str(path)))]
    return [(path.name, read_result(path))]


def _of_bundle(path: Path) -> list[tuple[str, Item]]:
    bundle = Bundle.open(path)
    found: list[tuple[str, Item]] = []
    for key in bundle.manifest.calibrations:
        document = bundle.read_calibration(key)
        if document is not None:
            found.append((f"{path.name} on {key}", calibration_from(document, f"{path}, calibration {key}")))
    if not found:
        msg = f"{path} has no calibration to report. Run: edgeexit calibrate {path}"
        raise InputError(msg)
    return found
