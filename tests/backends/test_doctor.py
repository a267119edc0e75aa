"""`edgeexit doctor --backend NAME`: the proof of a backend, its table and its document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgeexit import conformance
from edgeexit.cli.app import app
from edgeexit.errors import InputError


def test_the_doctor_proves_a_backend_and_writes_what_can_be_sent_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same document stands in the file and in --json."""
    monkeypatch.setattr(conformance, "NETWORKS", ("two-inputs",))
    output = tmp_path / "proof.json"
    result = CliRunner().invoke(app, ["doctor", "--backend", "openvino", "--quick", "--output", str(output), "--json"])
    assert 0 == result.exit_code, result.output
    document = json.loads(result.stdout)
    assert json.loads(output.read_text(encoding="utf-8")) == document["conformance"]
    assert "edgeexit.conformance/1" == document["conformance"]["schema"]


def test_a_file_that_cannot_be_written_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the option that gives another."""
    from edgeexit.cli.conformance import prove

    monkeypatch.setattr(conformance, "NETWORKS", ("two-inputs",))
    with pytest.raises(InputError, match="--output"):
        prove("onnxruntime", tmp_path / "no" / "such" / "folder.json")
