"""Training does not depend on where its data lies: in memory, or read batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeexit.data import Dataset, TrainingData, load_data, read_in_order
from edgeexit.data.reference import describe_samples
from edgeexit.data.streams import Batch, Places
from edgeexit.training import load_recipe, train


@dataclass(frozen=True)
class Streamed:
    """Samples that are only handed out batch by batch."""

    whole: Dataset

    @property
    def name(self) -> str:
        return self.whole.name

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.whole.class_names

    @property
    def shape(self) -> tuple[int, ...]:
        return self.whole.shape

    @property
    def y(self) -> Places:
        return self.whole.y

    @property
    def sha256(self) -> str:
        return self.whole.sha256

    def __len__(self) -> int:
        return len(self.whole)

    def sample_hashes(self) -> list[bytes]:
        return self.whole.sample_hashes()

    def take(self, indices: Places, /) -> Streamed:
        return Streamed(self.whole.take(indices))

    def batches(self, places: Iterable[Places]) -> Iterator[Batch]:
        return self.whole.batches(places)


@pytest.fixture(scope="module")
def parts() -> dict[str, Dataset]:
    """Few digits, so that an epoch takes a moment."""
    whole = load_data("digits:calibration")
    return {
        "train": whole.take(slice(0, 150)),
        "calibration": whole.take(slice(160, 240)),
        "test": whole.take(slice(240, 320)),
    }


def test_streamed_data_trains_the_same_bits(parts: dict[str, Dataset], tmp_path: Path) -> None:
    """Order, augmentation and the figures at the end come from the seed, not from the kind of data."""
    recipe = load_recipe("lenet-digits").without_phase("control").with_epochs(1)
    streamed: dict[str, TrainingData] = {name: Streamed(part) for name, part in parts.items()}

    in_memory = train(recipe, tmp_path / "memory", parts=parts)
    on_demand = train(recipe, tmp_path / "stream", parts=streamed)

    assert in_memory.metrics["results"] == on_demand.metrics["results"]
    assert in_memory.fingerprint == on_demand.fingerprint
    a, b = (torch.load(tmp_path / run / "joint.pt", weights_only=True) for run in ("memory", "stream"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_statistics_of_streamed_data_are_those_of_all_samples(parts: dict[str, Dataset]) -> None:
    """Batches are summed up as if they were one array."""
    whole = describe_samples(parts["train"], "train").inputs[0]
    pieces = describe_samples(Streamed(parts["train"]), "train").inputs[0]

    assert (whole.minimum, whole.maximum, whole.dtype) == (pieces.minimum, pieces.maximum, pieces.dtype)
    np.testing.assert_allclose(whole.mean + whole.std, pieces.mean + pieces.std, rtol=1e-6)


def test_reading_in_order_gives_every_sample_once(parts: dict[str, Dataset]) -> None:
    """The last batch holds what is left."""
    batches = list(read_in_order(parts["test"], 33))

    assert [33, 33, 14] == [len(y) for _, y in batches]
    np.testing.assert_array_equal(parts["test"].x, np.concatenate([x for x, _ in batches]))
