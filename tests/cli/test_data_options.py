"""Preprocessing and class names are kept in the bundle and used by every command that reads data."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import edgeexit
from edgeexit.cli.app import app
from edgeexit.data import DataWarning, read_preprocess
from edgeexit.errors import EdgeExitError
from tests.networks import SIDE

pytestmark = pytest.mark.filterwarnings("ignore::edgeexit.runtime.CalibrationWarning")
NAMES = ("ant", "bee", "cat", "dog")
NORMALISED = "mean=0.5,0.4,0.3,std=0.1,0.2,0.3"


def command(*words: object, code: int = 0) -> str:
    """What a command prints; its error's message where it fails as expected."""
    done = CliRunner().invoke(app, [str(w) for w in words])
    if isinstance(done.exception, EdgeExitError):
        assert code == done.exception.exit_code, done.exception
        return str(done.exception)
    assert code == done.exit_code, done.output
    return done.stdout


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures of two classes."""
    rng = np.random.default_rng(0)
    for name in ("bee/1.png", "bee/2.png", "dog/1.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


@pytest.fixture
def bundle(model: Path, tmp_path: Path) -> Path:
    """A bundle that knows its preprocessing and its classes."""
    options = ("--preprocess", NORMALISED, "--classes", ",".join(NAMES), "--seconds", "0")
    command("compile", model, "-o", tmp_path / "net.eexit", *options)
    return tmp_path / "net.eexit"


@pytest.mark.filterwarnings("ignore::edgeexit.data.DataWarning")
def test_a_folder_is_prepared_as_the_bundle_says(bundle: Path, photos: Path, tmp_path: Path) -> None:
    """The same answers as by hand, with file, class and true class of each."""
    document = json.loads(command("run", bundle, "--data", photos, "--json"))

    pixels = np.stack([np.asarray(Image.open(f)) for f in sorted(photos.rglob("*.png"))])
    x = (pixels / np.float32(255) - np.array([0.5, 0.4, 0.3], np.float32)) / np.array([0.1, 0.2, 0.3], np.float32)
    with edgeexit.load(bundle) as runner:
        by_hand = runner.batch(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    rows: list[dict[str, Any]] = document["predictions"]
    assert [a.label for a in by_hand] == [r["label"] for r in rows]
    assert ["bee/1.png", "bee/2.png", "dog/1.png"] == [r["file"] for r in rows]
    assert [1, 1, 3] == [r["true_label"] for r in rows]
    assert [NAMES[a.label] for a in by_hand] == [r["class"] for r in rows]


@pytest.mark.filterwarnings("ignore::edgeexit.data.DataWarning")
def test_predictions_are_written_as_csv(bundle: Path, photos: Path, tmp_path: Path) -> None:
    """One row per sample."""
    command("run", bundle, "--data", photos, "-o", tmp_path / "p.csv")

    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (["bee/1.png", "bee/2.png", "dog/1.png"], "dog") == ([r["file"] for r in rows], rows[2]["true_class"])
    assert "written as .csv or .json" in command("run", bundle, "--data", photos, "-o", tmp_path / "p.txt", code=2)


def test_one_picture_is_data(bundle: Path, photos: Path) -> None:
    """Without a label."""
    (row,) = json.loads(command("run", bundle, "--data", photos / "dog" / "1.png", "--json"))["predictions"]

    assert ("1.png", False) == (row["file"], "true_label" in row)


@pytest.mark.parametrize(
    "words",
    [("calibrate", "--target", "drop<=1"), ("bench",), ("compile",)],
)
def test_pictures_without_a_preprocessing_are_refused_where_numbers_are_kept(
    words: tuple[str, ...], compiled: Path, model: Path, photos: Path, tmp_path: Path
) -> None:
    """With what to give."""
    name, *more = words
    place = (model, "-o", tmp_path / "x.eexit") if name == "compile" else (compiled,)

    assert "--preprocess imagenet" in command(name, *place, "--data", photos, *more, code=2)


def test_a_run_without_a_preprocessing_warns_and_an_option_gives_it(compiled: Path, photos: Path) -> None:
    """For this run only."""
    with pytest.warns(edgeexit.data.DataWarning, match="pixels / 255"):
        unit = command("run", compiled, "--data", photos / "dog" / "1.png", "--json")

    given = command("run", compiled, "--data", photos / "dog" / "1.png", "--json", "--preprocess", "unit")
    assert json.loads(unit)["predictions"] == json.loads(given)["predictions"]


def test_a_bundle_keeps_what_it_was_given_and_inspect_shows_it(bundle: Path, model: Path) -> None:
    """Also when it is compiled again from the same file without the options."""
    first = edgeexit.Bundle.open(bundle).manifest
    command("compile", model, "-o", bundle, "--seconds", "0")

    again = edgeexit.Bundle.open(bundle).manifest
    assert (first.preprocess, first.class_names) == (again.preprocess, again.class_names)
    assert again.preprocess is not None
    assert ((SIDE, SIDE), "rgb", "nchw") == (again.preprocess.size, again.preprocess.channels, again.preprocess.layout)
    shown = " ".join(command("inspect", bundle).split())
    assert "mean 0.5, 0.4, 0.3" in shown
    assert "ant, bee, cat, dog" in shown


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--classes", "a,b"), "2 class names (a, b) for 4 classes"),
        (("--preprocess", "size=9"), "size is 9x9, the input has 8x8"),
        (("--preprocess", "channels=grey"), "3 channels"),
        (("--preprocess", "maen=1"), "Did you mean 'mean'"),
    ],
)
def test_what_does_not_fit_the_network_is_refused(
    options: tuple[str, ...], fault: str, model: Path, tmp_path: Path
) -> None:
    """And nothing is written."""
    assert fault in command("compile", model, "-o", tmp_path / "x.eexit", "--seconds", "0", *options, code=2).replace(
        "the input has 3 in nchw", "3 channels"
    )
    assert not (tmp_path / "x.eexit").exists()


def test_compile_records_how_well_the_network_does_on_the_data_given(model: Path, tmp_path: Path) -> None:
    """Accuracy of the last exit, and statistics of the inputs by channel."""
    x = np.random.default_rng(0).normal([[[[1.0]], [[0.0]], [[-1.0]]]], 1, (40, 3, SIDE, SIDE))
    bundle = edgeexit.compile(model, tmp_path / "a.eexit", inputs=x, seconds=0)
    with edgeexit.load(bundle.path) as runner, runner.backbone() as backbone:
        labels = [backbone(s[None]).label for s in x.astype(np.float32)]
    labels[0] = (labels[0] + 1) % 4

    reference = edgeexit.compile(model, tmp_path / "b.eexit", inputs=x, labels=labels, seconds=0).manifest.reference

    assert bundle.manifest.reference is not None
    assert reference is not None
    assert (None, 39 / 40, 40, "compile") == (
        bundle.manifest.reference.accuracy,
        reference.accuracy,
        reference.samples,
        reference.source,
    )
    np.testing.assert_allclose([1, 0, -1], reference.inputs[0].mean, atol=0.1)


def test_a_run_warns_of_inputs_unlike_those_that_the_bundle_records(bundle: Path, tmp_path: Path) -> None:
    """Pixels of 0 to 255 as floats for a network that takes normalised ones; on stderr, and the answers are given all the same."""
    np.savez(tmp_path / "raw.npz", x=np.random.default_rng(0).uniform(0, 255, (20, 3, SIDE, SIDE)).astype(np.float32))

    done = CliRunner().invoke(app, ["run", str(bundle), "--data", str(tmp_path / "raw.npz"), "--json"])

    assert 20 == json.loads(done.stdout)["samples"]
    assert "lies outside what the bundle's preprocessing makes" in " ".join(done.stderr.split())


def test_data_that_the_network_only_guesses_are_no_reference(model: Path, tmp_path: Path) -> None:
    """Labels in another order: what was known before is kept, and later data are not held against rubbish."""
    x = np.random.default_rng(0).normal(size=(40, 3, SIDE, SIDE)).astype(np.float32)
    bundle = edgeexit.compile(model, tmp_path / "a.eexit", inputs=x, seconds=0)
    with pytest.warns(DataWarning, match=r"close to chance.*nothing is recorded"):
        again = edgeexit.compile(model, bundle.path, inputs=x, labels=np.arange(40) % 4, data_name="other", seconds=0)

    assert bundle.manifest.reference == again.manifest.reference


PIXELS = np.clip(np.random.default_rng(0).normal([[[[0.5]], [[0.45]], [[0.4]]]], 0.1, (400, 3, SIDE, SIDE)), 0, 1)


@pytest.fixture(scope="module")
def recorded(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that records what the first half of them looked like; not to be changed."""
    path = tmp_path_factory.mktemp("recorded") / "a.eexit"
    edgeexit.compile(model, path, inputs=PIXELS[:200], seconds=0)
    return path


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda x: x * 255, "looks like pixel values of 0 to 255"),
        (lambda x: (x - 0.4) / 0.1, "spread wider"),
        (lambda x: x - 0.5, "below 0"),
        (lambda x: x[:, ::-1], "BGR"),
    ],
)
def test_calibration_data_prepared_otherwise_are_refused(change: Any, told: str, recorded: Path) -> None:
    """Held against what the compile recorded."""
    with edgeexit.load(recorded) as runner, pytest.raises(edgeexit.errors.InputError, match=told):
        edgeexit.calibrate(runner, change(PIXELS[200:]), target="agreement>=0.5", seconds=0.1)


def test_calibration_data_of_the_same_kind_pass(recorded: Path) -> None:
    """Other samples, prepared as those of the compile were."""
    with edgeexit.load(recorded) as runner:
        assert edgeexit.calibrate(runner, PIXELS[200:], target="agreement>=0.5", seconds=0.1, dry_run=True)


@pytest.mark.slow
def test_export_writes_what_compile_reads(tmp_path: Path) -> None:
    """Preprocessing and class names travel in the model's metadata."""
    pytest.importorskip("torch")
    names = ",".join("abcdefghij")
    command(
        "export", "lenet", "-o", tmp_path / "net.onnx", "--preprocess", "mean=0.1307,std=0.3081", "--classes", names
    )
    command("compile", tmp_path / "net.onnx", "--seconds", "0")

    manifest = edgeexit.Bundle.open(tmp_path / "net.eexit").manifest
    assert tuple("abcdefghij") == manifest.class_names
    assert manifest.preprocess == read_preprocess("mean=0.1307,std=0.3081").complete((1, 28, 28), "float32")
