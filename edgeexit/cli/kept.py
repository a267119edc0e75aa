"""Lines that commands print about a bundle's calibrations: where a new one went, and which one is in use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexit.cli.printing import format_command, print_command, print_note, print_tables, print_text

if TYPE_CHECKING:
    from edgeexit.bundle import Bundle
    from edgeexit.runtime import Runner


def print_kept(path: Path, bundle: Bundle | None) -> None:
    """Say under which name a bundle keeps its newest calibration and whether it is active; None after a dry run."""
    if bundle is None:
        print_note("dry run: nothing was written.")
        return
    added = bundle.history[-1]
    active = bundle.active(added.key)
    if active is not None and active.name == added.name:
        print_note(f"kept as {added.name!r} and active.")
    else:
        reason = f"its target was {added.verdict}"
        if added.verdict == "met" and active is not None:
            reason = f"{active.name!r} is pinned"
        print_note(f"kept as {added.name!r}, not active: {reason}.")
        use = format_command("calibrations", "use", path, added.name)
        print_command(use, label="To use it all the same: ", err=True)


def describe_calibrations(bundle: Bundle) -> dict[str, Any]:
    """Every calibration of a bundle, oldest first, for --json."""
    from edgeexit.util.documents import to_document

    active = _map_active_keys(bundle)
    rows = [
        {
            "name": record.name,
            "key": record.key,
            "created": record.created,
            "target": record.target,
            "verdict": record.verdict,
            "active_for": active.get(record.name, []),
            "pinned": record.name in _list_pinned(bundle),
        }
        for record in bundle.history
    ]
    return dict(to_document({"schema": "edgeexit.calibrations/1", "bundle": str(bundle.path), "calibrations": rows}))


def _map_active_keys(bundle: Bundle) -> dict[str, list[str]]:
    """By name of an active calibration, the keys for which it is."""
    found: dict[str, list[str]] = {}
    for key in sorted(bundle.manifest.calibrations):
        record = bundle.active(key)
        if record is not None:
            found.setdefault(record.name, []).append(key)
    return found


def print_calibrations(bundle: Bundle) -> None:
    """Every calibration of a bundle as a table, or how to make one."""
    from edgeexit.report.table import Table

    rows = tuple((r.name, _name_state(bundle, r.name), r.verdict, r.target, r.created, r.key) for r in bundle.history)
    if not rows:
        print_text(f"{bundle.path} has no calibration yet: it never leaves early.")
        print_command(
            format_command("calibrate", bundle.path, "--data", "DATA", "--target", "BOUNDS"), label="Make one: "
        )
    print_tables(
        [
            Table(
                f"Calibrations of {bundle.path}", ("name", "", "verdict", "target", "made", "device and settings"), rows
            )
        ]
    )


def _list_pinned(bundle: Bundle) -> set[str]:
    return {entry.name for entry in bundle.manifest.calibrations.values() if entry.pinned}


def _name_state(bundle: Bundle, name: str) -> str:
    """Text of the table: active, pinned or nothing."""
    if name in _list_pinned(bundle):
        return "pinned"
    return "active" if name in _map_active_keys(bundle) else ""


def list_calibration_names(folder: Path) -> list[str]:
    """Names of the calibrations of a bundle that may be there; none where there is none that can be read."""
    from edgeexit.bundle.reading import MANIFEST, read_manifest
    from edgeexit.errors import EdgeExitError

    try:
        manifest = read_manifest(folder) if (folder / MANIFEST).is_file() else None
    except (EdgeExitError, OSError):
        return []
    if manifest is None:
        return []
    return [r.name for r in manifest.history] or sorted(manifest.calibrations)


def print_dropped(before: Sequence[str], bundle: Bundle) -> None:
    """Say which calibrations of the bundle before were not carried over."""
    left = set(list_calibration_names(bundle.path))
    dropped = [name for name in before if name not in left]
    if dropped:
        print_note(
            f"the calibrations of the earlier bundle ({', '.join(dropped)}) were of another network, criterion or preprocessing"
            " and are removed. Calibrate again."
        )


def describe_active_calibration(runner: Runner) -> dict[str, Any] | None:
    """Name, target and verdict of the calibration whose thresholds a runner has, for --json; None where it has others."""
    from edgeexit.runtime.loading import read_inner_thresholds

    if runner.calibration is None or runner.calibration_name is None:
        return None
    calibrated = tuple(map(_round_to_float32, read_inner_thresholds(runner.calibration, runner.bundle)))
    if calibrated != runner.inner_thresholds:
        return None
    record = runner.bundle.find_calibration(runner.calibration_name)
    return {"name": record.name, "target": record.target, "verdict": record.verdict}


def describe_thresholds(runner: Runner) -> str:
    """Where a runner's thresholds come from: `calibration cal-1 (drop<=1: met)`, the model, or given, or none."""
    found = describe_active_calibration(runner)
    if found is not None:
        return f"calibration {found['name']} ({found['target']}: {found['verdict']})"
    if runner.has_default_thresholds:
        return "those that the model came with, since there is no calibration"
    return "as given" if any(map(math.isfinite, runner.inner_thresholds)) else "none, so that nothing leaves early"


def _round_to_float32(value: float) -> float:
    import numpy as np

    return float(np.float32(value))
