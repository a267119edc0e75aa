"""The conformance part of `edgeexit doctor --backend NAME`: run the suite, print it, write what can be sent in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexit.cli.progress import open_progress_display

if TYPE_CHECKING:
    from edgeexit.conformance import ConformanceReport


def run_suite(backend: str, output: Path | None, *, quick: bool = False, **settings: Any) -> ConformanceReport:
    """Run the conformance suite over a backend, and write its document where a file is given.

    Args:
        backend: its name.
        output: the file; None writes none.
        quick: the small networks only.
        settings: precision, samples, threads, spin and options of `run_conformance`.

    Raises:
        MissingExtra, HardwareMissing: the backend cannot run here.
        InputError: the file cannot be written; raised before anything runs.
    """
    from edgeexit.conformance import NETWORKS, run_conformance
    from edgeexit.errors import InputError
    from edgeexit.measure.result.bench_result import check_place
    from edgeexit.util.atomic import write_bytes

    try:
        if output is not None:
            check_place(output)
    except InputError as error:
        raise InputError(f"{error} Give another file with --output.") from error
    with open_progress_display() as progress:
        networks = NETWORKS[:4] if quick else NETWORKS
        report = run_conformance(backend, networks=networks, progress=progress, **settings)
    try:
        if output is not None:
            write_bytes(output, report.to_json().encode())
    except InputError as error:
        raise InputError(f"{error}: give another file with --output.") from error
    return report


def suggest_report_name(report: ConformanceReport) -> str:
    """A file name that tells reports of different settings apart."""
    words = (
        report.backend,
        report.precision if report.precision != "float32" else "",
        f"t{report.threads}" if report.threads != 1 else "",
        "spin" if report.spin else "",
        report.options,
    )
    return re.sub(r"[^\w.+-]+", "-", "-".join(["conformance", *filter(None, words)])) + ".json"


def print_report(report: ConformanceReport, output: Path | None) -> None:
    """One line per network, mode and check that failed or has figures; a count of the rest."""
    from edgeexit.cli.printing import print_result, print_tables, print_text, print_verdict
    from edgeexit.report.table import Table

    figures = ("decides", "stages share", *(() if report.precision == "float32" else ("decisions", "accuracy")))
    rows = tuple(row for row in report.rows() if row[3] != "pass" or row[2].startswith(figures))
    versions = ", ".join(f"{k} {v}" for k, v in report.versions.items())
    inputs = f"{report.samples} inputs a network"
    how = ", ".join(filter(None, (report.precision, inputs, "spinning" if report.spin else "", report.options)))
    title = f"Conformance of {report.backend} ({versions}) in {how}"
    print_tables([Table(title, ("network", "mode", "check", "outcome", "figures"), rows)])
    if output is None:
        print_text(f"To save these results as a report file: --output {suggest_report_name(report)}")
    else:
        print_result(f"Written: {output}")
    passed = sum(1 for check in report.checks if check.passed)
    counts = f"{passed} checks passed, {len(report.failures)} failed."
    print_verdict("pass" if report.passed else "FAIL", counts)
