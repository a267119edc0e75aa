"""The conformance part of `edgeexit doctor --backend NAME`: run the suite, print it, write what can be sent in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexit.cli.progress import progress_bar

if TYPE_CHECKING:
    from edgeexit.backends import Settings
    from edgeexit.conformance import ConformanceReport


def prove(backend: str, output: Path | None, *, quick: bool = False, **settings: Any) -> tuple[ConformanceReport, Path]:
    """Run the conformance suite over a backend and write its document.

    Args:
        backend: its name.
        output: the file; None names it after the backend and whatever is not its default, in the current folder.
        quick: the small networks only.
        settings: precision, threads, spin and options of `run_conformance`.

    Raises:
        MissingExtra, HardwareMissing: the backend cannot run here.
        InputError: the file cannot be written; told before anything runs.
    """
    from edgeexit.backends import Settings
    from edgeexit.conformance import NETWORKS, run_conformance
    from edgeexit.data.files import write_text
    from edgeexit.errors import InputError
    from edgeexit.measure.result import check_place

    path = output or _named_after(Settings(backend, **settings))
    try:
        check_place(path)
    except InputError as error:
        raise InputError(f"{error} Give another file with --output.") from error
    with progress_bar() as progress:
        networks = NETWORKS[:4] if quick else NETWORKS
        report = run_conformance(backend, networks=networks, progress=progress, **settings)
    try:
        write_text(path, report.to_json())
    except InputError as error:
        raise InputError(f"{error}: give another file with --output.") from error
    return report, path


def _named_after(settings: Settings) -> Path:
    """Proofs under different settings lie side by side."""
    words = (
        settings.backend,
        settings.precision if settings.precision != "float32" else "",
        f"t{settings.threads}" if settings.threads != 1 else "",
        "spin" if settings.spin else "",
        settings.options,
    )
    return Path(re.sub(r"[^\w.+-]+", "-", "-".join(["conformance", *filter(None, words)])) + ".json")


def print_report(report: ConformanceReport, path: Path) -> None:
    """One line per network, mode and check that failed or has figures; a count of the rest."""
    from edgeexit.cli.printing import print_tables
    from edgeexit.report.table import Table

    figures = ("decides", "stages share", *(() if report.precision == "float32" else ("decisions", "accuracy")))
    rows = [row for row in report.rows() if row[3] != "pass" or row[2].startswith(figures)]
    passed = sum(1 for check in report.checks if check.passed)
    failed = len(report.failures)
    verdict = f"{passed} checks passed, {failed} failed. Written: {path}"
    versions = ", ".join(f"{k} {v}" for k, v in report.versions.items())
    how = ", ".join(filter(None, (report.precision, "spinning" if report.spin else "", report.options)))
    title = f"Conformance of {report.backend} ({versions}) in {how}"
    print_tables([Table(title, ("network", "mode", "check", "outcome", "figures"), tuple(rows), verdict)])
