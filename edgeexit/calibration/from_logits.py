"""From answers to a replay table: the one place where logits become scores, and right or wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeexit.calibration.arrays import as_scores
from edgeexit.calibration.replay import Bools, Indices, ReplayTable
from edgeexit.criteria import Criterion, ExitOutputs
from edgeexit.criteria import criterion as find_criterion
from edgeexit.data.arrays import as_array
from edgeexit.data.labels import as_labels
from edgeexit.errors import InputError


def replay_table(
    logits: ArrayLike | Sequence[ArrayLike],
    labels: ArrayLike | None,
    criterion: str | Criterion | None,
    *,
    scores: ArrayLike | None = None,
    cost_s: ArrayLike | Sequence[ArrayLike] | None = None,
    macs: ArrayLike | None = None,
    plain: ArrayLike | None = None,
) -> ReplayTable:
    """The replay table of recorded logits, wherever they come from: a torch module, a `Runner` or a file.

    Args:
        logits: of every exit, first exit first: [n, N, classes], or N arrays [n, classes].
        labels: true classes, int [n]; None without labels, where the agreement with the last exit is all that is known.
        criterion: by name, or itself. None: `logits` are answers and `scores` inner scores already, as `Runner.replay` gives them.
        scores: [n, N-1] or [n, N]; of the last exit they are not looked at. The network's own for `learned` and
            `learned_mean`; inner ones where there is no criterion.
        cost_s: seconds of leaving at each exit: [N], or N arrays of measured latencies.
        macs: multiply-accumulates done by leaving at each exit, [N]. Without `cost_s` the table is in these, and targets in time are
            refused.
        plain: answers of the network to compare with, its logits [n, classes] or its labels [n]: a drop in accuracy is counted from them.
            None: the last exit's own.

    Returns:
        A table with scores, right answers (where there are labels) and agreement with the plain network or the last exit.

    Raises:
        InputError: shapes that do not fit, NaN (names the samples), labels beyond the classes, neither `cost_s` nor `macs`, scores that
            are missing, or given where the criterion computes them.

    Example:
        >>> from edgeexit.calibration import optimise, replay_table
        >>> logits = [[[4.0, 0.0], [6.0, 0.0]], [[0.0, 0.5], [3.0, 0.0]], [[0.0, 5.0], [0.0, 6.0]]]  # 3 samples, 2 exits, 2 classes
        >>> table = replay_table(logits, [0, 0, 1], "entropy", macs=[1e6, 4e6])
        >>> table.correct.tolist()
        [[True, True], [False, True], [True, True]]
        >>> policy = optimise(table, "macs<=2M")
        >>> policy.accuracy, policy.macs, policy.exit_rates
        (1.0, 2000000.0, (0.6666666666666666, 0.3333333333333333))
    """
    z = read_logits(logits)
    chosen = find_criterion(criterion) if isinstance(criterion, str) else criterion
    answers = _decide(z, chosen, scores, macs)
    refuse_nan("the logits", answers.scores[:, :-1], answers.logits)
    given = answers.logits.argmax(axis=-1).astype(np.int64)
    truth = None if labels is None else read_labels(labels, len(z), z.shape[2])
    other = plain is not None or (chosen is not None and chosen.changes_answers)
    straight = z[:, -1].argmax(axis=-1) if plain is None else _read_plain(plain, z.shape)
    return ReplayTable.from_arrays(
        answers.scores[:, :-1],
        None if truth is None else given == truth[:, None],
        cost_s,
        agreement=given == straight[:, None],
        macs=macs,
        backbone_correct=_compare(straight, truth) if other else None,
    )


def read_logits(logits: ArrayLike | Sequence[ArrayLike]) -> NDArray[np.float32]:
    """Logits of every exit as float32 [n, N, classes].

    Args:
        logits: one array of that shape, or a list of N arrays [n, classes], first exit first.

    Raises:
        InputError: another shape, or not numbers.
    """
    if isinstance(logits, (list, tuple)) and all(hasattr(part, "ndim") for part in logits):
        parts = [as_array(part, f"the logits of exit {k}") for k, part in enumerate(logits, 1)]
        if len({part.shape for part in parts}) > 1:
            msg = (
                f"the logits of the exits have different shapes: {', '.join(str(list(part.shape)) for part in parts)}."
            )
            raise InputError(msg)
        logits = np.stack(parts, axis=1) if parts and parts[0].ndim else np.array(parts)
    array = as_array(logits, "the logits")
    if array.ndim != 3 or array.dtype.kind not in "fiu" or 0 in array.shape:
        msg = (
            f"logits must be numbers [samples, exits, classes], or one array [samples, classes] per exit, not {array.dtype} "
            f"{list(array.shape)}."
        )
        raise InputError(msg)
    return np.asarray(array, np.float32)


def read_labels(labels: ArrayLike, samples: int, classes: int) -> Indices:
    """Labels as int64 [samples].

    Raises:
        InputError: another number of them, or one that is no class.
    """
    truth, faults = as_labels(as_array(labels, "the labels"), "the labels")
    if truth is None:
        raise InputError("the labels cannot be used: " + "; ".join(faults) + ".")
    if truth.shape != (samples,):
        msg = f"{len(truth)} labels for {samples} samples: one label per sample is needed."
        raise InputError(msg)
    if truth.max() >= classes:
        msg = f"label {truth.max()} of sample {truth.argmax()} is out of range: the logits have classes 0 to {classes - 1}."
        raise InputError(msg)
    return truth


def refuse_nan(name: str, scores: NDArray[np.float32], logits: NDArray[np.float32]) -> None:
    """Refuse answers that are none.

    Args:
        name: of the data, for the message.
        scores: [n, N-1] of the early exits.
        logits: [n, N, classes].

    Raises:
        InputError: a logit is NaN, or a score is not finite; names the samples.
    """
    bad: Bools = np.isnan(logits.max(axis=2))  # the largest value is NaN where any is
    bad[:, :-1] |= ~np.isfinite(scores)
    samples: Indices = np.flatnonzero(bad.max(axis=1))
    if len(samples):
        shown = ", ".join(map(str, samples[:5])) + (", ..." if len(samples) > 5 else "")
        msg = (
            f"{name}: the network gives NaN for {len(samples)} of {len(bad)} samples (numbered from 0: {shown}), first at exit "
            f"{int(bad[samples[0]].argmax()) + 1} of sample {samples[0]}. Look at these inputs, or leave them out; an empty mask or a "
            "constant input is the usual cause."
        )
        raise InputError(msg)


def _decide(
    logits: NDArray[np.float32], rule: Criterion | None, scores: ArrayLike | None, macs: ArrayLike | None
) -> ExitOutputs:
    """Answers of every exit, with inner scores."""
    needed = rule is None or rule.learned
    if needed != (scores is not None):
        what = "a table without a criterion" if rule is None else f"criterion {rule.name!r}"
        how = (
            "takes the network's own scores, and there are none: give scores="
            if needed
            else "computes its scores from the logits: leave out scores="
        )
        raise InputError(f"{what} {how}.")
    own = _read_scores(scores, logits.shape) if scores is not None else None
    if rule is None:
        assert own is not None
        return ExitOutputs(logits, own)
    if rule.weighs_costs and macs is None:
        msg = f"criterion {rule.name!r} weighs exits by the multiply-accumulates of reaching them: give macs=."
        raise InputError(msg)
    costs = np.ones(logits.shape[1]) if macs is None else np.asarray(macs, np.float64)
    if costs.shape != logits.shape[1:2]:
        msg = f"macs must be [{logits.shape[1]}] for the exits of the logits, not {list(costs.shape)}."
        raise InputError(msg)
    found = rule.answers(logits, costs.tolist(), own)
    return ExitOutputs(found.logits, rule.sign * found.scores)


def _read_scores(scores: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Scores of every exit, [n, N]; zeros stand for those of the last exit, which decide nothing."""
    array = as_scores(as_array(scores, "the scores"))
    if array.ndim == 2 and array.shape == (shape[0], shape[1] - 1):
        array = np.concatenate([array, np.zeros((shape[0], 1), np.float32)], axis=1)
    if array.shape != shape[:2]:
        msg = (
            f"scores must be [{shape[0]}, {shape[1] - 1}], or [{shape[0]}, {shape[1]}] with the last exit, for logits {list(shape)}, "
            f"not {list(array.shape)}."
        )
        raise InputError(msg)
    return array


def _read_plain(plain: ArrayLike, shape: tuple[int, ...]) -> Indices:
    """The labels that the network to compare with answers, [n]."""
    array = as_array(plain, "the answers of the plain network")
    if array.ndim == 2 and array.shape == (shape[0], shape[2]) and array.dtype.kind == "f":
        return np.asarray(array.argmax(axis=-1), np.int64)
    if array.shape != shape[:1]:
        msg = f"plain must be logits [{shape[0]}, {shape[2]}] or labels [{shape[0]}], not {list(array.shape)}."
        raise InputError(msg)
    return read_labels(array, shape[0], shape[2])


def _compare(given: Indices, truth: Indices | None) -> Bools:
    return np.ones(len(given), np.bool_) if truth is None else np.asarray(given == truth)
