"""Nightly recalibration: new thresholds that pass a check stay, others give way to those of before, and what is pinned is left alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeexit.bundle import Bundle
from tests.examples.conftest import EXAMPLES, Answered

NIGHTLY = EXAMPLES / "nightly"
KEPT = 2


@pytest.fixture
def night(answered: Answered, tmp_path: Path) -> Path:
    """A bundle with an active calibration, and recent data without labels beside it."""
    np.savez(tmp_path / "recent.npz", x=answered.inputs)
    return Path(shutil.copytree(answered.bundle, tmp_path / "digits.eexit"))


def recalibrate(bundle: Path, *words: str, target: str = "agreement>=0.8") -> int:
    """One night; the exit code."""
    arguments = [
        str(bundle),
        str(bundle.parent / "recent.npz"),
        target,
        "--seconds",
        "0.2",
        "--keep",
        str(KEPT),
        *words,
    ]
    return subprocess.run([sys.executable, NIGHTLY / "recalibrate.py", *arguments], check=False).returncode


def active(bundle: Path) -> str:
    (entry,) = Bundle.open(bundle).manifest.calibrations.values()
    return entry.name


def test_new_thresholds_stay_where_the_check_passes_and_give_way_where_it_fails(night: Path) -> None:
    """The check is told where the bundle is; the one before is active again after a failure."""
    assert 0 == recalibrate(night, "--check", "sh", "-c", "test -f $EDGEEXIT_BUNDLE/manifest.json")
    first = active(night)
    assert first.startswith("night-")
    assert 1 == recalibrate(night, "--check", "false")
    assert first == active(night)
    assert 2 == sum(record.name.startswith("night-") for record in Bundle.open(night).history)


def test_a_pinned_calibration_stays_active_and_old_nights_are_removed(night: Path) -> None:
    """Whatever is calibrated; of the nights that are not active the newest are kept."""
    bundle = Bundle.open(night)
    held = bundle.history[0]
    for number in range(4):
        bundle = bundle.write_calibration(held.key, bundle.read_record(held), name=f"night-{number}", activate=False)
    bundle.use(held.name, pinned=True)

    assert 0 == recalibrate(night, "--check", "false")
    assert held.name == active(night)
    names = [record.name for record in Bundle.open(night).history]
    assert [held.name, "night-3"] == names[:2]
    assert KEPT == len(names) - 1


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """As `systemd-analyze verify` reads them, with programs that exist here."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    for unit in NIGHTLY.glob("edgeexit-recalibrate.*"):
        text = (
            unit.read_text().replace("/opt/edgeexit/bin/python", sys.executable).replace("User=edgeexit", "User=root")
        )
        (tmp_path / unit.name).write_text(text)
    words = ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())]
    done = subprocess.run(words, capture_output=True, text=True, check=False)

    assert [] == [line for line in done.stderr.splitlines() if "edgeexit" in line]
