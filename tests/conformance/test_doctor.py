"""`edgeexit doctor --backend NAME`: the proof of a backend, its table and its document."""

from __future__ import annotations

import errno
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgeexit import conformance
from edgeexit.backends.self_check import SelfCheck
from edgeexit.cli.app import app
from edgeexit.cli.conformance import run_suite, suggest_report_name
from edgeexit.conformance import run_conformance
from edgeexit.conformance.checks import CHECKS
from edgeexit.errors import InputError
from edgeexit.hardware import find_profile
from tests.support.simulated import Gpu, installed

FEW = ("--samples", "20")


@pytest.fixture(autouse=True)
def quick_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each network is timed for a moment; these tests read no times."""
    monkeypatch.setattr("edgeexit.conformance.run_conformance", partial(run_conformance, seconds=0.05))


def test_the_doctor_proves_a_backend_and_writes_what_can_be_sent_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same document stands in the file and in --json."""
    monkeypatch.setattr(conformance, "NETWORKS", ("skips",))
    output = tmp_path / "proof.json"
    result = CliRunner().invoke(
        app, ["doctor", "--backend", "openvino", "--quick", *FEW, "--output", str(output), "--json"]
    )
    assert 0 == result.exit_code, result.output
    document = json.loads(result.stdout)
    assert json.loads(output.read_text(encoding="utf-8")) == document["conformance"]
    assert "edgeexit.conformance/1" == document["conformance"]["schema"]


def test_a_file_that_cannot_be_written_is_reported_before_anything_runs(tmp_path: Path) -> None:
    """With the option that gives another."""
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/proof\.json.* Give another file with --output"):
        run_suite("onnxruntime", tmp_path / "file" / "proof.json", precision="never looked at")


@pytest.mark.parametrize(
    ("backend", "settings", "name"),
    [
        ("fake", {}, "conformance-fake.json"),
        ("fake", {"precision": "float16"}, "conformance-fake-float16.json"),
        ("fake", {"threads": 2, "spin": True}, "conformance-fake-t2-spin.json"),
        ("tensorrt", {"options": "tf32=true, aux_streams=1"}, "conformance-tensorrt-aux_streams-1-tf32-true.json"),
    ],
)
def test_the_name_of_the_file_tells_settings_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, settings: dict[str, Any], name: str
) -> None:
    """Whatever is not the default stands in the name that is suggested; without --output nothing is written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(conformance, "NETWORKS", ())
    with installed(Gpu()):
        report = run_suite(backend, None, **settings)
    assert name == suggest_report_name(report)
    assert [] == list(tmp_path.iterdir())


def test_a_proof_that_cannot_be_kept_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written whole or not at all."""
    monkeypatch.setattr(conformance, "NETWORKS", ())
    output = tmp_path / "proof.json"
    output.write_text("before", encoding="utf-8")

    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as stream:
            stream.write(data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(Path, "write_text", lambda path, text, **_: full(path, text.encode()))
    with pytest.raises(InputError, match="No space left on device: give another file with --output"):
        run_suite("fake", output)
    assert b"before" == output.read_bytes()


def test_why_the_stages_are_not_cut_from_the_optimised_network_stands_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no failure, and costs time."""
    monkeypatch.setattr(conformance, "NETWORKS", ("skips",))
    monkeypatch.setattr("edgeexit.backends.onnxruntime.optimized_stages._LARGEST_OPTIMIZED", 0)
    output = tmp_path / "proof.json"
    result = CliRunner().invoke(app, ["doctor", "--backend", "onnxruntime", "--quick", *FEW, "--output", str(output)])
    assert 0 == result.exit_code, result.output
    assert "stages are cut from the optimised network" in result.output
    assert "stages optimised one by one" in result.output


def test_a_check_that_fails_ends_with_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And stands in the table with what was found."""
    monkeypatch.setattr(conformance, "NETWORKS", ("skips",))
    name = "logits are the model's"
    monkeypatch.setitem(CHECKS, name, lambda _case, _runner: SelfCheck(name, False, "made to fail"))
    result = CliRunner().invoke(
        app, ["doctor", "--backend", "fake", "--quick", *FEW, "--output", str(tmp_path / "proof.json")]
    )
    assert 1 == result.exit_code
    assert "made to fail" in result.output
    assert "2 failed" in result.output


def test_the_doctor_proves_other_precisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By decisions and, on the trained network, by accuracy; both stand in the table."""
    monkeypatch.setattr(conformance, "NETWORKS", ("lenet-digits",))
    output = tmp_path / "proof.json"
    command = ["doctor", "--backend", "onnxruntime", "--precision", "float16", "--quick", "--samples", "60"]
    command += ["--output", str(output)]
    result = CliRunner().invoke(app, command)
    assert 0 == result.exit_code, result.output
    assert "in float16" in result.output
    assert "accuracy is the model's" in result.output
    document = json.loads(output.read_text(encoding="utf-8"))
    assert ("float16", 60) == (document["precision"], document["samples"])


def test_without_tensorrt_the_doctor_says_what_is_missing_and_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1, the fix, and no file."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["doctor", "--backend", "tensorrt", "--json"])
    assert 1 == result.exit_code
    document = json.loads(result.stdout)
    assert document["ready"] is False
    assert "conformance" not in document
    (first,) = [check for check in document["checks"] if check["name"] == "backend tensorrt"]
    assert "fail" == first["status"]
    assert first["fix"]
    assert [] == list(tmp_path.iterdir())


@pytest.mark.slow
def test_on_a_simulated_board_the_doctor_times_all_three_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user with a board runs, from the command line to the table."""
    monkeypatch.setattr(conformance, "NETWORKS", ("skips",))
    monkeypatch.setattr("edgeexit.hardware.find_current_profile", lambda: find_profile("jetson-orin-nano"))
    output = tmp_path / "proof.json"
    with installed(Gpu(integrated=True)):
        command = ["doctor", "--backend", "tensorrt", "--output", str(output), "--options", "optimization_level=1"]
        result = CliRunner().invoke(app, command)
    assert 0 == result.exit_code, result.output
    for way in ("(a) host", "(b) host, a graph per stage", "(c) GPU, conditional graph"):
        assert way in result.output
    document = json.loads(output.read_text(encoding="utf-8"))
    assert "optimization_level=1" == document["options"]
    assert "10.3.0" == document["versions"]["tensorrt"]
