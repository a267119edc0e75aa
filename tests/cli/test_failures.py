"""How commands end: every error is one message and an exit code, whatever raised it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeexit.cli.common import emit
from edgeexit.cli.failures import run_guarded
from edgeexit.errors import HardwareMissing, InputError, InternalError, TargetNotMet
from tests.support.command_line import run_edgeexit


def raising(error: BaseException) -> Callable[[], object]:
    """A command that ends with this error."""

    def command() -> object:
        raise error

    return command


def recursing() -> object:
    """A command whose calls are nested too deeply."""
    return recursing()


class Panic(BaseException):
    """As extension modules written in Rust raise; not an Exception."""


@pytest.fixture(autouse=True)
def folder_for_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tracebacks are written here."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


SURPRISES = [KeyError("x"), RuntimeError("two\nlines"), MemoryError(), Panic("p"), SystemExit(1), OSError("no number")]


@pytest.mark.parametrize("error", SURPRISES, ids=lambda e: type(e).__name__)
def test_a_surprise_is_one_line_that_names_the_file_with_its_traceback(
    error: BaseException, capsys: pytest.CaptureFixture[str], folder_for_reports: Path
) -> None:
    """Exit code 3, never 1, which is a negative verdict."""
    assert 3 == run_guarded(raising(error))

    told = capsys.readouterr().err
    (report,) = folder_for_reports.iterdir()
    assert 1 == len(told.splitlines())
    assert str(report) in told
    assert "Traceback (most recent call last)" in report.read_text()


def test_calls_nested_too_deeply_are_a_surprise_too(capsys: pytest.CaptureFixture[str]) -> None:
    """RecursionError leaves little room to write anything."""
    assert 3 == run_guarded(recursing)
    assert "RecursionError" in capsys.readouterr().err


def test_a_surprise_without_a_place_for_its_traceback_is_still_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full or read-only disk must not hide the first error."""
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent")

    assert 3 == run_guarded(raising(ValueError("first")))
    assert re.fullmatch(r"error: unexpected ValueError: first\. .*could not be written.*\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("wrong"), 2),
        (HardwareMissing("no GPU"), 3),
        (InternalError("check failed"), 3),
        (TargetNotMet("none"), 1),
        (PermissionError(13, "Permission denied", "/x"), 2),
        (ZeroDivisionError(), 3),
    ],
    ids=lambda v: type(v).__name__,
)
def test_with_json_an_error_is_one_json_object(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stdout, with its kind, message and exit code; and the message on stderr as before."""
    assert code == run_guarded(raising(error), as_json=True)

    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert ("edgeexit.error/1", type(error).__name__, code) == tuple(
        document[key] for key in ("schema", "kind", "exit_code")
    )
    assert f"error: {document['message']}\n" == shown.err


def test_stdout_holds_one_json_object_even_when_a_command_fails_after_its_result(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A program that reads it parses it once."""

    def command() -> object:
        emit({"schema": "x/1"}, lambda: None, as_json=True)
        raise InputError("afterwards")

    assert 2 == run_guarded(command, as_json=True)
    assert {"schema": "x/1"} == json.loads(capsys.readouterr().out)


def test_bad_usage_is_a_json_object_too() -> None:
    """An unknown option never reaches the command."""
    result = run_edgeexit("inspect", "x.eexit", "--jsn", "--json")

    assert 2 == result.returncode
    assert "--jsn" in json.loads(result.stdout)["message"]


def test_doctor_refuses_a_file_that_it_would_not_write(tmp_path: Path) -> None:
    """The file is that of the conformance suite, which runs with --backend."""
    result = run_edgeexit("doctor", "-o", tmp_path / "x.json")

    assert 2 == result.returncode
    assert "--backend" in result.stderr


def test_an_interruption_inside_the_import_of_an_extension_module_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Such a module turns whatever is raised in it into an ImportError."""

    def command() -> object:
        raise ImportError("initialization failed") from KeyboardInterrupt()

    assert 130 == run_guarded(command)
    assert "interrupted; what was there before is unchanged\n" == capsys.readouterr().err


@pytest.mark.parametrize("option", ["--precision float8", "--threads 0"])
def test_doctor_refuses_settings_that_nothing_can_run_with(option: str) -> None:
    """Also without --backend, where only the machine is looked at; they are no failed check."""
    result = run_edgeexit("doctor", *option.split())

    assert 2 == result.returncode
    assert option.split()[1] in result.stderr


def test_a_model_given_as_a_bundle_and_a_folder_given_as_a_result_are_named_as_what_they_are(tmp_path: Path) -> None:
    """The message does not advise to compile over the model, and does not mention JSON."""
    (tmp_path / "net.onnx").write_bytes(b"x")

    assert "net.onnx is a file, and a bundle is a folder" in run_edgeexit("inspect", tmp_path / "net.onnx").stderr
    assert "it is a folder, not a file" in (told := run_edgeexit("compare", tmp_path, tmp_path).stderr)
    assert "JSON" not in told


@pytest.mark.slow
@pytest.mark.parametrize("words", [("devices", "--json"), ("--help",)])
def test_a_reader_that_closes_the_pipe_is_one_line(words: tuple[str, ...]) -> None:
    """`edgeexit ... | head -1`: not exit code 1, no message of the interpreter, and no report of a fault."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "edgeexit", *words]
    result = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)

    assert 3 == result.returncode
    assert "error: the program that reads the output closed the pipe before everything was printed.\n" == result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("closed", "words", "code"), [(1, "devices", 0), (2, "nope --json", 2)])
def test_a_command_whose_streams_are_closed_ends_with_its_exit_code(closed: int, words: str, code: int) -> None:
    """As services and cron jobs start programs; there is nobody to read, and so no fault."""
    shell = f"{sys.executable} -m edgeexit {words} {closed}>&-"
    result = subprocess.run(shell, shell=True, capture_output=True, text=True, check=False)

    assert code == result.returncode
    assert "unexpected" not in result.stderr


_SIGNALLED = """
import signal, sys
from edgeexit.cli.failures import run_guarded

number = int(sys.argv[1])

def command():
    try:
        signal.raise_signal(number)
    finally:
        signal.raise_signal(number)
        print("cleaned")

code = run_guarded(command)
assert signal.SIG_DFL is signal.getsignal(number)
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_that_ends_a_process_ends_a_command_as_ctrl_c_does(number: int, code: int) -> None:
    """What cleans up after Ctrl-C cleans up after it; a second one does not cut that short."""
    done = subprocess.run(
        [sys.executable, "-c", _SIGNALLED, str(int(number))], capture_output=True, text=True, check=False
    )

    assert (code, "cleaned\n") == (done.returncode, done.stdout)
    assert "interrupted; what was there before is unchanged\n" == done.stderr


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """Under nohup a command outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert 0 == run_guarded(lambda: signal.raise_signal(signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_an_incomplete_installation_is_one_line(tmp_path: Path) -> None:
    """A dependency that cannot be imported is exit code 3."""
    (tmp_path / "typer.py").write_text("raise ImportError('broken')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    command = [sys.executable, "-m", "edgeexit", "devices"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    assert 3 == result.returncode
    assert "Traceback" not in result.stderr
    assert "broken" in result.stderr
