"""`edgeexit calibrations`: list a bundle's calibrations, choose the active one, carry them from bundle to bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeexit.cli.common import BundlePath, Json, emit
from edgeexit.cli.help import Group, add_command
from edgeexit.cli.kept import describe_calibrations, print_calibrations
from edgeexit.cli.printing import format_command, print_command, print_note, print_tables, print_text
from edgeexit.cli.progress import show_build_progress

if TYPE_CHECKING:
    from edgeexit.backends import Settings
    from edgeexit.bundle import Bundle, CalibrationRecord

_Name = Annotated[str, typer.Argument(help="Name of the calibration; see edgeexit calibrations list.")]
_AcceptDevice = Annotated[
    bool,
    typer.Option(
        "--accept-device",
        help="Use a calibration of another device on this one, if the times of its exits hold here; measured for 5 s.",
    ),
]


def list_command(bundle: BundlePath, as_json: Json = False) -> None:
    """List every calibration of a bundle, oldest first: name, date, target, verdict, and which are active.

    Example: edgeexit calibrations list lenet.eexit
    """
    from edgeexit.bundle import Bundle

    opened = Bundle.open(bundle)
    emit(describe_calibrations(opened), lambda: print_calibrations(opened), as_json=as_json)


def use_command(
    bundle: BundlePath,
    name: _Name,
    accept_device: _AcceptDevice = False,
    pin: Annotated[
        bool, typer.Option("--pin", help="Hold it there: no new calibration becomes active until `use` without --pin.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a calibration the active one of the device and settings that it was measured for.

    Example: edgeexit calibrations use lenet.eexit cal-2
    """
    from edgeexit.bundle import Bundle
    from edgeexit.runtime.calibrations import find_calibration, find_device_changes, find_settings_key

    opened = Bundle.open(bundle)
    record = opened.find_calibration(name)
    settings = _restore_settings(opened, record)
    changes = find_device_changes(opened.read_record(record), settings)
    if changes and not accept_device:
        key, changed = record.key, opened.use(name, pinned=pin)
    else:
        if changes:
            _check_times(opened, record)
        before = find_calibration(opened, settings)
        key = find_settings_key(settings)
        changed = opened.use(name, key, old_key=before.key if before else None, pinned=pin)
    emit(
        describe_calibrations(changed),
        lambda: _print_used(record, key, () if accept_device else changes),
        as_json=as_json,
    )


def rollback_command(
    bundle: BundlePath,
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Device and settings. [default: the ones that can be rolled back]"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make active again the calibration that was active before.

    Example: edgeexit calibrations rollback lenet.eexit
    """
    from edgeexit.bundle import Bundle

    opened = Bundle.open(bundle)
    chosen = key or _find_only_key(opened)
    changed = opened.roll_back(chosen)
    now = changed.active(chosen)
    assert now is not None
    emit(
        describe_calibrations(changed),
        lambda: print_text(f"{now.name} ({now.target}) is active again for {chosen}."),
        as_json=as_json,
    )


def export_calibration_command(
    bundle: BundlePath,
    name: _Name,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write. [default: BUNDLE-NAME.calibration.zip]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a calibration to a file, for a bundle of the same network elsewhere.

    Example: edgeexit calibrations export lenet.eexit cal-2 -o night.calibration.zip
    """
    from edgeexit.bundle import Bundle
    from edgeexit.bundle.archive import SUFFIX
    from edgeexit.calibration import export_calibration
    from edgeexit.util.atomic import write_bytes

    opened = Bundle.open(bundle)
    content = export_calibration(opened, name)
    target = output or Path(f"{opened.name}-{name}{SUFFIX}")
    write_bytes(target, content)
    document = {"schema": "edgeexit.calibration-exported/1", "bundle": str(bundle), "name": name, "file": str(target)}
    emit(document, lambda: print_text(f"{name} of {bundle} is in {target}."), as_json=as_json)


def import_command(
    bundle: BundlePath,
    file: Annotated[Path, typer.Argument(help="File made by edgeexit calibrations export.")],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name here. [default: the one that it had]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a calibration from a file to a bundle of the same network. It does not become active by itself.

    Example: edgeexit calibrations import lenet.eexit night.calibration.zip
    """
    from edgeexit.calibration import import_calibration

    changed = import_calibration(bundle, file, save_as=name)
    added = changed.history[-1]

    def tell() -> None:
        print_text(f"{added.name} ({added.target}: {added.verdict}) is kept, and not active.")
        print_command(format_command("calibrations", "use", bundle, added.name), label="To use it: ")

    emit(describe_calibrations(changed), tell, as_json=as_json)


def remove_command(bundle: BundlePath, name: _Name, as_json: Json = False) -> None:
    """Remove a calibration that is not active.

    Example: edgeexit calibrations remove lenet.eexit cal-1
    """
    from edgeexit.bundle import Bundle

    changed = Bundle.open(bundle).remove_calibration(name)
    emit(describe_calibrations(changed), lambda: print_text(f"{name} is removed."), as_json=as_json)


def diff_command(
    bundle: BundlePath,
    first: Annotated[str, typer.Argument(help="Name of a calibration.")],
    second: Annotated[str, typer.Argument(help="Name of another one.")],
    as_json: Json = False,
) -> None:
    """Show where two calibrations of a bundle differ: target, thresholds, times, accuracy, device.

    Example: edgeexit calibrations diff lenet.eexit cal-1 cal-2
    """
    from edgeexit.calibration import load_calibration
    from edgeexit.calibration.differences import compare_calibrations
    from edgeexit.report.table import Table
    from edgeexit.util.documents import to_document

    a, b = load_calibration(bundle, first), load_calibration(bundle, second)
    changed = [line for line in compare_calibrations(a, b) if not line.same]
    table = Table("Differences", ("", first, second), tuple((d.what, d.first, d.second) for d in changed))
    document = {
        "schema": "edgeexit.calibrations-diff/1",
        "bundle": str(bundle),
        "first": first,
        "second": second,
        "differences": to_document(changed),
    }
    emit(document, lambda: print_tables([table]) if changed else print_text("They do not differ."), as_json=as_json)


calibrations_command = typer.Typer(
    help="List a bundle's calibrations, choose the active one, and carry them from bundle to bundle.\n\n"
    "Example: edgeexit calibrations list lenet.eexit",
    cls=Group,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)
_COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_command,
    "use": use_command,
    "rollback": rollback_command,
    "diff": diff_command,
    "export": export_calibration_command,
    "import": import_command,
    "remove": remove_command,
}
for _name_of, _function in _COMMANDS.items():
    add_command(calibrations_command, _name_of, _function)


def _print_used(record: CalibrationRecord, key: str, changes: Sequence[str]) -> None:
    print_text(f"{record.name} ({record.target}: {record.verdict}) is active for {key}.")
    if changes:
        print_note(f"this device is another one ({'; '.join(changes)}); to use it here too, add --accept-device.")


def _check_times(bundle: Bundle, record: CalibrationRecord) -> None:
    """Time the exits on this device.

    Raises:
        InputError: the calibration's times do not hold here.
    """
    from edgeexit.errors import InputError
    from edgeexit.runtime.loading import open_runner
    from edgeexit.runtime.recheck import recheck_times

    with show_build_progress(), open_runner(bundle, _restore_settings(bundle, record)) as runner:
        checked = recheck_times(runner, bundle.read_record(record))
    if not checked.agrees:
        msg = f"the times of {record.name!r} do not hold on this device ({checked}): calibrate here."
        raise InputError(msg)


def _restore_settings(bundle: Bundle, record: CalibrationRecord) -> Settings:
    """The settings that a calibration was measured with.

    Raises:
        InputError: the document does not say.
    """
    from edgeexit.backends import Settings
    from edgeexit.util.documents import parse_document

    where = f"the settings of calibration {record.name!r} in {bundle.path}"
    return parse_document(Settings, bundle.read_record(record).get("settings"), where)


def _find_only_key(bundle: Bundle) -> str:
    """The key with something to go back to, of this device where there are several.

    Raises:
        InputError: there is none, or more than one.
    """
    from edgeexit.errors import InputError
    from edgeexit.hardware import find_device_key

    logs = bundle.manifest.activated
    keys = [key for key, log in sorted(logs.items()) if len(log) > 1]
    here = [key for key in keys if key.startswith(f"{find_device_key(backend=key.rpartition('/')[2].split('-')[0])}/")]
    chosen = here or keys
    if len(chosen) != 1:
        several = "several devices or settings can be rolled back; choose one with --key: " + ", ".join(chosen)
        msg = (
            several
            if chosen
            else f"{bundle.path} has no earlier calibration to roll back to: no active calibration was ever replaced."
        )
        raise InputError(msg)
    return chosen[0]
