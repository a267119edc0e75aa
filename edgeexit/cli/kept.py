"""Lines that commands print about a bundle's calibrations: where a new one went, and which one is in use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexit.cli.printing import format_command, print_command, print_note

if TYPE_CHECKING:
    from edgeexit.bundle import Bundle, CalibrationRecord
    from edgeexit.runtime import Runner


def print_kept(bundle: Path, added: CalibrationRecord | None, *, active: bool) -> None:
    """Say under which name a new calibration is kept and whether it is active; None after a dry run."""
    if added is None:
        print_note("dry run: nothing was written.")
    elif active:
        print_note(f"kept as {added.name!r} and active.")
    else:
        print_note(f"kept as {added.name!r}, not active: its target was {added.verdict}.")
        use = format_command("calibrations", "use", bundle, added.name)
        print_command(use, label="To use it all the same: ", err=True)


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
