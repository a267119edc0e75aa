"""Samples for training, batch by batch: what the trainer asks of data, whether it lies in memory or on disk.

The trainer decides which samples come in which order (by seed, phase and epoch) and asks for them by their places; the data only reads
them. So the same seed gives the same batches from any kind of data, and a run that is resumed goes on with the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Places: TypeAlias = NDArray[np.int64]
"""Numbers of samples [b], from 0."""

Batch: TypeAlias = "tuple[NDArray[Any], NDArray[np.int64]]"
"""Inputs [b, ...] and labels int64 [b]."""


class TrainingData(Protocol):
    """Labelled samples of a network with one input. `Dataset` is one that lies in memory."""

    @property
    def name(self) -> str:
        """Name for messages and records."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the labels; empty where they are not known."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample, without the batch."""
        ...

    @property
    def y(self) -> NDArray[np.int64]:
        """Labels [n], from 0."""
        ...

    @property
    def sha256(self) -> str:
        """Hash of all samples and labels, for records."""
        ...

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def sample_hashes(self) -> list[bytes]:
        """One 16-byte hash per sample, of its input only."""
        ...

    def batches(self, places: Iterable[Places]) -> Iterator[Batch]:
        """One batch for each array of places, in that order."""
        ...


class DivisibleData(TrainingData, Protocol):
    """Training data of which a part can be taken."""

    def take(self, indices: Places, /) -> TrainingData:
        """The samples at these places, in this order."""
        ...


def read_in_order(data: TrainingData, batch: int) -> Iterator[Batch]:
    """All samples in their order, `batch` at a time.

    Example:
        >>> from edgeexit.data import load_data
        >>> [len(y) for x, y in read_in_order(load_data("digits:test"), 200)]
        [200, 200, 100]
    """
    every = np.arange(len(data))
    return data.batches(every[i : i + batch] for i in range(0, len(every), batch))
