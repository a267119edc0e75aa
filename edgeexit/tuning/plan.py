"""What a run of tuning is asked for, its data in parts, and the folder that it keeps things in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeexit.bundle.store import compute_sha256
from edgeexit.calibration import Target
from edgeexit.calibration.metrics.answers import NEEDS_LABELS, AccuracyDrop
from edgeexit.data import Dataset, split_calibration
from edgeexit.errors import InputError
from edgeexit.hardware import find_device_key
from edgeexit.tuning.budget import TimeBudget
from edgeexit.tuning.space import TuningSpace
from edgeexit.tuning.store import TuningRecord, TuningStore
from edgeexit.util.progress import Progress

RESULT = "tuning.json"


def refuse_bounds(target: Target, *, labelled: bool) -> None:
    """Refuse bounds that cannot be judged: before it is known which exits stay, without a meter, or without labels.

    Raises:
        InputError: there is one.
    """
    for bound in target.bounds:
        if bound.kind.numbered:
            msg = f"{bound}: tuning chooses which exits stay, so the rate of one cannot be bounded; bound it with edgeexit calibrate."
            raise InputError(msg)
        if bound.kind.metered:
            msg = f"{bound}: tuning measures no energy; bound mean<= or macs<=, or use edgeexit calibrate."
            raise InputError(msg)
        if not labelled and (isinstance(bound.kind, AccuracyDrop) or bound.kind.name == "accuracy"):
            raise InputError(NEEDS_LABELS.format(bound=bound))


@dataclass(frozen=True, eq=False)
class TuningPlan:
    """What is asked for.

    Attributes:
        model: the ONNX file. output: folder of the bundle.
        data: all samples.
        target: what to tune for.
        space: what is tried.
        budget: wall time of the run.
        seed: random seed of splits and orders.
        progress: callback with what is being done.
        force: tune although the data are implausible.
    """

    model: Path
    output: Path
    data: Dataset
    target: Target
    space: TuningSpace
    budget: TimeBudget
    seed: int
    progress: Progress
    force: bool

    @property
    def work(self) -> Path:
        """Folder of what is compiled, recorded and timed on the way."""
        return self.output.with_name(f"{self.output.name.removesuffix('.eexit')}.tune")

    @property
    def parts(self) -> list[NDArray[np.int64]]:
        """Indices of the choose and the validation part, the same as `calibrate` takes with this seed."""
        return split_calibration(len(self.data), self.seed)

    @property
    def identity(self) -> TuningRecord:
        """An empty record of this model, these data, this seed and this machine."""
        model, device = compute_sha256(self.model), find_device_key(backend="onnxruntime")
        return TuningRecord(model=model, data=self.data.sha256, seed=self.seed, device=device)

    def open_store(self, *, resume: bool) -> TuningStore:
        """Make the work folder, or take the one that is there.

        Raises:
            InputError: it is there and `resume` was not asked for, or it is of another model, data, seed or machine.
        """
        if not self.work.exists():
            return self._begin(TuningStore.create(self.work, self.identity))
        if not resume:
            msg = f"{self.work} holds an earlier run: take what it recorded with --resume (resume=True), or remove it."
            raise InputError(msg)
        return self._begin(TuningStore.open(self.work, self.identity))

    def _begin(self, store: TuningStore) -> TuningStore:
        store.begin_budget(self.budget.seconds)
        return store
