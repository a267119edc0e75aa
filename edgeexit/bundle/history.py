"""The life of calibrations in a bundle, as functions from one manifest to the next: add, activate, pin, go back, remove.

Every calibration is kept under a name; per key (device and settings) at most one is active. Which one was active before is in the log
`Manifest.activated`, so that `roll_back` can return to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from edgeexit.bundle.calibration_document import CalibrationDocument
from edgeexit.bundle.manifest import CALIBRATION_NAME, CalibrationEntry, CalibrationRecord, Manifest
from edgeexit.errors import InputError, did_you_mean

_NUMBERED = re.compile(r"cal-(\d{1,9})")


def check_name(manifest: Manifest, name: str) -> str:
    """A name for a new calibration.

    Raises:
        InputError: it is not letters, digits, '.', '_' and '-', or another calibration of the bundle has it.
    """
    if not isinstance(name, str) or not CALIBRATION_NAME.fullmatch(name):
        msg = f"{name!r} cannot name a calibration: use 1 to 64 letters, digits, '.', '_' and '-', a letter or digit first."
        raise InputError(msg)
    if any(record.name == name for record in manifest.history):
        msg = f"the bundle has a calibration named {name!r} already: choose another name, such as {choose_free_name(manifest, name)!r}."
        raise InputError(msg)
    return name


def choose_free_name(manifest: Manifest, wanted: str | None = None) -> str:
    """`wanted`, or `wanted-2` and so on where it is taken; `cal-<n>` where none is wanted."""
    taken = {record.name for record in manifest.history}
    if wanted is None:
        numbers = [int(found[1]) for name in taken if (found := _NUMBERED.fullmatch(name))]
        return f"cal-{max(numbers, default=0) + 1}"
    tries = (wanted, *(f"{wanted}-{i}" for i in range(2, len(taken) + 3)))
    return next(name for name in tries if name not in taken)


def find_record(manifest: Manifest, name: str) -> CalibrationRecord:
    """The calibration of a name.

    Raises:
        InputError: there is none; the message lists the names and the nearest one.
    """
    for record in manifest.history:
        if record.name == name:
            return record
    names = [record.name for record in manifest.history]
    known = f"It has {', '.join(names)}." if names else "It has none; make one: edgeexit calibrate"
    msg = f"the bundle has no calibration named {name!r}.{did_you_mean(name, names)} {known}"
    raise InputError(msg)


def make_record(name: str, key: str, document: CalibrationDocument, entry: CalibrationEntry) -> CalibrationRecord:
    """The history's record of a calibration document."""
    created, target = document.created or "", document.target or ""
    return CalibrationRecord(name, key, created, target, document.verdict, entry.file, entry.attachments)


def add_records(manifest: Manifest, read: Callable[[str], CalibrationDocument]) -> Manifest:
    """The manifest with a record of every active calibration; those of bundles of schema 1 have none yet.

    Args:
        manifest: manifest of any schema.
        read: the calibration document in a file of the bundle.
    """
    for key, entry in sorted(manifest.calibrations.items()):
        if not entry.name:
            record = make_record(choose_free_name(manifest), key, read(entry.file), entry)
            manifest = activate(replace(manifest, history=(*manifest.history, record)), record)
    return manifest


def activate(
    manifest: Manifest, record: CalibrationRecord, key: str | None = None, *, pinned: bool = False
) -> Manifest:
    """Make a calibration the active one of its key, or of another key; pinned or not."""
    key = key or record.key
    log = manifest.activated.get(key, ())
    if log[-1:] != (record.name,):
        log = (*log, record.name)
    return replace(
        manifest,
        calibrations={**manifest.calibrations, key: replace(record.entry, pinned=pinned)},
        activated={**manifest.activated, key: log},
    )


def is_pinned(manifest: Manifest, key: str) -> bool:
    """Whether the active calibration of a key is pinned."""
    entry = manifest.calibrations.get(key)
    return entry is not None and entry.pinned


def move_key(manifest: Manifest, old: str, new: str) -> Manifest:
    """Rename a key under which earlier versions wrote the calibrations of a device; nothing where the new one is in use."""
    if old == new or old not in manifest.calibrations or new in manifest.calibrations:
        return manifest
    calibrations, activated = dict(manifest.calibrations), dict(manifest.activated)
    calibrations[new] = calibrations.pop(old)
    activated[new] = activated.pop(old, ())
    return replace(manifest, calibrations=calibrations, activated=activated)


def roll_back(manifest: Manifest, key: str) -> Manifest:
    """Make active again what was active before on this key.

    Raises:
        InputError: nothing was.
    """
    log = manifest.activated.get(key, ())
    if len(log) < 2:
        now = f"{log[0]!r} is the only calibration that was ever active" if log else "no calibration was ever active"
        msg = f"there is nothing to go back to: {now} on {key}."
        raise InputError(msg)
    before = find_record(manifest, log[-2])
    manifest = replace(manifest, activated={**manifest.activated, key: log[:-1]})
    return activate(manifest, before, key)


def remove(manifest: Manifest, name: str) -> Manifest:
    """Take a calibration out of the history.

    Raises:
        InputError: there is none of that name, or it is active.
    """
    record = find_record(manifest, name)
    active = [key for key, entry in manifest.calibrations.items() if entry.name == name]
    if active:
        msg = f"calibration {name!r} is active on {', '.join(active)}: make another one active first (edgeexit calibrations use)."
        raise InputError(msg)
    logs = {key: _remove_from_log(log, name) for key, log in manifest.activated.items()}
    return replace(manifest, history=tuple(r for r in manifest.history if r is not record), activated=logs)


def _remove_from_log(log: tuple[str, ...], name: str) -> tuple[str, ...]:
    """A log of activations without a name; what then stands twice in a row stands once."""
    rest: tuple[str, ...] = ()
    for other in log:
        if other != name and rest[-1:] != (other,):
            rest = (*rest, other)
    return rest


def carry_over_calibrations(new: Manifest, old: Manifest | None) -> Manifest:
    """A new compile's manifest with the calibrations and timings of the bundle before, where they agree.

    Calibrations of another network would be wrong, so they are left out.
    """
    if old is None or not old.agrees_with(new):
        return new
    used = {file for entry in old.calibrations.values() for file in entry.files}
    used |= {file for record in old.history for file in record.entry.files}
    return replace(
        new,
        files={**new.files, **{name: old.files[name] for name in used}},
        calibrations=old.calibrations,
        history=old.history,
        activated=old.activated,
        timings={**old.timings, **new.timings},
        preferred={**old.preferred, **new.preferred},
    )
