"""Features of a frozen network, computed once and kept on disk, so that heads train on them without running the network again.

    network ─► one pass over the data ─► features.npy [n, width] ─► HeadsOnRows ─► the training loop

A row holds what each head reads, flattened, and then the network's own logits. Where a head begins with something that learns nothing,
such as the mean over space, its result is stored, which is far smaller. Rows are float32; float16 where float32 would take more than
`LARGE` bytes. The file is mapped into memory, not read into it; computing it holds one batch at a time.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeexit.data import TrainingData, check_labels
from edgeexit.data.streams import Batch, Places
from edgeexit.errors import InputError
from edgeexit.nets.attach import NetworkWithExits, split_head
from edgeexit.nets.state import evaluation_mode
from edgeexit.util.atomic import write_bytes
from edgeexit.util.progress import Progress, show_nothing
from edgeexit.util.units import bytes_

SCHEMA = "edgeexit.features/1"
FEATURES, HEADER = "features.npy", "features.json"

LARGE = 2**30
"""Bytes of float32 rows above which they are stored as float16."""

_BATCH, _SMALL_BATCH, _SMALL_SAMPLE = 256, 32, 2**15  # the larger batch where a sample has at most so many numbers
_STEPS = 50  # how often the pass notes on disk how far it is


@dataclass(frozen=True)
class RowLayout:
    """What a row holds.

    Attributes:
        shapes: of what each head reads, without the batch, first exit first.
        classes: of the logits at its end.
    """

    shapes: tuple[tuple[int, ...], ...]
    classes: int

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return sum(math.prod(shape) for shape in self.shapes) + self.classes

    def cut(self, rows: Tensor) -> list[Tensor]:
        """Rows [b, width] as what each head reads [b, ...], and the logits [b, classes]."""
        ends = np.cumsum([0, *(math.prod(shape) for shape in self.shapes), self.classes]).tolist()
        parts = [rows[:, a:b] for a, b in pairwise(ends)]
        return [p.reshape(-1, *s) for p, s in zip(parts, (*self.shapes, (self.classes,)), strict=True)]


class HeadsOnRows(nn.Module):
    """The heads of a network as a network of their own, whose inputs are rows of features; they are the same modules.

    Args:
        network: whose heads they are.
        layout: of the rows.
    """

    def __init__(self, network: NetworkWithExits, layout: RowLayout) -> None:
        super().__init__()
        self.heads = network.heads
        self.layout = layout
        self._learned = [split_head(head)[1] for head in network.heads]

    def forward(self, rows: Tensor) -> list[Tensor]:
        """Rows [b, width] -> logits [b, classes] of every exit; the last are the network's own, as they were stored."""
        like = next(self.heads.parameters())
        *features, last = self.layout.cut(rows.to(like.device, like.dtype))
        return [*(_apply(layers, x) for layers, x in zip(self._learned, features, strict=True)), last]


@dataclass(frozen=True)
class FeatureCache:
    """Features of a data set in a folder, as training data whose samples are the rows.

    Attributes:
        name: name of the data that they are of.
        folder: where the files are.
        layout: of the rows.
        rows: [n, width] float32 or float16, mapped from the file.
        y: labels int64 [n].
        class_names: class names in the order of the labels; empty where they are not known.
    """

    name: str
    folder: Path
    layout: RowLayout
    rows: NDArray[np.floating[Any]]
    y: NDArray[np.int64]
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return self.rows.shape[1:]

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of rows and labels."""
        digest = hashlib.sha256(self.rows.data)
        digest.update(self.y.data)
        return digest.hexdigest()

    def sample_hashes(self) -> list[bytes]:
        """One 16-byte hash per row."""
        return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in self.rows]

    def batches(self, places: Iterable[Places]) -> Iterator[Batch]:
        """One batch for each array of places, in that order."""
        return ((self.rows[where], self.y[where]) for where in places)

    def remove(self) -> None:
        """Delete the files; the rows stay readable as long as they are used."""
        for name in (HEADER, FEATURES):
            (self.folder / name).unlink(missing_ok=True)

    def __str__(self) -> str:
        numbers = f"{self.layout.width:,} {self.rows.dtype} numbers"
        return f"{len(self):,} rows of {numbers}, {bytes_(self.rows.nbytes)}"


def cache_features(
    network: NetworkWithExits, data: TrainingData, folder: Path, *, progress: Progress = show_nothing
) -> FeatureCache:
    """Run the frozen network once over the data and keep what its heads read; goes on where an earlier call was interrupted.

    Args:
        network: its heads may be trained or not; the features do not depend on them.
        data: read a batch at a time.
        folder: where the files are written, made if missing.
        progress: watches the samples.

    Raises:
        InputError: labels beyond the classes, or the disk is full.
    """
    layout = _find_layout(network, data)
    check_labels(data, layout.classes)
    dtype = np.dtype(np.float16 if 4 * len(data) * layout.width > LARGE else np.float32)
    note = _Note(folder, _compute_key(network, data, layout, dtype))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        done = note.read()
        rows = _open_rows(folder / FEATURES, (len(data), layout.width), dtype, new=not done)
        for stop in _fill(rows, _compute_rows(network, data, done), done, progress):
            rows.flush()
            note.write(stop)
    except OSError as error:
        size = bytes_(len(data) * layout.width * dtype.itemsize)
        msg = f"the features cannot be kept in {folder}: {error.strerror or error}; they take {size}"
        raise InputError(msg) from error
    return FeatureCache(data.name, folder, layout, rows, data.y, data.class_names)


def _open_rows(
    path: Path, shape: tuple[int, int], dtype: np.dtype[np.floating[Any]], *, new: bool
) -> np.memmap[Any, np.dtype[np.floating[Any]]]:
    """The rows, mapped from a file whose place on the disk is taken at once: a full disk would end the process while they are written."""
    rows = open_memmap(path, "w+" if new else "r+", dtype, shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return rows


@dataclass(frozen=True)
class _Note:
    """The header on disk, which says whose features the file holds and how many of them are there."""

    folder: Path
    key: str

    def write(self, done: int) -> None:
        """Say that `done` rows are there."""
        document = {"schema": SCHEMA, "key": self.key, "done": done}
        write_bytes(self.folder / HEADER, json.dumps(document).encode())

    def read(self) -> int:
        """How many rows of this key an earlier call has left; 0 where it left none, or those of something else."""
        try:
            document = json.loads((self.folder / HEADER).read_text())
            fits = document["schema"] == SCHEMA and document["key"] == self.key
            return int(document["done"]) if fits and (self.folder / FEATURES).is_file() else 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0


def _fill(rows: NDArray[Any], batches: Iterable[Tensor], done: int, progress: Progress) -> Iterator[int]:
    """Write the rows from `done` on; gives how far it is each time that much is new."""
    count, noted, start = len(rows), done, done
    limit = float(np.finfo(rows.dtype).max)
    for batch in batches:
        progress("features", start, count)
        rows[start : start + len(batch)] = batch.clamp(-limit, limit).numpy()
        start += len(batch)
        if start - noted >= count / _STEPS or start == count:
            yield start
            noted = start
    progress("features", count, count)


def _compute_rows(network: NetworkWithExits, data: TrainingData, start: int) -> Iterator[Tensor]:
    """Rows float32 [b, width] on the CPU, of the samples from `start` on."""
    size = _BATCH if math.prod(data.shape) <= _SMALL_SAMPLE else _SMALL_BATCH
    places = (np.arange(i, min(i + size, len(data))) for i in range(start, len(data), size))
    for inputs, _ in data.batches(places):
        yield torch.cat([x.flatten(1) for x in _run(network, inputs)], 1).float().cpu()


def _run(network: NetworkWithExits, inputs: NDArray[Any]) -> list[Tensor]:
    """What each head reads, and the network's logits."""
    device = next(network.parameters()).device
    with evaluation_mode(network), torch.no_grad():
        features, last = network.compute_features(torch.from_numpy(inputs).to(device))
        firsts = (split_head(head)[0] for head in network.heads)
        return [*(_apply(layers, x) for layers, x in zip(firsts, features, strict=True)), last]


def _find_layout(network: NetworkWithExits, data: TrainingData) -> RowLayout:
    """The layout, from the first sample."""
    inputs, _ = next(iter(data.batches([np.arange(1)])))
    *read, last = _run(network, inputs)
    return RowLayout(tuple(tuple(x.shape[1:]) for x in read), last.shape[1])


def _compute_key(network: NetworkWithExits, data: TrainingData, layout: RowLayout, dtype: np.dtype[Any]) -> str:
    """SHA-256 of what the rows depend on: the network's own weights, the places, what heads read there, and the data."""
    digest = hashlib.sha256()
    for name, value in network.backbone.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    names = [place.name for place in network.places]
    digest.update(json.dumps([names, layout.shapes, str(dtype), data.sha256]).encode())
    return digest.hexdigest()


def _apply(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x
