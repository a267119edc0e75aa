"""Features of a frozen network, computed once and kept on disk, so that heads train on them without running the network again.

    network ─► one pass over the data ─► features.npy [n, width], labels.npy [n] ─► HeadsOnRows ─► the training loop

A row holds what each head reads, flattened, and then the network's own logits. Where a head begins with something that learns nothing,
such as the mean over space, its result is stored, which is far smaller. Rows are float32; float16 where float32 would take more than
`LARGE` bytes. The files are mapped into memory, not read into it; computing them holds one batch at a time.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeexit.data import Dataset, check_labels
from edgeexit.data.named import DataSource
from edgeexit.errors import InputError
from edgeexit.nets.attach import NetworkWithExits, split_head
from edgeexit.nets.state import evaluation_mode
from edgeexit.util.atomic import write_bytes
from edgeexit.util.progress import Progress, show_nothing
from edgeexit.util.units import bytes_

SCHEMA = "edgeexit.features/1"
FEATURES, LABELS, HEADER = "features.npy", "labels.npy", "features.json"

LARGE = 2**30
"""Bytes of float32 rows above which they are stored as float16."""

_LARGEST_HALF = 65504.0
_SMALL_SAMPLE = 2**15  # numbers; 3×96×96 is less
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
    """Features of a data set in a folder.

    Attributes:
        folder: where the files are.
        layout: of the rows.
        rows: [n, width] float32 or float16, mapped from the file.
        labels: int64 [n].
    """

    folder: Path
    layout: RowLayout
    rows: Tensor
    labels: Tensor

    def remove(self) -> None:
        """Delete the files; on the systems that edgeexit runs on, `rows` stays readable while it is used."""
        for name in (HEADER, FEATURES, LABELS):
            (self.folder / name).unlink(missing_ok=True)

    def __str__(self) -> str:
        size = bytes_(self.rows.nbytes + self.labels.nbytes)
        return f"{len(self.rows):,} rows of {self.layout.width:,} {str(self.rows.dtype).removeprefix('torch.')} numbers, {size}"


def cache_features(
    network: NetworkWithExits, source: DataSource, folder: Path, *, progress: Progress = show_nothing
) -> FeatureCache:
    """Run the frozen network once over the data and keep what its heads read; goes on where an earlier call was interrupted.

    Args:
        network: its heads may be trained or not; the features do not depend on them.
        source: labelled data, read piece by piece.
        folder: where the files are written, made if missing.
        progress: watches the samples.

    Raises:
        InputError: no labels, labels beyond the classes, or the disk is full.
    """
    pieces = _Pieces(network, source)
    layout = pieces.find_layout()
    half = 4 * source.count * layout.width > LARGE
    key = pieces.compute_key(layout, half=half)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        done = _read_done(folder, key)
        files = _open_files(folder, (source.count, layout.width), np.float16 if half else np.float32, new=done == 0)
        _fill(pieces, files, done, _Note(folder, key), progress)
    except OSError as error:
        size = bytes_(source.count * layout.width * (2 if half else 4))
        msg = f"the features cannot be kept in {folder}: {error.strerror or error}; they take {size}"
        raise InputError(msg) from error
    rows, labels = (torch.from_numpy(file) for file in files)
    return FeatureCache(folder, layout, rows, labels)


@dataclass(frozen=True)
class _Note:
    """The header on disk, which says whose features the files hold and how many of them are there."""

    folder: Path
    key: str

    def write(self, done: int) -> None:
        """Say that `done` rows are there."""
        document = {"schema": SCHEMA, "key": self.key, "done": done}
        write_bytes(self.folder / HEADER, json.dumps(document).encode())


def _read_done(folder: Path, key: str) -> int:
    """How many rows of this key an earlier call has left; 0 where it left none, or those of something else."""
    try:
        document = json.loads((folder / HEADER).read_text())
        fits = document["schema"] == SCHEMA and document["key"] == key
        there = all((folder / name).is_file() for name in (FEATURES, LABELS))
        return int(document["done"]) if fits and there else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _open_files(
    folder: Path, shape: tuple[int, int], dtype: type[np.floating[Any]], *, new: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    if new:
        (folder / HEADER).unlink(missing_ok=True)
    mode = "w+" if new else "r+"
    open_map = np.lib.format.open_memmap
    rows = open_map(folder / FEATURES, mode, dtype, shape) if new else open_map(folder / FEATURES, mode)
    labels = open_map(folder / LABELS, mode, np.int64, shape[:1]) if new else open_map(folder / LABELS, mode)
    return rows, labels


def _fill(
    pieces: _Pieces, files: tuple[NDArray[Any], NDArray[Any]], done: int, note: _Note, progress: Progress
) -> None:
    rows, labels = files
    count, size = len(rows), pieces.size
    every = max(1, count // size // _STEPS) * size
    for start in range(done, count, size):
        progress("features", start, count)
        stop = min(start + size, count)
        rows[start:stop], labels[start:stop] = pieces.compute(start, stop, rows.dtype)
        if (start // size + 1) * size % every == 0 or stop == count:
            for file in files:
                assert isinstance(file, np.memmap)
                file.flush()
            note.write(stop)
    progress("features", count, count)


class _Pieces:
    """The rows of a source, piece by piece."""

    def __init__(self, network: NetworkWithExits, source: DataSource) -> None:
        self.network = network
        self.source = source
        self.device = next(network.parameters()).device
        first = source.read(0, 1).inputs
        numbers = sum(array.size for array in (first.values() if isinstance(first, dict) else (first,)))
        self.size = 256 if numbers <= _SMALL_SAMPLE else 32

    def find_layout(self) -> RowLayout:
        """The layout, from the first sample."""
        *read, last = self._run(self.source.read(0, 1))
        return RowLayout(tuple(tuple(x.shape[1:]) for x in read), last.shape[1])

    def compute(self, start: int, stop: int, dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Rows [b, width] and labels [b] of the samples from `start` up to `stop`."""
        data = self.source.read(start, stop)
        parts = self._run(data)
        rows = torch.cat([x.flatten(1) for x in parts], 1).float()
        if dtype == np.float16:
            rows = rows.clamp(-_LARGEST_HALF, _LARGEST_HALF)
        return rows.cpu().numpy().astype(dtype), check_labels(data, parts[-1].shape[1])

    def compute_key(self, layout: RowLayout, *, half: bool) -> str:
        """SHA-256 of what the rows depend on: the network's own weights, the places, what heads read there, and the data."""
        digest = hashlib.sha256()
        for name, value in self.network.backbone.state_dict().items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        first = self.source.read(0, min(self.size, self.source.count))
        names = [place.name for place in self.network.places]
        facts = [names, layout.shapes, half, self.size, self.source.count, first.sha256]
        digest.update(json.dumps(facts).encode())
        return digest.hexdigest()

    def _run(self, data: Dataset) -> list[Tensor]:
        """What each head reads, and the network's logits."""
        with evaluation_mode(self.network), torch.no_grad():
            if isinstance(data.inputs, dict):
                named = {name: torch.from_numpy(x).to(self.device) for name, x in data.inputs.items()}
                features, last = self.network.compute_features(**named)
            else:
                features, last = self.network.compute_features(torch.from_numpy(data.inputs).to(self.device))
            firsts = (split_head(head)[0] for head in self.network.heads)
            return [*(_apply(layers, x) for layers, x in zip(firsts, features, strict=True)), last]


def _apply(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x
