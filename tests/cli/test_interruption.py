"""Ctrl-C anywhere ends with one line and leaves what was there before."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.networks import chain


def wait_for_files(folder: Path, known: set[str]) -> None:
    """Until a writer has put a new file into the folder."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if folder.exists() and {p.name for p in folder.iterdir()} - known - {".lock"}:
            return
        time.sleep(0.002)
    pytest.fail("the compile never began to write")


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.8])
@pytest.mark.parametrize("replaces", [False, True])
def test_ctrl_c_while_compiling_leaves_no_bundle_or_the_old_one(
    bundle_path: Path, tmp_path: Path, after_s: float, replaces: bool
) -> None:
    """While writing, verifying or timing: exit code 130, one line, nothing half-written."""
    output = bundle_path if replaces else tmp_path / "new.eexit"
    before = {p.name: p.read_bytes() for p in bundle_path.iterdir()}
    other = chain(tmp_path / "other.onnx", exits=2)
    words = ["compile", other, "-o", output, "--seconds", "30"]
    process = subprocess.Popen([sys.executable, "-m", "edgeexit", *map(str, words)], stderr=subprocess.PIPE, text=True)

    wait_for_files(output, set(before) if replaces else set())
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "interrupted; what was there before is unchanged" in stderr
    assert before == {p.name: p.read_bytes() for p in bundle_path.iterdir()}
    assert replaces or not output.exists()


@pytest.mark.parametrize("after_s", [0.05, 0.1, 0.2, 0.4])
def test_ctrl_c_while_starting_is_one_line(after_s: float) -> None:
    """The imports of the command line are part of the command."""
    script = "import sys; sys.argv = ['edgeexit', 'doctor']; from edgeexit.__main__ import main; print('up', flush=True); main()"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", script], text=True, **pipes)  # type: ignore[call-overload]
    process.stdout.readline()
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)

    assert process.returncode in (130, -signal.SIGINT), stderr
    assert stderr == "interrupted; what was there before is unchanged\n"


def test_ctrl_c_while_training_is_told_once(tmp_path: Path) -> None:
    """With the command that goes on, and no second message beside it."""
    pytest.importorskip("torch")
    words = ["train", "lenet-digits", "--out", tmp_path / "run", "--epochs", "100000", "--threads", "1"]
    process = subprocess.Popen([sys.executable, "-m", "edgeexit", *map(str, words)], stderr=subprocess.PIPE, text=True)
    wait_for_files(tmp_path / "run", {"recipe.json"})
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)

    assert 130 == process.returncode
    assert 1 == stderr.count("interrupted")
    assert "--resume" in stderr
