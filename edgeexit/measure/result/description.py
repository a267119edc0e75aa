"""Parts of a result that say what was measured: the bundle, the data, and the version that measured."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import edgeexit
from edgeexit.data import Dataset
from edgeexit.measure.options import BenchOptions
from edgeexit.measure.result.parts import SystemUnderTest, Tool, Workload

if TYPE_CHECKING:
    from edgeexit.runtime import Runner


def describe_subject(runner: Runner) -> SystemUnderTest:
    """The bundle of a runner, with the settings and thresholds that it is measured with."""
    bundle, settings, manifest = runner.bundle, runner.settings, runner.bundle.manifest
    return SystemUnderTest(
        bundle=Path(bundle.path).name,
        manifest_sha256=hashlib.sha256((Path(bundle.path) / "manifest.json").read_bytes()).hexdigest(),
        model_sha256=manifest.files[manifest.model].sha256,
        backend=settings.backend,
        mode=settings.mode,
        precision=settings.precision,
        threads=settings.threads,
        spin=settings.spin,
        exits=runner.exits,
        classes=runner.classes,
        criterion=runner.criterion.name,
        threshold_unit=runner.criterion.unit,
        thresholds=tuple(runner.thresholds),
        calibrated=runner.calibration is not None,
        target=None if runner.calibration is None else runner.calibration.target,
        options=settings.options,
        source=manifest.source.name,
        source_sha256=manifest.source.sha256,
        calibration=runner.calibration_name,
    )


def describe_workload(given: Dataset, n: int, options: BenchOptions) -> Workload:
    """The data and the load.

    Args:
        given: the data set as the caller gave it.
        n: number of its samples that are measured.
        options: how they are measured.
    """
    return Workload(
        data=given.name,
        data_sha256=given.sha256,
        n_given=len(given),
        n=n,
        order="random with replacement",
        seed=options.seed,
        scenario="single-stream",
        batch=1,
        preset=options.suite.name,
        processes=options.suite.processes,
        seconds_per_process=options.suite.seconds,
    )


def describe_tool() -> Tool:
    """The version of edgeexit that runs."""
    return Tool(edgeexit.__version__, _read_git_commit())


def _read_git_commit() -> str | None:
    """The commit of the checkout that edgeexit runs from, or None for an installed one."""
    root = Path(edgeexit.__file__).resolve().parent.parent
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
