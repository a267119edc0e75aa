"""Ctrl-C, or a signal that ends a process, leaves what was there before, no temporary file and no process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.networks import chain


def wait_for_files(folder: Path, known: set[str]) -> None:
    """Until a writer has put a new file into the folder."""
    end = time.monotonic() + 600
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
    words = ["compile", other, "-o", output, "--seconds", "300"]
    process = subprocess.Popen([sys.executable, "-m", "edgeexit", *map(str, words)], stderr=subprocess.PIPE, text=True)

    wait_for_files(output, set(before) if replaces else set())
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=600)

    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "interrupted; what was there before is unchanged" in stderr
    assert before == {p.name: p.read_bytes() for p in bundle_path.iterdir()}
    assert replaces or not output.exists()


_ANNOUNCED = """
import sys

class Announcer:
    def find_spec(self, name, path=None, target=None):
        if name == "edgeexit.cli.app":
            sys.meta_path.remove(self)
            print("importing", flush=True)

sys.meta_path.insert(0, Announcer())
sys.argv = ["edgeexit", "doctor"]
from edgeexit.__main__ import main
main()
"""
"""Says when the command itself has begun: Ctrl-C before that is Python's own matter."""


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.1, 0.2, 0.4])
def test_ctrl_c_while_starting_is_one_line(after_s: float) -> None:
    """The imports of the command line are part of the command."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", _ANNOUNCED], text=True, **pipes)  # type: ignore[call-overload]
    process.stdout.readline()
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=600)

    assert process.returncode == 130, stderr
    assert stderr == "interrupted; what was there before is unchanged\n"


_FINALISER = """
import signal, sys, time
from edgeexit.cli.failures import run_guarded
from edgeexit.cli.interrupts import allow_interrupts

class Finalised:
    def __del__(self):
        signal.raise_signal(int(sys.argv[1]))

def command():
    Finalised()
    time.sleep(60)

with allow_interrupts():
    sys.exit(run_guarded(command))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_inside_a_finaliser_ends_the_command(number: signal.Signals, code: int) -> None:
    """Python prints and drops what is raised there, as in callbacks of the import system; the command would go on."""
    command = [sys.executable, "-c", _FINALISER, str(int(number))]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)

    assert (code, "interrupted; what was there before is unchanged\n") == (ended.returncode, ended.stderr)


def processes_of(session: int) -> list[int]:
    """The live processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            facts = stat.read_text().rpartition(")")[2].split()
        except OSError:  # ended meanwhile
            continue
        if int(facts[3]) == session and facts[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_until(true: Callable[[], bool]) -> None:
    """For at most ten minutes: a busy machine may take one to start a process."""
    end = time.monotonic() + 600
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)])
def test_a_command_that_is_ended_leaves_no_process_and_no_temporary_file(
    tmp_path: Path, number: int, code: int
) -> None:
    """While a process of it measures; after SIGKILL, the next command removes the files."""
    scratch, model = tmp_path / "tmp", chain(tmp_path / "m.onnx", exits=2)
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch)}
    words = [
        sys.executable,
        "-m",
        "edgeexit",
        "compile",
        str(model),
        "-o",
        str(tmp_path / "m.eexit"),
        "--seconds",
        "300",
    ]
    process = subprocess.Popen(
        words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    wait_until(lambda: len(processes_of(process.pid)) > 1)
    process.send_signal(number)

    assert code == process.wait(timeout=600)
    wait_until(lambda: not processes_of(process.pid))
    if number == signal.SIGKILL:
        subprocess.run([*words[:3], "devices"], stdout=subprocess.DEVNULL, env=environment, check=True)
    assert [] == list(scratch.iterdir())
