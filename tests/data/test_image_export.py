"""A named set as a folder of PNGs gives the samples of the set back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeexit.data import ModelInfo, load_data, make_dataset, open_training_parts, read_in_order, read_preprocess
from edgeexit.data.__main__ import main
from edgeexit.data.image_export import IMAGE_SETS, ImageSet, write_image_folder
from edgeexit.errors import InputError


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """A set of 30 colour images a part, under the name of one that is fetched."""
    parts = {
        p: np.random.default_rng(i).integers(0, 256, (30, 3, 5, 4))
        for i, p in enumerate(("train", "calibration", "test"))
    }
    labels = (np.arange(30) % 3).astype(np.uint8)
    images = ImageSet(lambda part: (parts[part].astype(np.uint8), labels), ("ant", "bee", "cow"), "mean=0.5,std=0.2")
    monkeypatch.setitem(IMAGE_SETS, "cifar10", images)
    monkeypatch.setattr("edgeexit.data.__main__.fetch_set", lambda *_: None)
    return "cifar10"


def test_the_folder_holds_the_sets_samples(tiny: str, tmp_path: Path) -> None:
    """Pixels, parts and class names."""
    assert 90 == write_image_folder(tiny, tmp_path / "png")

    how = read_preprocess(IMAGE_SETS[tiny].preprocess)
    parts = open_training_parts(tmp_path / "png", ModelInfo("net", (), preprocess=how))

    assert ("ant", "bee", "cow") == parts.class_names
    pixels, labels = IMAGE_SETS[tiny].load("test")
    order = np.argsort(labels, kind="stable")
    x = np.concatenate([x for x, _ in read_in_order(parts.test, 7)])
    wanted = make_dataset("x", (pixels[order].astype(np.float32) / 255 - np.float32(0.5)) / np.float32(0.2))
    np.testing.assert_allclose(wanted.x, x, atol=1e-6)
    np.testing.assert_array_equal(labels[order], parts.test.y)


def test_the_command_says_how_they_are_prepared(tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And refuses to mix with what is there."""
    assert 0 == main([tiny, "--images", str(tmp_path / "png"), "--limit", "5"])

    assert "15 images" in capsys.readouterr().out
    with pytest.raises(InputError, match="not empty"):
        main([tiny, "--images", str(tmp_path / "png")])
    with pytest.raises(InputError, match="name one set"):
        main([tiny, "mnist", "--images", str(tmp_path / "other")])
    with pytest.raises(InputError, match="from 1"):
        main([tiny, "--images", str(tmp_path / "other"), "--limit", "0"])


def test_grey_images_stay_grey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As MNIST's are."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 1, 5, 4)).astype(np.uint8)
    images = ImageSet(lambda _: (pixels, np.array([0, 1, 0, 1], np.uint8)), ("0", "1"), "unit")
    monkeypatch.setitem(IMAGE_SETS, "mnist", images)

    write_image_folder("mnist", tmp_path / "png")

    assert (4, 1, 5, 4) == load_data(tmp_path / "png" / "train").x.shape
