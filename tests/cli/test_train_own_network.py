"""`edgeexit train add-exits` with a user's network, checkpoint and folder of images, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner, Result

from edgeexit.cli.app import app
from edgeexit.errors import EdgeExitError, InputError

NETWORK = """
from torch import nn

def make(width=8):
    print("made")
    steps = [nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU()) for a, b in ((3, width), (width, width), (width, width))]
    return nn.Sequential(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))
"""
HOW = "resize=12x12,mean=0.5,std=0.25"


def make(width: int = 8) -> nn.Module:
    """What the user's file makes."""
    steps = [
        nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU()) for a, b in ((3, width), (width, width), (width, width))
    ]
    return nn.Sequential(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.py, net.pt and photos/, of three classes."""
    root = tmp_path_factory.mktemp("user")
    (root / "net.py").write_text(NETWORK)
    torch.manual_seed(0)
    torch.save(make().state_dict(), root / "net.pt")
    for k, name in enumerate(("ant", "bee", "cow")):
        (root / "photos" / name).mkdir(parents=True)
        for i in range(12):
            pixels = np.random.default_rng([k, i]).integers(0, 120 + 60 * k, (14, 15, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "photos" / name / f"{i}.png")
    return root


def train(user: Path, *words: object) -> Result:
    """The command with the user's network and images; an error of ours is raised."""
    own = ("--network", f"{user / 'net.py'}:make", "--checkpoint", user / "net.pt", "--data", user / "photos")
    measured = () if "--measure" in words else ("--measure", "none")
    everything = ("train", "add-exits", *own, "--epochs", 1, "--json", *measured, *words)
    return CliRunner().invoke(app, [str(w) for w in everything], catch_exceptions=False)


def test_exits_for_a_network_without_any(user: Path, tmp_path: Path) -> None:
    """model.onnx has three outputs, and carries classes and preprocessing; the split is in the metrics."""
    result = train(user, "--preprocess", HOW, "-o", tmp_path / "run", "--write-data")

    assert 0 == result.exit_code, result.output
    metrics = json.loads(result.stdout)
    assert ["train", "calibration", "test"] == list(metrics["data"])
    assert "36 samples split by class with seed 0" in metrics["data_notes"][0]
    assert 3 == len(ort.InferenceSession(str(tmp_path / "run" / "model.onnx")).get_outputs())
    known = {p.key: p.value for p in onnx.load(tmp_path / "run" / "model.onnx").metadata_props}
    assert ["ant", "bee", "cow"] == json.loads(known["edgeexit.classes"])
    assert [12, 12] == json.loads(known["edgeexit.preprocess"])["resize"]
    with np.load(tmp_path / "run" / "test.npz") as test:
        assert (metrics["data"]["test"]["samples"], 3, 12, 12) == test["x"].shape


def test_the_preprocessing_beside_the_checkpoint_is_used(user: Path, tmp_path: Path) -> None:
    """And the user's must not contradict it."""
    file = user / "preprocessor_config.json"
    file.write_text(json.dumps({"do_resize": True, "size": 12, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    try:
        assert 0 == train(user, "-o", tmp_path / "run").exit_code
        with pytest.raises(InputError, match=r"std is 0\.25 in --preprocess and 0\.5 in .*preprocessor_config\.json"):
            train(user, "--preprocess", HOW, "-o", tmp_path / "other")
    finally:
        file.unlink()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add-exits", "--data", "digits"), "give --network"),
        (("add-exits", "--network", "lenet"), "give --data"),
        (("lenet-digits", "--checkpoint", "net.pt"), "--checkpoint and --option belong to a network of your own"),
    ],
)
def test_what_is_missing_is_named(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    """Before anything is read."""
    with pytest.raises(EdgeExitError, match=said):
        CliRunner().invoke(app, ["train", *words, "-o", str(tmp_path / "run")], catch_exceptions=False)


def test_pictures_need_a_preprocessing(user: Path, tmp_path: Path) -> None:
    """It is not guessed, and nothing is written."""
    with pytest.raises(InputError, match="nothing says how they are prepared"):
        train(user, "-o", tmp_path / "run")
    assert not (tmp_path / "run").exists()
