"""Training data as tensors on the device: what lies in memory is moved there once, what streams from disk batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from edgeexit.data import Dataset, TrainingData

TensorBatches: TypeAlias = Callable[[Sequence[Tensor]], "Iterator[tuple[Tensor, Tensor]]"]
"""Places of samples, int64 [b] for each batch, in; inputs [b, ...] and labels int64 [b] of each, on the device, out."""


def open_batches(data: TrainingData, device: torch.device) -> TensorBatches:
    """Batches of training data on a device, by the places of their samples."""
    if isinstance(data, Dataset):
        x, y = torch.from_numpy(data.x).to(device), torch.from_numpy(data.y).to(device)
        return lambda places: ((x[w], y[w]) for w in (where.to(device) for where in places))

    def stream(places: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, labels in data.batches(where.numpy() for where in places):
            yield torch.from_numpy(inputs).to(device), torch.from_numpy(labels).to(device)

    return stream
