"""`edgeexit doctor --bundle FILE` and `edgeexit doctor FILE`: what is sent in from a machine, and what it says is wrong there."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from edgeexit.conformance import ConformanceReport
    from edgeexit.hardware.checks import MachineCheck

_PACKAGES = (
    *("numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "openvino", "MNN", "torch"),
    *("tensorrt", "tensorrt-cu12", "tensorrt-cu13", "pycuda", "cuda-bindings", "cuda-python", "nvidia-cuda-nvrtc"),
)
"""Packages whose versions a report names, where they are installed."""


@contextmanager
def keep_warnings(wanted: bool) -> Iterator[list[str]]:
    """Every warning inside, as text, instead of on the terminal; where none is wanted they go their way."""
    said: list[str] = []
    if not wanted:
        yield said
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield said
        finally:
            said += [f"{warning.category.__name__}: {warning.message}" for warning in caught]


def send_report(
    path: Path,
    backend: str,
    settings: dict[str, Any],
    checks: list[MachineCheck],
    suite: ConformanceReport | None,
    said: list[str],
) -> None:
    """Write the report of this machine.

    Raises:
        InputError: the file cannot be written.
    """
    import edgeexit
    from edgeexit.backends import Settings, find_backend
    from edgeexit.conformance.field_report import SCHEMA, FieldReport, list_layers, write_field_report
    from edgeexit.hardware import find_device_key, read_device_facts
    from edgeexit.hardware.identity import find_distribution_version
    from edgeexit.util.timestamps import make_timestamp

    log = [*said, *(find_backend(backend).read_log() if suite is not None else ())]
    versions = {name: find_distribution_version(name) for name in _PACKAGES}
    report = FieldReport(
        schema=SCHEMA,
        created=make_timestamp(),
        tool=f"edgeexit {edgeexit.__version__}",
        backend=backend,
        settings={name: str(value) for name, value in settings.items()},
        device=find_device_key(backend=backend),
        facts=read_device_facts(),
        packages={"python": platform.python_version(), **{n: v for n, v in versions.items() if v}},
        checks=tuple(checks),
        conformance=suite,
        layers=list_layers(Settings(backend, **settings)) if suite is not None else None,
        log=tuple(log),
    )
    write_field_report(path, report)


def show_report(path: Path, *, as_json: bool) -> None:
    """Say what a report from another machine says is wrong there; exit code 1 where something is.

    Raises:
        InputError: it is no report.
    """
    from edgeexit.cli.common import emit
    from edgeexit.conformance.field_report import read_field_report
    from edgeexit.conformance.findings import explain_field_report

    report = read_field_report(path)
    findings = explain_field_report(report)
    document = {
        "schema": "edgeexit.field-findings/1",
        "device": report.device,
        "backend": report.backend,
        "tool": report.tool,
        "findings": [finding.to_document() for finding in findings],
    }
    title = f"{report.backend} on {report.device}, {report.tool}, {report.created}"
    emit(document, lambda: _print_findings(title, findings), as_json=as_json)
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(1)


def _print_findings(title: str, findings: list[MachineCheck]) -> None:
    from edgeexit.cli.printing import print_tables, print_verdict
    from edgeexit.report.table import Table

    signs = {"ok": "✓", "warn": "!", "fail": "✗"}
    rows = tuple((signs[f.status], f.name, f"{f.found}\n→ {f.fix}" if f.fix else f.found) for f in findings)
    print_tables([Table(title, ("", "", ""), rows)])
    faults = sum(finding.status == "fail" for finding in findings)
    remarks = sum(finding.status == "warn" for finding in findings)
    print_verdict("FAIL" if faults else "pass", f"{faults} faults, {remarks} to look at.")
