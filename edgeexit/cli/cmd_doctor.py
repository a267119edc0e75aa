"""`edgeexit doctor`: everything that a measurement on this machine needs, and the fix for what is missing."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeexit.cli.common import BackendOptions, Json, Spin, emit, join_options
from edgeexit.util.documents import to_document

if TYPE_CHECKING:
    from edgeexit.hardware.checks import MachineCheck

_SIGNS = {"ok": "✓", "warn": "!", "fail": "✗"}


def doctor_command(
    report: Annotated[
        Path | None,
        typer.Argument(help="A report that --bundle wrote, here or elsewhere: say what is wrong there."),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="Run the conformance suite: compare this backend with ONNX Runtime here, and time it."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Also write the results of the conformance suite to this JSON file.")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="Also write all that is found, with versions, logs and layers, to this .zip file, to be sent."
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Run only the small networks of the suite.")] = False,
    precision: Annotated[
        str, typer.Option(help="Precision of the suite's networks: float32, float16 or int8.")
    ] = "float32",
    samples: Annotated[int, typer.Option(help="Inputs for each of the suite's networks, at most 200.")] = 200,
    threads: Annotated[int, typer.Option(help="Worker threads, for the suite and for the check of free cores.")] = 1,
    spin: Spin = False,
    options: BackendOptions = None,
    as_json: Json = False,
) -> None:
    """Check everything a measurement needs: packages, sensors, clocks, counters, load; print the fix for each.

    With --backend the conformance suite runs too: small and real networks, compared with ONNX Runtime exit by exit. Ends with exit code 1
    when the backend cannot run here or a check of it fails. Example: edgeexit doctor --backend tensorrt --bundle report.zip

    The file holds no environment variables, names of users or paths of theirs. Read it anywhere with: edgeexit doctor report.zip
    """
    from edgeexit.backends import Settings
    from edgeexit.cli.conformance import print_report, run_suite
    from edgeexit.cli.field_report import keep_warnings, send_report, show_report
    from edgeexit.compiler.precision import check_precision

    if report is not None:
        return show_report(report, as_json=as_json)
    _check_files(backend, output, bundle)
    check_precision(precision)
    settings: dict[str, Any] = {
        "precision": precision,
        "threads": threads,
        "spin": spin,
        "options": join_options(options),
    }
    Settings(backend or "onnxruntime", **settings)  # refuses what nothing can run with
    checks = _check_all(backend or "onnxruntime", threads)
    failed = any(check.status == "fail" for check in checks)
    with keep_warnings(bundle is not None) as said:
        suite = None
        if backend is not None and not failed:
            suite = run_suite(backend, output, quick=quick, samples=samples, **settings)
    if bundle is not None and backend is not None:
        send_report(bundle, backend, settings, checks, suite, said)
    document = {"schema": "edgeexit.doctor/1", "ready": not failed, "checks": [check.to_document() for check in checks]}
    if suite is not None:
        document["conformance"] = to_document(suite)
    emit(document, lambda: _print(checks), as_json=as_json)
    if suite is not None and not as_json:
        print_report(suite, output)
    if failed or (suite is not None and not suite.passed):
        raise typer.Exit(1)
    return None


def _check_files(backend: str | None, output: Path | None, bundle: Path | None) -> None:
    """Raise InputError where a file would stay empty or cannot be written, before anything runs."""
    from edgeexit.errors import InputError
    from edgeexit.measure.result.bench_result import check_place

    for path in filter(None, (output, bundle)):
        if backend is None:
            msg = f"{path} would hold the results of the conformance suite, which runs with --backend, such as --backend onnxruntime."
            raise InputError(msg)
    if bundle is not None:
        check_place(bundle)


def _check_all(backend: str, threads: int) -> list[MachineCheck]:
    from edgeexit.hardware.checks import check_machine

    return [
        *_check_packages(backend),
        *check_machine(threads=threads),
        *_check_counters(),
        _check_simulation(),
        *_check_criteria(),
    ]


def _check_packages(name: str) -> list[MachineCheck]:
    """The backend opens, with which versions; what runs beside it."""
    from edgeexit.backends import find_backend
    from edgeexit.backends.onnxruntime.installation import check_before_import, check_providers
    from edgeexit.errors import HardwareMissing, MissingExtra
    from edgeexit.hardware import find_current_profile
    from edgeexit.hardware.checks import MachineCheck
    from edgeexit.hardware.identity import find_package_version

    profile = find_current_profile()
    if name == "tensorrt" and profile is not None and not profile.software.tensorrt:
        fix = profile.software.note or profile.software.source
        return [MachineCheck(f"backend {name}", "fail", f"does not run on {profile.title}", fix)]
    before = check_before_import()
    if any(check.status == "fail" for check in before):
        return before
    try:
        versions = find_backend(name).versions()
    except (HardwareMissing, MissingExtra) as error:
        return [MachineCheck(f"backend {name}", "fail", "cannot run here", str(error))]
    shown = ", ".join(f"{package} {version}" for package, version in versions.items())
    beside = ", ".join(f"{p} {v}" for p in ("numpy", "onnx") if (v := find_package_version(p)))
    checks = [MachineCheck(f"backend {name}", "ok", f"{shown}; {beside}; Python {platform.python_version()}")]
    checks += [*before, check_providers()]
    if os.environ.get("ORT_DISABLE_TELEMETRY") != "1":
        fix = "unset ORT_DISABLE_TELEMETRY: edgeexit then switches it off"
        checks.append(
            MachineCheck("telemetry", "warn", "ONNX Runtime's telemetry thread may run beside what is measured", fix)
        )
    return checks


def _check_counters() -> list[MachineCheck]:
    """Every pass of cache counters opens."""
    from edgeexit.errors import HardwareMissing
    from edgeexit.hardware.checks import MachineCheck
    from edgeexit.measure.cache.counters import Counters, plan_passes

    try:
        for events in plan_passes():
            with Counters(events):
                pass
    except HardwareMissing as error:
        return [MachineCheck("cache counters", "warn", "do not open: misses are simulated instead", str(error))]
    return [
        MachineCheck("cache counters", "ok", f"open: {', '.join(e.raw for events in plan_passes() for e in events)}")
    ]


def _check_simulation() -> MachineCheck:
    """Valgrind is there, on a machine where it can be used."""
    from edgeexit.hardware.checks import MachineCheck

    if platform.machine() != "x86_64":
        fix = "copy the bundle to an x86-64 PC and name this device there"
        return MachineCheck("cache simulation", "warn", f"runs on x86-64, not on {platform.machine()}", fix)
    found = shutil.which("valgrind")
    fix = "" if found else "sudo apt install valgrind"
    return MachineCheck("cache simulation", "ok" if found else "warn", found or "valgrind is not installed", fix)


def _check_criteria() -> list[MachineCheck]:
    """Every criterion that another package brings is imported; one that cannot be used stops nothing else."""
    from edgeexit.criteria.plugins import find_entries, format_origin, load_plugin
    from edgeexit.errors import InputError
    from edgeexit.hardware.checks import MachineCheck

    def check(name: str, origin: str) -> MachineCheck:
        try:
            rule = load_plugin(name)
        except InputError as error:
            return MachineCheck(f"criterion {name}", "warn", f"of {origin}, cannot be used", str(error))
        return MachineCheck(f"criterion {name}", "ok", f"of {origin}: {rule.description}")

    return [check(name, format_origin(entries[0])) for name, entries in sorted(find_entries().items())]


def _print(checks: list[MachineCheck]) -> None:
    from edgeexit.cli.printing import print_result, print_tables
    from edgeexit.report.table import Table

    rows = tuple((_SIGNS[c.status], c.name, f"{c.found}\n→ {c.fix}" if c.fix else c.found) for c in checks)
    print_tables([Table("", ("", "", ""), rows)])
    counts = {status: sum(check.status == status for check in checks) for status in _SIGNS}
    print_result(f"{counts['ok']} in order, {counts['warn']} to look at, {counts['fail']} missing.")
