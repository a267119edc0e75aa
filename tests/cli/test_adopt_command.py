"""`edgeexit adopt`: one command from a classifier without exits to a measured gain; what is wrong is one message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from edgeexit.cli.app import app
from edgeexit.cli.failures import run_guarded
from edgeexit.data import ModelInfo, load_data, open_training_parts, write_npz
from tests.adoption.test_adopt import SHORT, train_classifier
from tests.support.brief_defaults import make_choices_brief

NETWORK = """
from torch import nn

def make():
    layers = [nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))
"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The command on a small network and 500 digits."""
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "short.toml").write_text(SHORT)
    write_npz(tmp_path / "digits.npz", load_data("digits:calibration"))
    network, data, preset = (str(tmp_path / name) for name in ("net.py:make", "digits.npz", "short.toml"))
    return ["adopt", network, "--data", data, "--preset", preset, "--epochs", "1", "-o", str(tmp_path / "run")]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--loss", "lables"], "did you mean 'labels'"),
        (["--head", "pol", "--after", "1"], "did you mean 'pool'"),
        (["--after", "7"], "no exit can stand after '7': it returns the network's own answer"),
        (["--target", "drop<=x"], "drop"),
        (["--checkpoint", "nowhere.pt"], "no such file"),
    ],
)
def test_what_is_wrong_is_one_message(
    words: list[str], more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, before anything is trained."""
    code = run_guarded(lambda: app([*words, *more], prog_name="edgeexit", standalone_mode=False))

    assert code == 2
    assert message.casefold() in capsys.readouterr().err.casefold().replace("\n", " ")


def test_the_command_ends_with_what_the_exits_bring(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The document says what was done; the exit code says whether it pays."""
    make_choices_brief(monkeypatch)
    parts = open_training_parts(load_data("digits:calibration"), ModelInfo("net", ()))
    torch.save(train_classifier(parts).state_dict(), tmp_path / "net.pt")
    more = ["--checkpoint", str(tmp_path / "net.pt"), "--after", "1", "--target", "agreement>=0.1", "--json"]

    done = CliRunner().invoke(app, [*words, *more])

    result = json.loads(done.stdout)
    assert result["schema"] == "edgeexit.adoption/1"
    assert done.exit_code == (0 if result["pays"] else 1)
    assert [e["place"] for e in result["exits"]] == ["1"]
    assert (tmp_path / "run/network.eexit/manifest.json").exists()
