"""Choice among a bundle's calibrations: that of this device and these settings, or the nearest one of another device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from edgeexit.backends import Settings
from edgeexit.bundle import Bundle, CalibrationDocument, CalibrationRecord
from edgeexit.hardware import find_device_key, read_device_facts
from edgeexit.hardware.keys import find_key_changes, find_old_device_key, rank_key_changes


@dataclass(frozen=True)
class ActiveCalibration:
    """An active calibration of a bundle.

    Attributes:
        key: under which it is active.
        record: what the history says of it.
        document: it, as the bundle holds it.
        changes: differences of the device key since it was measured, as text; none for a calibration of this device.
        distance: how far that device is from this one; 0 for this one.
    """

    key: str
    record: CalibrationRecord
    document: CalibrationDocument
    changes: tuple[str, ...] = ()
    distance: int = 0


def find_settings_key(settings: Settings) -> str:
    """Under which key a calibration for these settings on this device is written."""
    return settings.key(find_device_key(backend=settings.runtime))


def find_timing_keys(settings: Settings) -> tuple[str, str]:
    """Under which keys the comparison of the two modes on this device lies: as now, and as earlier versions wrote it."""
    return (
        settings.make_timing_key(find_device_key(backend=settings.runtime)),
        settings.make_timing_key(find_old_device_key()),
    )


def find_calibration(bundle: Bundle, settings: Settings) -> ActiveCalibration | None:
    """The active calibration of this device and these settings.

    One under a key that an earlier version wrote counts where the device is the same.
    """
    for key in (find_settings_key(settings), settings.key(find_old_device_key())):
        found = _load_active(bundle, key, {})
        if found is not None:
            return found
    same = [found for found in _list_others(bundle, settings) if not found.changes]
    return max(same, key=lambda found: found.record.created, default=None)


def find_usable_calibration(bundle: Bundle, settings: Settings) -> ActiveCalibration | None:
    """The active calibration; where stages run on another machine and none was made so, that of the bundle in one place."""
    found = find_calibration(bundle, settings)
    return find_calibration(bundle, replace(settings, remote=0)) if found is None and settings.remote else found


def explain_local_calibration(found: ActiveCalibration, settings: Settings) -> list[str]:
    """A remark where that is one of the bundle in one place, as a list."""
    if not settings.remote or found.key.endswith(settings.key("")):
        return []
    where = f"stages from {settings.remote} on run on another machine, and calibration {found.record.name!r} was made with all of them here"
    return [f"{where}: answers and exits hold, its latencies do not. Calibrate with --remote {settings.remote}=URL."]


def find_nearest_calibration(bundle: Bundle, settings: Settings) -> ActiveCalibration | None:
    """The active calibration for these settings of the device that is most like this one, and what differs."""
    others = sorted(_list_others(bundle, settings), key=lambda found: found.record.created, reverse=True)
    return min(others, key=lambda found: found.distance, default=None)


def find_measured_calibration(bundle: Bundle, settings: Settings, attachment: str) -> CalibrationRecord | None:
    """The newest calibration of this device and these settings that has an attachment, active or not."""
    keys = {find_settings_key(settings), settings.key(find_old_device_key())}
    found = find_calibration(bundle, settings)
    records = [
        r for r in bundle.history if (r.key in keys or (found and r == found.record)) and attachment in r.attachments
    ]
    return records[-1] if records else None


def find_inactive_calibration(bundle: Bundle, settings: Settings) -> CalibrationRecord | None:
    """The newest calibration of this device and these settings that is not active."""
    keys = {find_settings_key(settings), settings.key(find_old_device_key())}
    records = [record for record in bundle.history if record.key in keys]
    return records[-1] if records else None


def find_device_changes(document: CalibrationDocument, settings: Settings) -> tuple[str, ...]:
    """Differences of the device key from the device that a calibration was measured on; empty on the same device."""
    return tuple(find_key_changes(document.device or {}, read_device_facts(), settings.runtime).values())


def _list_others(bundle: Bundle, settings: Settings) -> Iterator[ActiveCalibration]:
    """Active calibrations for these settings whose documents say on which device they were measured."""
    suffix = settings.key("")
    for key in sorted(bundle.manifest.calibrations):
        document = bundle.read_calibration(key) if key.endswith(suffix) else None
        if document is not None and document.device is not None:
            changes = find_key_changes(document.device, read_device_facts(), settings.runtime)
            found = _load_active(bundle, key, changes)
            if found is not None:
                yield found


def _load_active(bundle: Bundle, key: str, changes: Mapping[str, str]) -> ActiveCalibration | None:
    record, document = bundle.active(key), bundle.read_calibration(key)
    if record is None or document is None:
        return None
    return ActiveCalibration(key, record, document, tuple(changes.values()), rank_key_changes(changes))
