"""Data cut into blocks of bounded size, each of which becomes a shard."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from edgeexit.bundle import Bundle
from edgeexit.data import Dataset, DataSource
from edgeexit.util.progress import Progress, show_nothing

BLOCK_BYTES = 64 * 2**20
"""Bytes of the inputs of a block, where the number of samples is not given."""
MOST_ROWS = 65_536
"""Samples per shard at most: a few megabytes."""


def choose_rows(bundle: Bundle) -> int:
    """Samples per block whose inputs take 64 MiB, at most 65,536; the same for a network on every machine."""
    each = sum(math.prod(map(int, s.shape[1:])) * np.dtype(s.dtype).itemsize for s in bundle.manifest.inputs)
    return max(1, min(MOST_ROWS, BLOCK_BYTES // each))


def cut_blocks(source: DataSource, rows: int, progress: Progress = show_nothing) -> Iterator[Dataset]:
    """The samples of a source in their order, `rows` at a time, read when they are asked for; pictures are decoded then.

    Example:
        >>> from edgeexit.data import open_data
        >>> [len(block) for block in cut_blocks(open_data("digits:test"), 200)]
        [200, 200, 100]
    """
    for start in range(0, source.count, rows):
        progress("running every exit", start, source.count)
        yield source.read(start, min(start + rows, source.count))
    progress("running every exit", source.count, source.count)
