"""Metrics of a trained network: accuracy of each exit, and of leaving early at one entropy threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeexit.criteria import entropy
from edgeexit.data import TrainingData, read_in_order
from edgeexit.leaving import find_leaves
from edgeexit.nets.outputs import run_exits

Logits = list[NDArray[np.float32]]


def compute_logits(module: nn.Module, data: TrainingData, *, batch: int = 1000) -> Logits:
    """Logits [n, classes] of every exit, first exit first, in evaluation mode."""
    device = next(module.parameters()).device
    module.eval()
    rows = (torch.from_numpy(x).to(device) for x, _ in read_in_order(data, batch))
    with torch.no_grad():
        parts = [[e.logits.float().cpu().numpy() for e in run_exits(module, x)] for x in rows]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def compute_accuracies(logits: Logits, labels: NDArray[np.int64]) -> list[float]:
    """Share of right answers of each exit."""
    return [float((z.argmax(-1) == labels).mean()) for z in logits]


def evaluate_early_exit(
    chosen_on: tuple[Logits, NDArray[np.int64]], used_on: tuple[Logits, NDArray[np.int64]], *, drop: float = 0.0
) -> dict[str, Any]:
    """One entropy threshold for all exits, chosen on one part and used on another.

    The threshold is the largest at which accuracy on `chosen_on` is at most `drop` (a share) below that of its last exit. It is a
    summary of the network; `edgeexit calibrate` finds thresholds for a device and a target.

    Returns:
        `threshold` in nats, and on `used_on`: `accuracy`, `exit_rates`.
    """
    logits, labels = chosen_on
    need = float((logits[-1].argmax(-1) == labels).mean()) - drop
    candidates = np.unique(np.concatenate([[-1.0], *(entropy(z) for z in logits[:-1])]).astype(np.float64))
    results = {t: _leave(logits, labels, t) for t in _thin_candidates(candidates)}
    threshold = max((t for t, (accuracy, _) in results.items() if accuracy >= need - 1e-12), default=-1.0)
    accuracy, rates = _leave(*used_on, threshold)
    return {"drop": drop, "threshold": max(threshold, 0.0), "accuracy": accuracy, "exit_rates": rates}


def _thin_candidates(candidates: NDArray[np.float64], most: int = 500) -> list[float]:
    places = np.unique(np.linspace(0, len(candidates) - 1, min(most, len(candidates))).astype(int))
    return [float(c) for c in candidates[places]]


def _leave(logits: Logits, labels: NDArray[np.int64], threshold: float) -> tuple[float, list[float]]:
    left = find_leaves([-entropy(z) for z in logits[:-1]], [-threshold] * (len(logits) - 1))
    answers = np.stack([z.argmax(-1) for z in logits])[left, np.arange(len(labels))]
    rates = np.bincount(left, minlength=len(logits)) / len(labels)
    return float((answers == labels).mean()), [float(r) for r in rates]
