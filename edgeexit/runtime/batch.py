"""Many samples at once: stage by stage, leavers dropped between stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeexit.backends import Batch, StagedProgram
from edgeexit.backends.base import Array
from edgeexit.bundle import Manifest, StageEntry
from edgeexit.errors import InputError, ModelError
from edgeexit.runtime.prediction import FallbackPrediction, Prediction
from edgeexit.util.progress import Progress


class StageUnavailable(Exception):  # noqa: N818 - no fault of the caller: the exit before it answers
    """A stage that runs elsewhere gives no answer; why."""


def leave_in_stages(
    batch: Batch, manifest: Manifest, inputs: Mapping[str, Array], thresholds: Sequence[float], sign: int
) -> list[Prediction]:
    """Predictions of many samples, in their order; each stage sees only those that have not left.

    Where a stage is not available, the exit before it answers, as a fallback.

    Raises:
        InputError: the network gave NaN.
        StageUnavailable: the first stage is.
    """
    tensors = dict(inputs)
    waiting = np.arange(len(next(iter(tensors.values()))))
    answers: list[Prediction | None] = [None] * len(waiting)
    before: StageEntry | None = None
    for stage, threshold in zip(manifest.stages, [*thresholds, -np.inf], strict=True):
        try:
            made = batch.run(stage.exit, tensors)
        except StageUnavailable:
            if before is None:
                raise
            every = np.ones(len(waiting), bool)
            for i, (label, inner, logits) in _read_answers(before, tensors, waiting, every):
                answers[i] = FallbackPrediction(label, before.exit, sign * inner, logits)
            break
        tensors |= _check_stage_outputs(made, stage, len(waiting), manifest.classes)
        scores = tensors[stage.score]
        leaves = scores >= np.float32(threshold) if stage.exit < manifest.exits else np.ones(len(scores), bool)
        for i, (label, inner, logits) in _read_answers(stage, tensors, waiting, leaves):
            answers[i] = Prediction(label, stage.exit, sign * inner, logits)
        before = stage
        waiting = waiting[~leaves]
        if not len(waiting):
            break
        tensors = {name: np.ascontiguousarray(array[~leaves]) for name, array in tensors.items()}
    return [a for a in answers if a is not None]


def _read_answers(
    stage: StageEntry, tensors: Mapping[str, Array], waiting: NDArray[np.int64], leaves: NDArray[np.bool_]
) -> Iterator[tuple[int, tuple[int, float, NDArray[np.float32]]]]:
    """Of each waiting sample that leaves at a stage's exit its number, and label, inner score and logits there."""
    logits, scores = tensors[stage.logits], tensors[stage.score]
    for row in np.flatnonzero(leaves):
        label = int(logits[row].argmax())
        if np.isnan(logits[row, label]):
            msg = f"the network gave NaN at exit {stage.exit} for sample {waiting[row]}; its weights or its precision overflow on it."
            raise InputError(msg)
        yield int(waiting[row]), (label, float(scores[row]), logits[row].copy())


def _check_stage_outputs(made: dict[str, Array], stage: StageEntry, count: int, classes: int) -> dict[str, Array]:
    """Output of a stage, checked against the shapes of the manifest; boundary tensors may be anything of one row per sample."""
    shapes = {stage.logits: (count, classes), stage.score: (count,)}
    strange = [f"{n} {list(a.shape)}" for n, a in made.items() if a.shape != shapes.get(n, (count, *a.shape[1:]))]
    if strange:
        msg = f"{stage.file} does not fit its manifest: for {count} samples it gives {', '.join(strange)}. Compile the bundle again."
        raise ModelError(msg)
    return made


def score_everything(
    program: StagedProgram, inputs: Mapping[str, Array], progress: Progress
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Inner scores [n, N] and logits [n, N, classes] of every exit, one sample at a time, as in use."""
    count = len(next(iter(inputs.values())))
    classes = program.stages[0].logits.shape[1]
    scores = np.empty((count, program.exits), np.float32)
    logits = np.empty((count, program.exits, classes), np.float32)
    for i in range(count):
        for name, array in inputs.items():
            program.inputs[name][...] = array[i : i + 1]
        for k, stage in enumerate(program.stages):
            stage.run()
            scores[i, k] = stage.score[0]
            logits[i, k] = stage.logits[0]
        if i % 256 == 0 or i + 1 == count:
            progress("running every exit", i + 1, count)
    return scores, logits
