"""Samples and the exits they are assigned to: how right each exit is about them, and which exit each should be assigned to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeexit.analysis.checks import require_correct
from edgeexit.calibration.from_logits import read_labels, read_logits, refuse_nan
from edgeexit.calibration.replay import Floats, Indices, ReplayTable
from edgeexit.criteria import max_softmax
from edgeexit.errors import InputError

_MILLION = 1e-6
"""Equation 4.1 counts in millions of multiply-accumulates."""


@dataclass(frozen=True, eq=False)
class AssignedAccuracy:
    """How right each exit is about the samples that a policy assigns to each exit.

    Attributes:
        accuracy: [N, N]; row i, column j: share that exit i has right of the samples that leave at exit j. NaN where none leaves at j.
        shares: share of the samples that leave at each exit, [N].
    """

    accuracy: Floats
    shares: Floats


def compute_assigned_accuracy(table: ReplayTable, leaves: ArrayLike) -> AssignedAccuracy:
    """Accuracy of every exit on the samples that leave at each.

    A policy that knows which exits are right has a diagonal above what stands over it: the exit that answers is better on its samples than
    those before it. Guan et al., "Energy-efficient amortized inference with cascaded deep classifiers" (2018), section 5, figure 4.

    Args:
        table: with labels.
        leaves: int [M], the exit at which each sample leaves, from 0: `table.leaves_at(thresholds)`.

    Raises:
        InputError: the table has no labels, or `leaves` does not name an exit for each sample.

    Example:
        >>> from edgeexit.calibration import ReplayTable
        >>> table = ReplayTable.from_arrays(
        ...     scores=[[0.9], [0.8], [0.3], [0.2]],
        ...     correct=[[1, 1], [1, 0], [0, 1], [0, 0]],
        ...     cost_s=[0.001, 0.003],
        ... )
        >>> found = compute_assigned_accuracy(table, table.leaves_at([0.5]))
        >>> found.accuracy.tolist(), found.shares.tolist()
        ([[1.0, 0.0], [0.5, 0.5]], [0.5, 0.5])
    """
    correct, at = require_correct(table).astype(np.float64), _read_leaves(leaves, table)
    there = np.eye(table.exits)[at]  # [M, N]: a one in the column of the sample's exit
    counts = there.sum(axis=0)
    with np.errstate(invalid="ignore"):
        accuracy = correct.T @ there / counts
    return AssignedAccuracy(accuracy, counts / len(table))


def choose_exit_labels(
    logits: ArrayLike | Sequence[ArrayLike],
    labels: ArrayLike,
    *,
    price: float,
    macs: ArrayLike | None = None,
    cost_ms: ArrayLike | None = None,
    only: Sequence[int] | None = None,
) -> Indices:
    """The exit that each sample should leave at: labels to train a network that predicts the exit from the sample.

    Of the exits that are right the one with the highest score 1 / (price · cost) + confidence, where confidence is the largest softmax
    probability. A small price favours cheap exits, a large one sure exits. Voorhout, "Overthinking in MSDNet" (2022), section 4.2.1,
    equations 4.1 and 4.2 (with prices, λ there, of 5, 10, 20 and 50); the binary variant of section 4.2.3 is `only=(1, 5)`.

    Args:
        logits: of every exit: [n, N, classes], or N arrays [n, classes].
        labels: true classes, int [n].
        price: λ, greater than 0.
        macs: multiply-accumulates of leaving at each exit, [N]; taken in millions, as the paper does.
        cost_ms: instead of them measured milliseconds of leaving at each exit, [N], so that prices are of the same order.
        only: exits to choose between, from 1; None for all.

    Returns:
        int64 [n]: the place of the exit among those to choose between, from 0 (with all, the exit from 0); -1 where none of them is right,
        samples that the paper leaves out.

    Raises:
        InputError: shapes that do not fit, a price or cost that is not positive, or neither or both of `macs` and `cost_ms`.

    Example:
        >>> sure, unsure, wrong = [5.0, 0.0], [0.5, 0.0], [0.0, 5.0]
        >>> logits = [[sure, sure], [unsure, sure], [wrong, sure], [wrong, wrong]]  # 4 samples, 2 exits, 2 classes
        >>> choose_exit_labels(logits, [0, 0, 0, 0], price=50, macs=[1e6, 4e6]).tolist()
        [0, 1, 1, -1]
        >>> choose_exit_labels(logits, [0, 0, 0, 0], price=0.5, macs=[1e6, 4e6]).tolist()
        [0, 0, 1, -1]
    """
    z = read_logits(logits)
    refuse_nan("the logits", np.zeros(z[:, :-1, 0].shape, np.float32), z)
    truth = read_labels(labels, len(z), z.shape[2])
    chosen = _read_exits(only, z.shape[1])
    costs = _read_costs(macs, cost_ms, z.shape[1])
    if not price > 0:
        msg = f"price must be greater than 0, not {price!r}."
        raise InputError(msg)
    scores = (1 / (price * costs) + max_softmax(z))[:, chosen]
    right = (z.argmax(axis=-1) == truth[:, None])[:, chosen]
    best = np.where(right, scores, -np.inf).argmax(axis=1)
    return np.where(right.any(axis=1), best, -1).astype(np.int64)


def _read_leaves(leaves: ArrayLike, table: ReplayTable) -> Indices:
    at = np.asarray(leaves)
    if at.shape != (len(table),) or at.dtype.kind not in "iu" or at.min() < 0 or at.max() >= table.exits:
        msg = f"leaves must name an exit from 0 to {table.exits - 1} for each of {len(table)} samples, as table.leaves_at(thresholds) does."
        raise InputError(msg)
    return at.astype(np.int64)


def _read_exits(only: Sequence[int] | None, exits: int) -> NDArray[np.int64]:
    chosen = list(range(1, exits + 1)) if only is None else sorted(only)
    if len(set(chosen)) != len(chosen) or len(chosen) < 2 or not set(chosen) <= set(range(1, exits + 1)):
        msg = f"only must be two or more different exits from 1 to {exits}, not {list(only or ())}."
        raise InputError(msg)
    return np.array(chosen, np.int64) - 1


def _read_costs(macs: ArrayLike | None, cost_ms: ArrayLike | None, exits: int) -> Floats:
    """Costs of the exits in millions of multiply-accumulates or in milliseconds, [N]."""
    if (macs is None) == (cost_ms is None):
        msg = "give either macs= or cost_ms=, the cost of leaving at each exit."
        raise InputError(msg)
    costs = np.asarray(macs, np.float64) * _MILLION if macs is not None else np.asarray(cost_ms, np.float64)
    if costs.shape != (exits,) or not np.isfinite(costs).all() or not (costs > 0).all():
        msg = f"the cost of leaving at each exit must be {exits} finite numbers greater than 0, not {costs.tolist()}."
        raise InputError(msg)
    return costs
