"""Stopping policies fitted from recorded answers: a small network after each classifier but the last, in NumPy.

A sample stops at classifier k with probability Π(k) = π_k Π_{t<k} (1 - π_t), the last π being 1, and then costs L_k + α Σ_{t≤k} F_t
(Guan et al. 2018, equation 1, its sum running to k). The expectation over where it stops is a finite sum, so its gradient is computed
and not drawn: with V_k the cost expected from classifier k on and a_k the logit of π_k,

    V_k = π_k L'_k + (1 - π_k) V_{k+1}          dV_1 / da_k = Π_{t<k} (1 - π_t) · π_k (1 - π_k) · (L'_k - V_{k+1})

with L' the loss and the price of all that was run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeexit.errors import InputError

Floats: TypeAlias = NDArray[np.float64]
Layer: TypeAlias = tuple[Floats, Floats]
"""Matrix [inputs, outputs] and bias [outputs]."""


@dataclass(frozen=True)
class PolicySettings:
    """How policies are fitted.

    Attributes:
        hidden: neurons of both hidden layers (64 for CIFAR, 256 for ImageNet in section 4.3).
        epochs: most passes over the samples; the best on the held-out ones counts.
        patience: passes without an improvement there after which fitting ends.
        batch: samples per step.
        rate: step size of Adam.
        held_out: share of the samples that only says when to stop.
        seed: of the first weights, the split and the order.
    """

    hidden: int = 64
    epochs: int = 200
    patience: int = 15
    batch: int = 256
    rate: float = 3e-3
    held_out: float = 0.2
    seed: int = 0


@dataclass(frozen=True, eq=False)
class PolicyNetwork:
    """Dense layers with relu between them, on a classifier's probabilities [n, classes]; a sigmoid makes the stopping probability [n]."""

    layers: tuple[Layer, ...]

    def compute_stopping(self, probabilities: NDArray[np.floating]) -> Floats:
        """π, [n]."""
        return _sigmoid(_run_layers(self.layers, np.asarray(probabilities, np.float64))[-1][:, 0])


def fit_policies(
    probabilities: NDArray[np.floating],
    losses: ArrayLike,
    costs: Sequence[float],
    *,
    alpha: float,
    settings: PolicySettings | None = None,
) -> tuple[PolicyNetwork, ...]:
    """Fit the policies of a cascade whose classifiers stay as they are.

    Args:
        probabilities: of every classifier, [n, K, classes].
        losses: of every classifier's answer, [n, K], such as 0 where it is right and 1 where it is wrong.
        costs: F, of each classifier by itself, [K]; a sample that stops at k pays the first k.
        alpha: price of cost.
        settings: how they are fitted.

    Returns:
        one for every classifier but the last.

    Raises:
        InputError: shapes that do not fit, or too few samples to hold some out.

    Example:
        >>> import numpy as np
        >>> sure, unsure = [0.9, 0.1], [0.5, 0.5]
        >>> p = np.array([[sure, sure], [unsure, sure]] * 50)
        >>> wrong = np.array([[0, 0], [1, 0]] * 50)
        >>> (policy,) = fit_policies(p, wrong, [1.0, 9.0], alpha=0.01)
        >>> stops = policy.compute_stopping(p[:2, 0]) > 0.5
        >>> stops.tolist()
        [True, False]
    """
    how, p = settings or PolicySettings(), np.asarray(probabilities, np.float64)
    if p.ndim != 3 or np.shape(losses) != p.shape[:2] or len(costs) != p.shape[1] or p.shape[1] < 2:
        given = f"probabilities {list(p.shape)}, losses {list(np.shape(losses))} and {len(costs)} costs"
        msg = f"{given} do not fit: [n, K, classes], [n, K] and K of them are needed, with K of 2 or more"
        raise InputError(msg)
    priced = np.asarray(losses, np.float64) + alpha * np.cumsum(costs)
    generator = np.random.default_rng(how.seed)
    order, held = generator.permutation(len(p)), max(1, round(how.held_out * len(p)))
    if len(p) - held < 1:
        msg = f"{len(p)} samples are too few to fit policies and hold some out"
        raise InputError(msg)
    fit = _Fit([make_layers(p.shape[2], how.hidden, generator) for _ in range(p.shape[1] - 1)], how)
    return fit.run(p[order[held:]], priced[order[held:]], p[order[:held]], priced[order[:held]], generator)


def compute_expected_cost(stopping: Floats, priced: Floats) -> tuple[Floats, Floats]:
    """V_1 of every sample [n], and its derivatives in the logits of the stopping probabilities [n, K-1].

    Args:
        stopping: π of every classifier but the last, [n, K-1].
        priced: loss and price of stopping at each, [n, K].
    """
    later = priced[:, -1]
    gains = np.empty_like(stopping)
    for k in reversed(range(stopping.shape[1])):
        gains[:, k] = priced[:, k] - later
        later = stopping[:, k] * priced[:, k] + (1 - stopping[:, k]) * later
    reached = np.cumprod(np.concatenate([np.ones_like(later)[:, None], 1 - stopping[:, :-1]], axis=1), axis=1)
    return later, reached * stopping * (1 - stopping) * gains


@dataclass
class _Fit:
    """Policies under way, with Adam's moments (Kingma and Ba 2015)."""

    policies: list[list[Layer]]
    how: PolicySettings
    steps: int = 0
    moments: dict[tuple[int, int, int], list[Floats]] = field(default_factory=dict)

    def run(
        self, p: Floats, priced: Floats, held_p: Floats, held_priced: Floats, generator: np.random.Generator
    ) -> tuple[PolicyNetwork, ...]:
        """Pass over the samples until the held-out ones gain nothing more; the best policies."""
        best, kept, since = np.inf, self.policies, 0
        for _ in range(self.how.epochs):
            for places in _list_batches(len(p), self.how.batch, generator):
                self._step(p[places], priced[places])
            cost = float(compute_expected_cost(self._compute_stopping(held_p), held_priced)[0].mean())
            since = 0 if cost < best - 1e-6 else since + 1
            if since == 0:
                best, kept = cost, [[(w.copy(), b.copy()) for w, b in layers] for layers in self.policies]
            if since >= self.how.patience:
                break
        return tuple(PolicyNetwork(tuple(layers)) for layers in kept)

    def _compute_stopping(self, p: Floats) -> Floats:
        return np.stack([_sigmoid(_run_layers(own, p[:, k])[-1][:, 0]) for k, own in enumerate(self.policies)], axis=1)

    def _step(self, p: Floats, priced: Floats) -> None:
        runs = [_run_layers(layers, p[:, k]) for k, layers in enumerate(self.policies)]
        stopping = np.stack([_sigmoid(run[-1][:, 0]) for run in runs], axis=1)
        gradients = compute_expected_cost(stopping, priced)[1] / len(p)
        self.steps += 1
        for k, run in enumerate(runs):
            self._descend(k, run, gradients[:, k : k + 1])

    def _descend(self, k: int, values: list[Floats], gradient: Floats) -> None:
        """Backwards through one policy's layers."""
        layers = self.policies[k]
        for i in reversed(range(len(layers))):
            weights, bias = layers[i]
            below = values[i]
            changes = (below.T @ gradient, gradient.sum(axis=0))
            gradient = (gradient @ weights.T) * (below > 0)
            layers[i] = (
                weights - self._adapt((k, i, 0), changes[0]),
                bias - self._adapt((k, i, 1), changes[1]),
            )

    def _adapt(self, key: tuple[int, int, int], gradient: Floats) -> Floats:
        first, second = self.moments.setdefault(key, [np.zeros_like(gradient), np.zeros_like(gradient)])
        first += 0.1 * (gradient - first)
        second += 0.001 * (gradient**2 - second)
        scale = np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        step: Floats = self.how.rate * scale * first / (np.sqrt(second) + 1e-8)
        return step


def make_layers(inputs: int, hidden: int, generator: np.random.Generator) -> list[Layer]:
    """Three layers; random weights scaled by the number of inputs (He et al. 2015), the last ones small, so that π begins at a half."""
    sizes = (inputs, hidden, hidden, 1)
    scales = [np.sqrt(2 / n) for n in sizes[:-2]] + [0.1 / np.sqrt(hidden)]
    return [
        (generator.normal(scale=scale, size=(a, b)), np.zeros(b))
        for a, b, scale in zip(sizes[:-1], sizes[1:], scales, strict=True)
    ]


def _run_layers(layers: Sequence[Layer], p: Floats) -> list[Floats]:
    """The input of every layer, and last the output of the last one."""
    values = [p]
    for i, (weights, bias) in enumerate(layers):
        out = values[-1] @ weights + bias
        values.append(np.maximum(out, 0) if i + 1 < len(layers) else out)
    return values


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


def _list_batches(count: int, batch: int, generator: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    order = generator.permutation(count)
    return (order[start : start + batch] for start in range(0, count, batch))
