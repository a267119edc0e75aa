"""What goes to the terminal: colour where it is wanted, less with --quiet, control characters never."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator

import pytest

from edgeexit.cli import printing
from edgeexit.cli.common import VERBOSITY
from edgeexit.report.table import Table

TABLE = Table("Bounds", ("bound", "state"), (("mean<=5ms", "met"), ("drop<=1", "NOT MET")), "A note.")


def everything() -> None:
    """One of each kind."""
    printing.print_tables([TABLE])
    printing.print_text("some text")
    printing.print_list(["one", "two"], heading="Reasons:")
    printing.print_command("edgeexit demo", label="Next: ")
    printing.print_note("a remark")
    printing.print_warning("a\nwarning")
    printing.print_error("an error")
    printing.print_result("a result")
    printing.print_verdict("SLOWER", "than before.")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No wish about colour or width from outside, and the usual amount of text."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    token = VERBOSITY.set(0)
    yield
    VERBOSITY.reset(token)


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_colour_follows_the_environment_and_a_file_gets_none(
    environment: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stdout and on stderr."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    everything()

    written = capsys.readouterr()
    assert [coloured] * 2 == ["\x1b[3" in stream for stream in written]


@pytest.mark.parametrize(("verdict", "colour"), [("met", 32), ("bounds not met", 31), ("machine noisy", 33)])
def test_a_verdict_has_the_colour_of_its_judging_word(
    verdict: str, colour: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Green, red or yellow, whatever stands before the word."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    printing.print_verdict(verdict, "because.")

    assert f"{colour}m{verdict}\x1b[0m: because." in capsys.readouterr().out


def test_quiet_leaves_results_warnings_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts read the exit code, people the verdict."""
    VERBOSITY.set(-1)
    everything()

    written = capsys.readouterr()
    assert ["a result", "SLOWER: than before."] == written.out.splitlines()
    assert ["warning: a warning", "error: an error"] == written.err.splitlines()


@pytest.mark.parametrize(
    "show", [printing.print_text, printing.print_result, printing.print_error, printing.print_warning]
)
def test_text_from_files_cannot_steer_the_terminal(
    show: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Escape codes are written as numbers, markup as it is."""
    show("[red]\x1b]0;owned\x07[/red]")

    written = "".join(capsys.readouterr())
    assert r"[red]\x1b]0;owned\x07[/red]" in written


def test_reasons_that_say_the_same_stand_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that differ only in a number are one reason with both numbers."""
    printing.print_list(["used 1.7 cores", "no clocks", "used 1.8 cores", "no clocks"], heading="Doubts:")

    assert ["Doubts:", "  - used 1.7 cores (and 1.8)", "  - no clocks"] == capsys.readouterr().out.splitlines()


def test_the_faults_of_a_file_are_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    """One message for all of them, one line for each."""
    printing.print_error("suite.toml has 2 faults: seconds is missing; trace is 'x'.")

    assert [
        "error: suite.toml has 2 faults:",
        "- seconds is missing",
        "- trace is 'x'.",
    ] == capsys.readouterr().err.splitlines()


def test_a_width_that_was_asked_for_holds_for_pipes_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """COLUMNS alone; where LINES stands beside it, a library exported both and nobody asked."""
    text = "word " * 40
    monkeypatch.setenv("COLUMNS", "40")
    printing.print_text(text)
    assert 5 == len(capsys.readouterr().out.splitlines())

    monkeypatch.setenv("LINES", "24")
    printing.print_text(text)
    assert 1 == len(capsys.readouterr().out.splitlines())


@pytest.mark.slow
def test_on_a_terminal_lines_fit_and_are_coloured() -> None:
    """A pseudo-terminal of 50 columns, with a process of its own behind it."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 50, 0, 0))
    code = "from edgeexit.cli.printing import print_warning; print_warning('word ' * 40)"
    environment = {**os.environ, "TERM": "xterm"}
    subprocess.run([sys.executable, "-c", code], stdout=slave, stderr=slave, stdin=slave, env=environment, check=True)
    os.close(slave)
    written = os.read(master, 65536).decode()
    os.close(master)

    assert "\x1b[33mwarning:" in written
    lines = re.sub(r"\x1b\[\d*m", "", written).splitlines()
    assert all(40 < len(line) <= 50 for line in lines[:-1])
