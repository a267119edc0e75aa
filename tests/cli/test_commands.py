"""The command line: help with examples, JSON with a schema, one clear message and an exit code for everything that goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import edgeexit
from edgeexit.cli.app import COMMANDS, app
from edgeexit.data import Dataset, write_npz
from tests.networks import images

ROOT = Path(__file__).resolve().parent.parent.parent


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a process of its own, as a user does."""
    words = [str(a) for a in arguments]
    return subprocess.run([sys.executable, "-m", "edgeexit", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    """`--help` shows how to type it."""
    result = CliRunner().invoke(app, [name, "--help"])

    assert result.exit_code == 0
    assert f"edgeexit {name}" in " ".join(result.output.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme(name: str) -> None:
    """A command that the README does not mention is one that nobody finds."""
    assert f"edgeexit {name}" in (ROOT / "README.md").read_text()


def test_version_is_that_of_the_package() -> None:
    """Also by `python -m edgeexit`."""
    assert command("--version").stdout.strip() == f"edgeexit {edgeexit.__version__}"


def test_compile_writes_a_bundle_and_names_the_next_step(model: Path, tmp_path: Path) -> None:
    """What was split, how well it agrees with the original, and what to type next."""
    result = command("compile", model, "-o", tmp_path / "net.eexit", "--seconds", "0.2")

    assert result.returncode == 0, result.stderr
    assert "3 exits, 4 classes, criterion entropy" in result.stdout
    assert f"Next: edgeexit calibrate {tmp_path / 'net.eexit'}" in result.stdout
    assert edgeexit.Bundle.open(tmp_path / "net.eexit").manifest.timings


def test_compile_prints_json_of_a_versioned_schema(model: Path, tmp_path: Path) -> None:
    """The manifest as it was written."""
    document = json.loads(command("compile", model, "-o", tmp_path / "net.eexit", "--seconds", "0", "--json").stdout)

    assert document["schema"] == "edgeexit.compiled/1"
    assert json.loads((tmp_path / "net.eexit" / "manifest.json").read_text()) == document["manifest"]


def test_run_classifies_and_says_where_each_sample_left(compiled: Path, tmp_path: Path) -> None:
    """With thresholds in the criterion's own unit."""
    write_npz(tmp_path / "x.npz", Dataset("x", images(30), None))

    document = json.loads(
        command("run", compiled, "--data", tmp_path / "x.npz", "--thresholds", "1.197,1.18", "--json").stdout
    )

    assert document["schema"] == "edgeexit.run/1"
    assert sum(document["exit_rates"]) == pytest.approx(1)
    assert {1, 2, 3} == {p["exit"] for p in document["predictions"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compile", "nothing.onnx"), "there is no file nothing.onnx"),
        (("run", "nothing.eexit", "--data", "digits:test"), "does not exist. Make one: edgeexit compile"),
        (("run", "{compiled}", "--data", "digitz:test"), "digit"),
        (("run", "{compiled}", "--data", "digits:test"), "must have shape"),
        (("run", "{compiled}", "--data", "digits:test", "--thresholds", "a,b"), "must be numbers with commas between"),
        (("compile", "{model}", "--criterion", "entrpy"), "Did you mean 'entropy'?"),
        (("compile", "{model}", "--exits", "z1,z9"), "'z9' is not an output of the model"),
    ],
)
def test_bad_usage_is_one_message_and_exit_code_2(
    compiled: Path, model: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    """On stderr, without a traceback, and nothing on stdout."""
    words = [a.format(compiled=compiled, model=model) for a in arguments]
    if words[0] == "compile":
        words += ["-o", str(tmp_path / "out.eexit")]

    result = command(*words)

    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "out.eexit").exists()
