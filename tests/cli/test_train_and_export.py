"""`edgeexit train` and `edgeexit export`, as typed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from typer.testing import CliRunner

from edgeexit.cli.app import app
from edgeexit.errors import EdgeExitError
from edgeexit.graph.criterion_record import read_criterion_record

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}

RECIPE = """
schema = "edgeexit.recipe/1"
name = "tiny"
about = "one epoch of each"
data = "digits"
network = "lenet"
seed = 1
plain = { epochs = EPOCHS, batch = 128 }
joint = { epochs = EPOCHS, batch = 128 }
"""

METHOD = """
schema = "edgeexit.recipe/2"
name = "method"
about = "one epoch of each, with the thresholds of a method"
data = "digits"
network = "lenet"
criterion = "max_softmax"
thresholds = [0.8]

[phases.plain]
epochs = 1
role = "plain"
network = { exits = false }

[phases.joint]
epochs = 1
role = "model"
start = "plain"
"""


def edgeexit(*words: object) -> dict[str, Any]:
    """The JSON that a command prints."""
    result = CliRunner().invoke(app, [str(w) for w in words], catch_exceptions=False)
    assert 0 == result.exit_code, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One short run with all its files."""
    folder = tmp_path_factory.mktemp("train")
    (folder / "tiny.toml").write_text(RECIPE.replace("EPOCHS", "1"))
    document = edgeexit("train", folder / "tiny.toml", "--out", folder / "run", "--write-data", "--json")
    assert "edgeexit.training/1" == document["schema"]
    return folder / "run"


def test_train_writes_both_networks_and_the_data_to_go_on_with(run: Path) -> None:
    """model.onnx has every exit and plain.onnx one; the data are .npz files that every command takes."""
    outputs = {name: len(ort.InferenceSession(str(run / name)).get_outputs()) for name in ("model.onnx", "plain.onnx")}

    assert {"model.onnx": 2, "plain.onnx": 1} == outputs
    with np.load(run / "test.npz") as test:
        assert (500, 1, 28, 28) == test["x"].shape


def test_the_recipes_criterion_and_thresholds_travel_with_the_model(tmp_path: Path) -> None:
    """`compile` uses them where nothing is calibrated; the plain network has nothing to leave at."""
    (tmp_path / "method.toml").write_text(METHOD)
    document = edgeexit("train", tmp_path / "method.toml", "--out", tmp_path / "run", "--json")
    records = [read_criterion_record(onnx.load(tmp_path / "run" / name)) for name in ("model.onnx", "plain.onnx")]

    assert records[0] is not None
    assert ("max_softmax", [0.8]) == (records[0].name, [*records[0].thresholds.values()])
    assert records[1] is None
    assert [0.8] == document["results"]["joint"]["recipe_thresholds"]["thresholds"]


EENET = """
schema = "edgeexit.recipe/2"
name = "eenet8"
about = "one epoch with learned confidences, no plain network"
data = "digits"
network = "eenet8"
criterion = "learned"
thresholds = [0.5, 0.5]

[phases.whole]
epochs = 1
batch = 128
loss = "eenet-v2"
options = { costs = "parameters" }
"""


def test_a_recipe_without_a_plain_phase_exports_no_plain_network(tmp_path: Path) -> None:
    """Nothing untrained is written; costs that a word stands for are in the metrics."""
    (tmp_path / "eenet8.toml").write_text(EENET)

    document = edgeexit("train", tmp_path / "eenet8.toml", "--out", tmp_path / "run", "--json")

    assert {"whole.pt", "model.onnx", "metrics.json", "checkpoint.pt", "recipe.json"} == {
        path.name for path in (tmp_path / "run").iterdir()
    }
    assert ["whole"] == list(document["results"])
    assert 1.0 == document["loss_options"]["whole"]["costs"][-1]


def test_export_writes_what_train_wrote(run: Path, tmp_path: Path) -> None:
    """From the weights of the run: the same network, without what only the run knows, its training data."""
    document = edgeexit("export", "lenet", "--checkpoint", run / "joint.pt", "-o", tmp_path / "m.onnx", "--json")

    assert ["exit1", "exit2"] == document["exits"]
    ours, theirs = onnx.load(tmp_path / "m.onnx"), onnx.load(run / "model.onnx")
    assert ours.graph == theirs.graph
    assert ["edgeexit.exits", "edgeexit.reference", "edgeexit.training"] == [p.key for p in theirs.metadata_props]


def test_export_takes_a_users_file(tmp_path: Path) -> None:
    """Its factory, options, shape, names."""
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "class Two(torch.nn.Module):\n"
        "    def __init__(self, classes):\n"
        "        super().__init__()\n"
        "        self.a, self.b = torch.nn.Linear(5, classes), torch.nn.Linear(5, classes)\n"
        "    def forward(self, signal):\n"
        "        return [self.a(signal), self.b(signal)]\n"
        "make = Two\n"
    )

    document = edgeexit(
        "export", f"{tmp_path / 'net.py'}:make", "--option", "classes=3", "--input", "5", "--names", "a,b", "--batch-1",
        "-o", tmp_path / "m.onnx", "--json",
    )  # fmt: skip

    assert {"signal": [1, 5]} == document["inputs"]
    assert ["a", "b"] == document["exits"]


def test_a_network_is_exported_for_the_sample_that_is_given(tmp_path: Path) -> None:
    """By its shape, or as an option, and with as many classes as asked."""
    for k, words in enumerate((["--input", "2x20x24"], ["--option", "shape=[2,20,24]"])):
        path = tmp_path / f"{k}.onnx"
        document = edgeexit("export", "cascade-cnn", *words, "--option", "classes=4", "-o", path, "--json")

        assert [[None, 2, 20, 24]] == list(document["inputs"].values())
        assert [4, 4] == [o.type.tensor_type.shape.dim[1].dim_value for o in onnx.load(path).graph.output]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("train", "lenet-digit", "--out", "{tmp}/run"), "Did you mean 'lenet-digits'"),
        (("train", "lenet-digits", "--out", "{tmp}/run", "--resume"), "nothing to resume"),
        (("train", "lenet-mnist", "--out", "{tmp}/run", "--preset", "slow"), "Presets: paper, light, quick"),
        (("export", "lenet", "-o", "{tmp}/m.onnx", "--input", "1x28x"), "cannot read --input"),
        (("export", "lenet", "-o", "{tmp}/m.onnx", "--input", "x=1x28x28", "--input", "3"), "name all inputs or none"),
        (
            ("export", "lenet", "-o", "{tmp}/m.onnx", "--input", "9x9"),
            "B-LeNet takes samples [channels, height, width]",
        ),
        (("export", "lenet", "-o", "{tmp}/m.onnx", "--option", "exits"), "write name=value"),
        (("export", "{tmp}/none.py:make", "-o", "{tmp}/m.onnx"), "no such file"),
        (("export", "edgeexit.nets.branchynet:lenet", "-o", "{tmp}/m.onnx"), "--input is missing"),
    ],
)
def test_bad_input_is_one_message_and_writes_nothing(words: tuple[str, ...], hint: str, tmp_path: Path) -> None:
    """Exit code 2 on the command line."""
    with pytest.raises(EdgeExitError) as caught:
        CliRunner().invoke(app, [w.format(tmp=tmp_path) for w in words], catch_exceptions=False)

    assert hint in str(caught.value)
    assert 2 == caught.value.exit_code
    assert [] == list(tmp_path.iterdir())


def test_an_interrupted_training_says_how_to_go_on_and_goes_on(tmp_path: Path) -> None:
    """Ctrl-C: exit code 130, the checkpoint is kept, one message with the command that ends the run, and no second beside it."""
    (tmp_path / "tiny.toml").write_text(RECIPE.replace("EPOCHS", "400"))
    command = [sys.executable, "-m", "edgeexit", "train", str(tmp_path / "tiny.toml"), "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "run" / "checkpoint.pt").exists() and process.poll() is None:
        time.sleep(0.05)

    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=600)

    assert 130 == process.returncode
    assert 1 == message.replace(str(tmp_path), "").count("interrupted")
    assert "--resume" in message
    assert "Traceback" not in message
    assert ["checkpoint.pt", "recipe.json"] == sorted(p.name for p in (tmp_path / "run").iterdir())
