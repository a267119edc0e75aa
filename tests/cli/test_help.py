"""Help that a terminal of 80 columns can show and names that work however they are typed."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

import edgeexit
from edgeexit.cli.app import app
from tests.support.command_line import run_edgeexit


def commands() -> dict[tuple[str, ...], Any]:
    """Every command by its words, those inside groups too, and the application itself."""
    found: dict[tuple[str, ...], Any] = {}
    waiting: list[tuple[tuple[str, ...], Any]] = [((), get_command(app))]
    while waiting:
        words, command = waiting.pop()
        found[words] = command
        waiting += [((*words, name), sub) for name, sub in getattr(command, "commands", {}).items()]
    return found


COMMANDS = commands()
every_command = pytest.mark.parametrize("words", list(COMMANDS), ids=" ".join)


def invoke(*words: str, **environment: str) -> Result:
    """Run it in this process."""
    return CliRunner().invoke(app, list(words), env=environment, prog_name="edgeexit")


@pytest.mark.parametrize("columns", ["60", "80", "120"])
@every_command
def test_no_line_of_the_help_is_wider_than_the_terminal(words: tuple[str, ...], columns: str) -> None:
    """Commands in examples excepted: they are for copying and are never broken."""
    lines = invoke(*words, "--help", COLUMNS=columns).output.splitlines()

    assert [] == [line for line in lines if len(line) > int(columns) and not line.startswith("  edgeexit ")]


@every_command
def test_the_help_names_every_option_whole(words: tuple[str, ...]) -> None:
    """At 80 columns; an option of several names stands there under at least one of them."""
    output = invoke(*words, "--help", COLUMNS="80").output
    shown = set(re.findall(r"(?<!\S)--?[a-z][\w-]*(?=[,\s])", output))

    options = [p for p in COMMANDS[words].params if p.param_type_name == "option" and not getattr(p, "hidden", False)]
    assert [] == [p.opts for p in options if not shown & set(p.opts)]


@every_command
def test_the_short_option_and_the_word_help_show_the_same(words: tuple[str, ...]) -> None:
    """`-h`, `--help` and `edgeexit help`."""
    told = {invoke(*form).output for form in ((*words, "-h"), (*words, "--help"), ("help", *words))}

    assert 1 == len(told)
    assert "Usage: edgeexit" in told.pop()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["serve", "serve-export", "replay"])
def test_the_help_of_what_serves_loads_no_model_format_and_no_server(command: str) -> None:
    """A process of its own: names of servers and of what runs stages are known without them."""
    program = f"import runpy, sys; sys.argv = ['edgeexit', '{command}', '--help']; runpy.run_module('edgeexit', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", program], capture_output=True, text=True, check=True
    )
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}

    assert f"edgeexit {command}" in done.stdout
    assert "typer" in loaded
    assert set() == loaded & {"onnx", "onnxruntime", "google", "uvicorn", "starlette", "ray", "tritonclient"}


def test_the_version_can_be_asked_for_in_three_ways() -> None:
    """`-V`, `--version` and `edgeexit version`, which also names what it runs on."""
    for words in (("-V",), ("--version",), ("version",)):
        assert invoke(*words).output.startswith(f"edgeexit {edgeexit.__version__}\n")

    assert "onnxruntime" in invoke("version").output


def test_help_is_coloured_only_where_colour_is_wanted() -> None:
    """FORCE_COLOR asks for it, NO_COLOR forbids it, and a file gets none."""
    plain = {"FORCE_COLOR": "", "NO_COLOR": ""}

    assert "\x1b[" not in invoke("run", "-h", **plain).output
    assert "\x1b[" in invoke("run", "-h", **{**plain, "FORCE_COLOR": "1"}).output
    assert "\x1b[" not in invoke("run", "-h", FORCE_COLOR="1", NO_COLOR="1").output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("bench", "--vary"), "No such option: --vary"),
        (("compille",), "Did you mean 'compile'"),
        (("bench", "x.eexit"), "Missing option"),
        (("run",), "Missing argument"),
    ],
)
def test_bad_usage_says_what_is_wrong_and_where_the_help_is(words: tuple[str, ...], told: str) -> None:
    """Three lines, without a frame that would cut words."""
    result = run_edgeexit(*words)

    lines = result.stderr.splitlines()
    assert (2, "") == (result.returncode, result.stdout)
    assert told in lines[0]
    assert lines[1].startswith("Usage: edgeexit")
    assert lines[2].startswith("Help: edgeexit")


@every_command
def test_what_is_on_by_default_can_be_switched_off(words: tuple[str, ...]) -> None:
    """A flag whose default is yes has a form that says no."""
    flags = [option for option in COMMANDS[words].params if getattr(option, "is_flag", False)]

    assert [] == [flag.name for flag in flags if flag.default is True and not flag.secondary_opts]
