"""Stages for any number of samples: sessions that are resized when the number changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgeexit.backends.base import Array, Batch, Settings
from edgeexit.backends.mnn.sessions import Session
from edgeexit.bundle import Manifest


class MnnBatch(Batch):
    """Stages of a bundle; one sample at a time where the model's batch is fixed.

    Args:
        manifest: the bundle's manifest.
        files: the converted stages, in order.
        settings: threads and precision.
    """

    def __init__(self, manifest: Manifest, files: Sequence[Path], settings: Settings) -> None:
        self._entries = manifest.stages
        self._many = manifest.dynamic_batch
        self._sessions = [Session(file, settings) for file in files]
        self._counts = [0] * len(files)

    def run(self, stage: int, tensors: Mapping[str, Array]) -> dict[str, Array]:  # noqa: D102 - see base
        entry, session = self._entries[stage - 1], self._sessions[stage - 1]
        feeds = {name: tensors[name] for name in (*entry.inputs, *(b.name for b in entry.boundaries_in))}
        count = len(next(iter(feeds.values())))
        if self._many:
            if count != self._counts[stage - 1]:
                session.resize(count)
                self._counts[stage - 1] = count
            return _run_once(session, feeds)
        rows = [_run_once(session, {n: a[i : i + 1] for n, a in feeds.items()}) for i in range(count)]
        return {name: np.concatenate([np.atleast_1d(row[name]) for row in rows]) for name in rows[0]}


def _run_once(session: Session, feeds: Mapping[str, Array]) -> dict[str, Array]:
    for name, view in session.inputs.items():
        view[...] = feeds[name].reshape(view.shape)
    session.run()
    return {name: view.copy() for name, view in session.outputs.items()}
