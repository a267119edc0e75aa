"""The command line: help with examples, JSON with a schema, one clear message and an exit code for everything that goes wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import edgeexit
from edgeexit.cli.app import app
from edgeexit.cli.commands import COMMANDS
from edgeexit.data import Dataset, write_npz
from tests.networks import images
from tests.support.command_line import run_edgeexit
from tests.support.manifests import write_manifest

_PLAIN_NETWORK = """
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 26 * 26, 10))
"""
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    """`--help` shows how to type it."""
    result = CliRunner().invoke(app, [name, "--help"])

    assert result.exit_code == 0
    assert f"edgeexit {name}" in " ".join(result.output.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_overview_of_the_documentation(name: str) -> None:
    """A command that the command line's page does not list is one that nobody finds."""
    assert f"`edgeexit {name}`" in (ROOT / "docs/cli.md").read_text()


@pytest.mark.slow
def test_version_is_that_of_the_package() -> None:
    """Also by `python -m edgeexit`."""
    printed = subprocess.check_output([sys.executable, "-m", "edgeexit", "--version"], text=True)

    assert printed.strip() == f"edgeexit {edgeexit.__version__}" == run_edgeexit("--version").stdout.strip()


@pytest.mark.slow
def test_compile_writes_a_bundle_and_names_the_next_step(model: Path, tmp_path: Path) -> None:
    """What was split, how well it agrees with the original, and what to type next."""
    result = run_edgeexit("compile", model, "-o", tmp_path / "net.eexit", "--seconds", "0.2")

    assert result.returncode == 0, result.stderr
    assert "3 exits, 4 classes, criterion entropy" in result.stdout
    assert f"Next: edgeexit calibrate {tmp_path / 'net.eexit'}" in result.stdout
    assert edgeexit.Bundle.open(tmp_path / "net.eexit").manifest.timings


def test_compile_prints_json_of_a_versioned_schema(model: Path, tmp_path: Path) -> None:
    """The manifest as it was written."""
    document = json.loads(
        run_edgeexit("compile", model, "-o", tmp_path / "net.eexit", "--seconds", "0", "--json").stdout
    )

    assert document["schema"] == "edgeexit.compiled/1"
    written = json.loads((tmp_path / "net.eexit" / "manifest.json").read_text())
    assert {name: value for name, value in written.items() if name != "digest"} == document["manifest"]


def test_run_classifies_and_says_where_each_sample_left(compiled: Path, tmp_path: Path) -> None:
    """With thresholds in the criterion's own unit."""
    write_npz(tmp_path / "x.npz", Dataset("x", images(30), None))

    document = json.loads(
        run_edgeexit("run", compiled, "--data", tmp_path / "x.npz", "--thresholds", "1.197,1.18", "--json").stdout
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

    result = run_edgeexit(*words)

    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "out.eexit").exists()


@pytest.mark.parametrize("command", ["train", "adopt", "replay", "serve-export"])
def test_no_command_writes_its_files_into_a_bundle(command: str, compiled: Path, tmp_path: Path) -> None:
    """A bundle that is named as the folder for something else stays as it is."""
    bundle, network = tmp_path / "network.eexit", tmp_path / "net.py"
    shutil.copytree(compiled, bundle)
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    if command in ("train", "adopt"):
        pytest.importorskip("torch")
        network.write_text(_PLAIN_NETWORK, encoding="utf-8")
    subject = {"train": "lenet-digits", "adopt": f"{network}:make"}.get(command, str(compiled))
    np.savez(tmp_path / "data.npz", x=images(8))
    data = {"adopt": ("--data", "digits"), "replay": ("--data", str(tmp_path / "data.npz"))}.get(command, ())
    ended = run_edgeexit(command, subject, *data, "-o", bundle)

    assert 2 == ended.returncode, ended.stderr
    assert "is a bundle: choose another folder" in ended.stderr
    assert before == {path.name: path.read_bytes() for path in bundle.iterdir()}


def test_labels_that_the_network_does_not_have_are_refused(compiled: Path, tmp_path: Path) -> None:
    """`run` counts what is right, so they must mean something."""
    write_npz(tmp_path / "d.npz", Dataset("d", images(3), np.array([0, 1, 9])))

    result = run_edgeexit("run", compiled, "--data", tmp_path / "d.npz")

    assert 2 == result.returncode
    assert "label 9 of sample 2 is out of range" in result.stderr


def test_a_sample_without_a_score_is_null_in_json(compiled: Path, tmp_path: Path) -> None:
    """Logits that overflow to infinity have a label and no entropy."""
    write_npz(tmp_path / "d.npz", Dataset("d", images(64) * np.float32(1e37), None))

    result = run_edgeexit("run", compiled, "--data", tmp_path / "d.npz", "--exit", 3, "--json")

    assert result.returncode in (0, 2), result.stderr
    assert "Traceback" not in result.stderr
    if not result.returncode:
        assert None in [p["score"] for p in json.loads(result.stdout)["predictions"]]


def test_no_warning_of_a_missing_calibration_where_none_is_used(compiled: Path, tmp_path: Path) -> None:
    """Thresholds or an exit on the command line decide alone; and stderr is then empty, without a terminal's progress."""
    write_npz(tmp_path / "d.npz", Dataset("d", images(3), None))

    for option in (("--exit", 1), ("--thresholds", "inf,inf")):
        result = run_edgeexit("run", compiled, "--data", tmp_path / "d.npz", *option)

        assert (0, "") == (result.returncode, result.stderr)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run", "a" * 300, "--data", "digits:test"), "File name too long"),
        (("compile", "a" * 300), "File name too long"),
        (("calibrate", "b", "--seed", "-1"), "greater than or equal to 0"),
        (("bench", "b", "--data", "digits:test", "--seed", "-1"), "greater than or equal to 0"),
        (("bench", "b", "--data", "digits:test", "--against-thresholds", "1"), "needs --against"),
        (("bench", "b", "--data", "digits:test", "--deadline-ms", "1"), "needs --rate"),
        (("bench", "b", "--data", "digits:test", "-o", "/proc/r.json"), "cannot write the result to /proc/r.json"),
    ],
)
def test_what_cannot_go_well_is_refused_at_once(words: tuple[str, ...], told: str) -> None:
    """Before a bundle is opened or anything measured."""
    result = run_edgeexit(*words)

    assert 2 == result.returncode
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_names_in_a_bundle_cannot_steer_the_terminal(bundle_path: Path) -> None:
    """Neither escape codes nor the markup of tables."""
    document = json.loads((bundle_path / "manifest.json").read_text())
    hostile = "\x1b]0;owned\x07[/x]"
    document["source"]["name"] = document["created"] = hostile
    document["timings"] = {hostile: {"staged_s": [1.0] * 3, "fused_s": [1.0] * 3, "faster": hostile, "created": ""}}
    write_manifest(bundle_path, document)

    shown = run_edgeexit("inspect", bundle_path)

    assert 0 == shown.returncode, shown.stderr
    assert "\x1b" not in shown.stdout
    assert r"\x1b]0;owned\x07[/x]" in shown.stdout
    assert hostile == json.loads(run_edgeexit("inspect", bundle_path, "--json").stdout)["source"]


@pytest.mark.slow
def test_a_terminal_without_the_letters_of_a_table_gets_the_rest(compiled: Path) -> None:
    """An old locale is no reason for a traceback."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    words = [sys.executable, "-m", "edgeexit", "inspect", str(compiled)]
    result = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)

    assert 0 == result.returncode, result.stderr
    assert "Boundary tensors" in result.stdout


@pytest.mark.slow
def test_a_full_disk_behind_stdout_is_one_message(compiled: Path) -> None:
    """`edgeexit inspect > file`."""
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "edgeexit", "inspect", str(compiled)]
        result = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert result.returncode
    assert "No space left on device" in result.stderr
    assert "Traceback" not in result.stderr
