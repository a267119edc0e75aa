"""`edgeexit train` ends with what the exits bring on this machine, where that is asked for or exits were added."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from edgeexit.bundle import Bundle
from edgeexit.cli.app import app
from edgeexit.data import ModelInfo, load_data, open_training_parts
from edgeexit.errors import InputError
from tests.adoption.test_adopt import SHORT, train_classifier
from tests.support.brief_defaults import make_choices_brief

NETWORK = """
from torch import nn

def make():
    layers = [nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))
"""


@pytest.mark.slow
def test_added_exits_end_with_a_measured_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the output and in metrics.json, and the exit code says whether they pay; the bundle that is left is calibrated."""
    make_choices_brief(monkeypatch)
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "short.toml").write_text(SHORT)
    classifier = train_classifier(open_training_parts(load_data("digits:calibration"), ModelInfo("net", ())))
    torch.save(classifier.state_dict(), tmp_path / "net.pt")
    network = ("--network", f"{tmp_path / 'net.py'}:make", "--checkpoint", tmp_path / "net.pt")
    own = (*network, "--data", "digits:test", "--epochs", 1, "-o", tmp_path / "run")

    result = CliRunner().invoke(
        app,
        [str(w) for w in ("train", "add-exits", *own, "--measure", tmp_path / "short.toml", "--target", "drop<=50")]
        + ["--json"],
        catch_exceptions=False,
    )

    found = json.loads(result.stdout)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["on_device"] == found["on_device"]
    assert "drop<=50" == found["on_device"]["evaluation"]["target"]
    assert result.exit_code == int(not found["on_device"]["pays"])
    assert found["features"]["heads"].endswith("removed when the heads were trained")
    assert 3 == Bundle.open(tmp_path / "run" / "network.eexit").manifest.exits


def test_a_wrong_target_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    """The folder is not made."""
    with pytest.raises(InputError, match="drp"):
        CliRunner().invoke(
            app, ["train", "lenet-digits", "--target", "drp<=1", "-o", str(tmp_path / "run")], catch_exceptions=False
        )

    assert not (tmp_path / "run").exists()
