"""Any map-style Dataset of torch is training data: split, checked and read as a folder is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from edgeexit.data import InputSpec, ModelInfo, PartOptions, Preprocess, load_data, open_training_parts
from edgeexit.errors import InputError
from edgeexit.training import load_recipe, train

ANY = ModelInfo("net", ())


class Broken(Dataset[Any]):
    """Digits of which some cannot be read."""

    def __init__(self, bad: set[int]) -> None:
        self.whole = load_data("digits:calibration").take(slice(0, 200))
        self.bad = bad

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        if place in self.bad:
            msg = "damaged record"
            raise OSError(msg)
        return torch.from_numpy(self.whole.x[place]), int(self.whole.y[place])


class Noisy(Broken):
    """Digits that are changed at random each time."""

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        x, y = super().__getitem__(place)
        return x + torch.rand(()) / 10, y


class Pictures(Dataset[Any]):
    """Pictures of Pillow, as torchvision's datasets give them without a transform."""

    classes = ["cat", "dog"]  # noqa: RUF012 - as torchvision has it

    def __len__(self) -> int:
        return 12

    def __getitem__(self, place: int) -> tuple[Image.Image, int]:
        pixels = np.random.default_rng(place).integers(0, 256, (9 + place, 8, 3), dtype=np.uint8)
        return Image.fromarray(pixels), place % 2


class Endless(IterableDataset[Any]):
    """Samples without numbers."""

    def __iter__(self) -> Iterator[Any]:
        yield torch.zeros(3), 0


def test_a_tensor_dataset_trains_as_the_same_arrays_do(tmp_path: Path) -> None:
    """Splits and weights are the same bits."""
    whole = load_data("digits:calibration").take(slice(0, 300))
    recipe = load_recipe("lenet-digits").without_phase("control").without_phase("joint").with_epochs(1)
    tensors = TensorDataset(torch.from_numpy(whole.x), torch.from_numpy(whole.y))

    ours, theirs = (open_training_parts(data, ANY) for data in (whole, tensors))
    a, b = (train(recipe, tmp_path / name, parts=p.by_name) for name, p in (("ours", ours), ("theirs", theirs)))

    assert ours.train.sample_hashes() == theirs.train.sample_hashes()
    assert a.metrics["results"] == b.metrics["results"]
    assert a.fingerprint.hashes == b.fingerprint.hashes


def test_samples_that_cannot_be_read_are_named_and_counted() -> None:
    """Up to the stated share, as with pictures."""
    parts = open_training_parts(Broken({3}), ANY)

    assert 199 == sum(len(part) for part in parts.by_name.values())
    assert "1 sample of 200 cannot be read: sample 4 of 200" in parts.notes[0]
    assert "OSError: damaged record" in parts.notes[0]
    with pytest.raises(InputError, match=r"5 samples of 200 cannot be read.*At most 1\.0 %"):
        open_training_parts(Broken(set(range(5))), ANY)


def test_random_changes_are_said() -> None:
    """Neither copies can be told then, nor thresholds be trusted."""
    assert any("changes its samples at random" in note for note in open_training_parts(Noisy(set()), ANY).notes)


def test_pictures_are_prepared_as_stated() -> None:
    """Without a transform they are pictures, and the preprocessing is ours."""
    model = ModelInfo("net", (InputSpec("x", "float32", (3, 6, 6)),), 2, preprocess=Preprocess(resize=(6,)))

    parts = open_training_parts(Pictures(), model, PartOptions(shares=(0.5, 0.25, 0.25)))

    assert (3, 6, 6) == parts.train.shape
    assert ("cat", "dog") == parts.class_names
    with pytest.raises(InputError, match="nothing says how pictures are prepared"):
        open_training_parts(Pictures(), ANY)
    with pytest.raises(InputError, match="bring them to one size"):
        open_training_parts(Pictures(), ModelInfo("net", (), preprocess=Preprocess()))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (Endless(), "has no samples by number"),
        (TensorDataset(torch.zeros(4, 3)), "no pair of input and label"),
        (TensorDataset(torch.zeros(4, 3), torch.tensor([0.5, 1, 1, 0])), "whole number from 0"),
        ({"training": load_data("digits:test")}, "train, calibration and test are needed"),
        ({"test": load_data("digits:test")}, "no train part"),
    ],
)
def test_other_objects_are_refused(data: object, said: str) -> None:
    """With what is needed."""
    with pytest.raises(InputError, match=said):
        open_training_parts(data, ANY)


def test_tables_of_hugging_face_are_understood() -> None:
    """Samples by the names of their columns."""
    whole = load_data("digits:calibration").take(slice(0, 200))
    table = [{"image": x, "label": int(y)} for x, y in zip(whole.x, whole.y, strict=True)]

    assert (
        open_training_parts(table, ANY).test.sha256
        == open_training_parts(list(zip(whole.x, whole.y, strict=True)), ANY).test.sha256
    )
