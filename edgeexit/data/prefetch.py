"""Batches that are read ahead by threads while the one before is used: decoding of pictures leaves the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeexit.data.model import InputSpec
from edgeexit.data.streams import Places

ReadSample: TypeAlias = Callable[[int], "NDArray[Any]"]
"""The place of a sample in, its input out; called by several threads at once."""

_SAMPLES_PER_TASK = 8
_MOST_WORKERS = 8


def count_workers() -> int:
    """Threads that read: as many as cores that this process may use, eight at most."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    return min(cores, _MOST_WORKERS)


@dataclass(frozen=True)
class _Reading:
    """A batch that is being read."""

    inputs: NDArray[Any]
    tasks: tuple[Future[None], ...]

    def wait(self) -> NDArray[Any]:
        """The batch, complete; whatever reading a sample raised."""
        for task in self.tasks:
            task.result()
        return self.inputs


def read_ahead(places: Iterable[Places], read: ReadSample, spec: InputSpec) -> Iterator[NDArray[Any]]:
    """Batches [b, *spec.shape], one for each array of places, in that order; the next is read while one is used.

    At most three are in memory: the one that the caller used last, the one that it is given, and the one that is being read.

    Args:
        places: of the samples of each batch; asked for one batch ahead.
        read: gives one sample.
        spec: of the input.

    Raises:
        InputError: or whatever else `read` raises, when the batch is due.
    """
    pool = ThreadPoolExecutor(count_workers(), thread_name_prefix="edgeexit-data")
    try:
        pending: _Reading | None = None
        for where in places:
            started = _start(pool, where, read, spec)
            if pending is not None:
                yield pending.wait()
            pending = started
            del started
        if pending is not None:
            yield pending.wait()
    finally:
        pool.shutdown(cancel_futures=True)


def _start(pool: ThreadPoolExecutor, where: Places, read: ReadSample, spec: InputSpec) -> _Reading:
    inputs = np.empty((len(where), *spec.shape), spec.dtype)
    chosen = where.tolist()

    def fill(start: int) -> None:
        for i in range(start, min(start + _SAMPLES_PER_TASK, len(chosen))):
            inputs[i] = read(chosen[i])

    return _Reading(inputs, tuple(pool.submit(fill, i) for i in range(0, len(chosen), _SAMPLES_PER_TASK)))
