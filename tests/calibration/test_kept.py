"""What was measured is never lost: it is waited for, or written elsewhere, and what was not met changes nothing that runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edgeexit
from edgeexit.bundle import Bundle, store
from edgeexit.calibration import Calibration, calibrate, import_calibration
from edgeexit.calibration.kept import keep, load_active_calibration
from edgeexit.calibration.replay import ReplayTable
from edgeexit.data import Dataset
from edgeexit.errors import BundleError, InputError
from edgeexit.runtime import CalibrationWarning, Runner
from edgeexit.util import atomic

Measured = tuple[Calibration, ReplayTable]


@pytest.fixture
def measured(calibrated_runner: Runner) -> Measured:
    """A calibration whose target is met, and its table, to be kept again."""
    return load_active_calibration(calibrated_runner)


def test_a_calibration_that_is_not_met_leaves_what_runs_as_it_is(calibrated_runner: Runner, measured: Measured) -> None:
    """In the bundle and in the runner; it is in the history."""
    before, active = calibrated_runner.inner_thresholds, calibrated_runner.calibration_name
    missed = replace(measured[0], met=False, inner_thresholds=(0.0,), thresholds=(0.0,))

    keep(calibrated_runner, missed, measured[1], save_as="missed")

    assert (before, active) == (calibrated_runner.inner_thresholds, calibrated_runner.calibration_name)
    with edgeexit.load(calibrated_runner.bundle.path, mode=calibrated_runner.settings.mode) as again:
        assert active == again.calibration_name
        assert "missed" in [r.name for r in again.bundle.history]


def test_a_writer_at_work_is_waited_for(calibrated_runner: Runner, measured: Measured) -> None:
    """And the one who watches is told."""
    path, told = calibrated_runner.bundle.path, threading.Event()
    held = threading.Event()

    def write() -> None:
        with store.lock_folder(path):
            held.set()
            told.wait(600)

    writer = threading.Thread(target=write)
    writer.start()
    held.wait(600)

    keep(
        calibrated_runner,
        *measured,
        save_as="late",
        progress=lambda what, _done, _total: told.set() if "waiting" in what else None,
    )

    writer.join()
    assert "late" == Bundle.open(path).history[-1].name


def test_a_calibration_of_a_bundle_that_was_compiled_anew_is_written_elsewhere(
    calibrated_runner: Runner, measured: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has it, and says where; nothing of it is in the new bundle. A bundle of the network as it was takes it."""
    model = edgeexit.data.find_demo_asset("lenet-digits.onnx")
    edgeexit.compile(model, calibrated_runner.bundle.path, criterion="margin", seconds=0)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(BundleError, match=r"recompiled.*calibration was written to .*digits-late") as caught:
        keep(calibrated_runner, *measured, save_as="late")

    assert measured[0] == caught.value.calibration
    assert not Bundle.open(calibrated_runner.bundle.path).history
    assert caught.value.written_to is not None
    edgeexit.compile(model, tmp_path / "again.eexit", seconds=0)
    added = import_calibration(tmp_path / "again.eexit", caught.value.written_to).history
    assert ["late"] == [r.name for r in added]


def test_a_bundle_that_cannot_be_written_is_warned_of_and_the_result_goes_to_a_file(
    demo_runner: Runner, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the measurement, and with the file after it; nothing that is there is overwritten."""

    def full(*_: object) -> Path:
        raise PermissionError(13, os.strerror(13))

    (tmp_path / "digits-calibration.calibration.zip").write_text("mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgeexit.bundle.store.create_temporary", full)
    monkeypatch.setattr("edgeexit.bundle.bundle.create_temporary", full)

    with (
        pytest.warns(CalibrationWarning, match="will be written to a file elsewhere"),
        pytest.raises(BundleError, match=r"cannot be written .*digits-calibration-2\.calibration\.zip instead"),
    ):
        calibrate(demo_runner, digits.inputs, digits.labels, target="agreement>=0.9", seconds=0.1)

    assert "mine" == (tmp_path / "digits-calibration.calibration.zip").read_text()


@pytest.mark.slow
def test_the_command_prints_a_calibration_that_it_had_to_write_elsewhere(demo_path: Path, tmp_path: Path) -> None:
    """The result as usual, then the error with the file's name, and exit code 2: the bundle does not have it."""
    code = (
        "import os, sys\n"
        "from edgeexit.bundle import bundle, store\n"
        "def full(*_): raise OSError(28, os.strerror(28))\n"
        "bundle.create_temporary = store.create_temporary = full\n"
        "from edgeexit.cli.app import main\n"
        "main()\n"
    )
    words = [
        "calibrate",
        demo_path,
        "--data",
        "digits:calibration",
        "--target",
        "agreement>=0.9",
        "--seconds",
        "0.1",
        "--json",
    ]

    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False, cwd=tmp_path
    )

    assert 2 == done.returncode, done.stderr
    assert "edgeexit.calibration/1" == json.loads(done.stdout)["schema"]
    assert "No space left on device" in done.stderr
    assert (tmp_path / "digits-calibration.calibration.zip").is_file()


def test_the_next_calibrate_removes_what_a_killed_one_left(demo_runner: Runner) -> None:
    """Unfinished files, and finished ones that no manifest names, before the measurement begins."""
    path = demo_runner.bundle.path
    (path / "calibrations" / "board").mkdir(parents=True)
    for name in (
        ".tmp-1-abc-manifest.json",
        "calibrations/board/.tmp-2-x.json",
        "calibrations/board/x-0123456789abcdef.json",
    ):
        (path / name).write_text("{}")

    demo_runner.bundle.check_writable()

    assert not [p for p in path.rglob("*") if atomic.is_temporary(p) or "0123456789abcdef" in p.name]
    assert not (path / "calibrations").exists()


def test_a_drift_alarm_is_made_of_the_calibration_in_use(
    calibrated_runner: Runner, measured: Measured, digits: Dataset
) -> None:
    """Silent on the data of the calibration, raised by noise."""
    calibrated_runner.inner_thresholds = (-0.3,)
    calm, alarmed = (edgeexit.drift_alarm(calibrated_runner, window=100) for _ in range(2))
    for i in range(200):
        p = calibrated_runner(digits.x[i : i + 1])
        calm.observe(p.exit, p.score)
        q = calibrated_runner(digits.x[i : i + 1][..., ::-1].copy() * 0)
        alarmed.observe(q.exit, q.score)

    assert not calm.raised
    assert alarmed.raised
    assert "Calibrate again" in str(alarmed.reason)


@pytest.mark.parametrize("step", [0, -0.1, 1.5, float("nan"), "fast"])
def test_control_refuses_a_step_that_holds_nothing(calibrated_runner: Runner, measured: Measured, step: Any) -> None:
    """With a step of 0 the thresholds would never move."""
    with pytest.raises(InputError, match="step must be"):
        edgeexit.control(calibrated_runner, "mean<=0.9x", step=step)


def test_the_earlier_methods_of_a_runner_forward_with_a_warning(calibrated_runner: Runner, measured: Measured) -> None:
    """`runner.control` and `runner.drift_alarm` do what the functions do, and say what to call."""
    with pytest.deprecated_call(match=r"call edgeexit\.control\(runner, target\)"):
        assert isinstance(calibrated_runner.control("mean<=0.9x"), edgeexit.Controller)
    with pytest.deprecated_call(match=r"call edgeexit\.drift_alarm\(runner\)"):
        assert 100 == calibrated_runner.drift_alarm(window=100).window
