"""A folder of images is data: one sub-folder per class, a stated preprocessing, and no guessing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeexit.data import load_data
from edgeexit.errors import InputError


def save(path: Path, size: tuple[int, int] = (4, 3), mode: str = "RGB", value: int | tuple[int, int, int] = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def test_sub_folders_are_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    """And files are in the order of theirs."""
    save(tmp_path / "dog" / "1.png")
    save(tmp_path / "cat" / "2.png", value=(255, 51, 0))
    save(tmp_path / "cat" / "1.png")

    data = load_data(tmp_path)

    assert [0, 0, 1] == data.y.tolist()
    assert (3, 3, 3, 4) == data.x.shape
    assert [1.0, np.float32(0.2), 0.0] == data.x[1, :, 0, 0].tolist()


def test_grey_images_have_one_channel(tmp_path: Path) -> None:
    """As MNIST has."""
    save(tmp_path / "a" / "1.png", mode="L", value=255)

    assert (1, 1, 3, 4) == load_data(tmp_path).x.shape


def test_images_without_sub_folders_have_no_labels(tmp_path: Path) -> None:
    """Enough for agreement with the backbone."""
    save(tmp_path / "1.png")

    assert load_data(tmp_path).labels is None


def test_images_of_several_sizes_are_refused(tmp_path: Path) -> None:
    """Nobody guesses here how a network's training images were resized."""
    save(tmp_path / "a" / "1.png", size=(4, 3))
    save(tmp_path / "a" / "2.png", size=(5, 3))

    with pytest.raises(InputError, match="several sizes"):
        load_data(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """With the suffixes that are read."""
    with pytest.raises(InputError, match=r"holds no images \(\.png"):
        load_data(tmp_path)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    """Which file it is."""
    save(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "2.png").write_bytes(b"\x89PNG cut")

    with pytest.raises(InputError, match=r"cannot read the image .*2\.png"):
        load_data(tmp_path)
