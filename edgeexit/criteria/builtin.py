"""The criteria that edgeexit has itself: their formulas in NumPy and in ONNX, and the table of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeexit.criteria.base import Array, CombinedTensors, Criterion, ExitOutputs

if TYPE_CHECKING:
    from edgeexit.graph.build import NodeBuilder


def log_softmax(logits: NDArray[np.floating]) -> Array:
    """Log-probabilities over the last axis, float32, for logits of any finite size."""
    z = np.asarray(logits, np.float32)
    z = z - z.max(axis=-1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(axis=-1, keepdims=True)), np.float32)


def softmax(logits: NDArray[np.floating]) -> Array:
    """Probabilities over the last axis, float32."""
    return np.exp(log_softmax(logits))


_LEAST_LOG = np.float32(-1e4)  # exp of it is 0 in float32, so no probability above 0 has a lower logarithm


def entropy(logits: NDArray[np.floating]) -> Array:
    """Shannon entropy in nats, [n]; 0 · ln 0 is 0."""
    log_p = log_softmax(logits)
    return np.asarray(-(np.exp(log_p) * np.maximum(log_p, _LEAST_LOG)).sum(axis=-1), np.float32)


def normalized_entropy(logits: NDArray[np.floating]) -> Array:
    """Entropy over its largest possible value ln(classes), [n] in 0..1."""
    return np.asarray(entropy(logits) / np.log(np.float32(logits.shape[-1])), np.float32)


def max_softmax(logits: NDArray[np.floating]) -> Array:
    """Probability of the best class, [n]."""
    return np.asarray(softmax(logits).max(axis=-1), np.float32)


def margin(logits: NDArray[np.floating]) -> Array:
    """Best minus second-best probability, [n]."""
    p = np.sort(softmax(logits), axis=-1)
    return np.asarray(p[..., -1] - p[..., -2], np.float32)


_TINY = np.float32(np.finfo(np.float32).tiny)  # ln of it is finite


def running_mean(logits: Array, _scores: Array | None, costs: Sequence[float]) -> ExitOutputs:
    """Mean of the probabilities of exits 1 to k, weighted by the cost of reaching each; answers ln(mean), scored by its best class."""
    weights = np.asarray(costs, np.float64)
    shares = weights / np.cumsum(weights)
    mean = np.zeros_like(logits)
    now = np.zeros_like(logits[:, 0])
    for k, p in enumerate(np.moveaxis(softmax(logits), 1, 0)):
        now = now * np.float32(1 - shares[k]) + p * np.float32(shares[k])
        mean[:, k] = now
    return ExitOutputs(np.log(np.maximum(mean, _TINY)), mean.max(axis=-1))


def patience(logits: Array, _scores: Array | None, _costs: Sequence[float]) -> ExitOutputs:
    """Number of exits in a row, up to and with this one, that agree on the best class; answers are the exits' own."""
    labels = logits.argmax(axis=-1)
    agreeing = np.ones(labels.shape, np.float32)
    for k in range(1, labels.shape[1]):
        agreeing[:, k] += agreeing[:, k - 1] * (labels[:, k] == labels[:, k - 1])
    return ExitOutputs(logits, agreeing)


_LEAST_WEIGHT = np.float32(1e-20)  # nothing beside a probability, and where all are 0 the exits count alike


def learned_mean(logits: Array, scores: Array | None, _costs: Sequence[float]) -> ExitOutputs:
    """Mean of the probabilities of exits 1 to k, weighted by their stopping probabilities, the last one's being 1; answers ln(mean)."""
    assert scores is not None
    stopping = np.concatenate([scores[:, :-1], np.ones_like(scores[:, -1:])], axis=1)
    weights = np.clip(stopping, _LEAST_WEIGHT, np.float32(1))
    shares = weights / np.cumsum(weights, axis=1, dtype=np.float32)
    mean = softmax(logits)
    for k in range(1, mean.shape[1]):
        share = shares[:, k, None]
        mean[:, k] = mean[:, k - 1] * (1 - share) + mean[:, k] * share
    return ExitOutputs(np.log(np.maximum(mean, _TINY)), stopping)


def _entropy_nodes(b: NodeBuilder, logits: str, _classes: int) -> str:
    log_p = b.node("LogSoftmax", [logits], axis=-1)
    bounded = b.node("Max", [log_p, b.constant(_LEAST_LOG)])
    # The probability is that of the unbounded one, so that NaN stays NaN on runtimes whose Max drops it.
    terms = b.node("Mul", [b.node("Exp", [log_p]), bounded])
    return b.reduce("ReduceSum", terms)


def _normalized_entropy_nodes(b: NodeBuilder, logits: str, classes: int) -> str:
    scale = b.constant(np.float32(1.0 / np.log(classes)))
    return b.node("Mul", [_entropy_nodes(b, logits, classes), scale])


def _max_softmax_nodes(b: NodeBuilder, logits: str, _classes: int) -> str:
    return b.reduce("ReduceMax", b.node("Softmax", [logits], axis=-1))


def _margin_nodes(b: NodeBuilder, logits: str, _classes: int) -> str:
    p = b.node("Softmax", [logits], axis=-1)
    best, _ = b.nodes("TopK", [p, b.constant(np.array([2], np.int64))], 2, axis=-1)
    signs = b.constant(np.array([1.0, -1.0], np.float32))
    return b.reduce("ReduceSum", b.node("Mul", [best, signs]))


def _running_mean_nodes(
    b: NodeBuilder, logits: str, _score: str | None, state: tuple[str, ...], costs: Sequence[float]
) -> CombinedTensors:
    mean = b.node("Softmax", [logits], axis=-1)
    if state:
        share = costs[-1] / sum(costs)
        before = b.node("Mul", [state[0], b.constant(np.float32(1 - share))])
        mean = b.node("Add", [before, b.node("Mul", [mean, b.constant(np.float32(share))])])
    answer = b.node("Log", [b.node("Max", [mean, b.constant(_TINY)])])
    return CombinedTensors(answer, b.reduce("ReduceMax", mean), (mean,))


def _patience_nodes(
    b: NodeBuilder, logits: str, _score: str | None, state: tuple[str, ...], _costs: Sequence[float]
) -> CombinedTensors:
    label = b.node("ArgMax", [logits], axis=-1, keepdims=0)
    # At the first exit a label is compared with itself: ones of the right length, whatever the batch.
    agrees = b.cast(b.node("Equal", [label, state[0] if state else label]), 1)
    count = b.node("Add", [b.node("Mul", [agrees, state[1]]), b.constant(np.float32(1))]) if state else agrees
    return CombinedTensors(logits, count, (label, count))


def _learned_mean_nodes(
    b: NodeBuilder, logits: str, score: str | None, state: tuple[str, ...], _costs: Sequence[float]
) -> CombinedTensors:
    mean, one = b.node("Softmax", [logits], axis=-1), b.constant(np.float32(1))
    score = score or _ones(b, logits)
    weight = b.reshape(b.node("Min", [b.node("Max", [score, b.constant(_LEAST_WEIGHT)]), one]), -1, 1)
    if state:
        before, weights = state
        total = b.node("Add", [weights, weight])
        share = b.node("Div", [weight, total])
        kept = b.node("Mul", [before, b.node("Sub", [one, share])])
        mean, weight = b.node("Add", [kept, b.node("Mul", [mean, share])]), total
    answer = b.node("Log", [b.node("Max", [mean, b.constant(_TINY)])])
    return CombinedTensors(answer, score, (mean, weight))


def _ones(b: NodeBuilder, logits: str) -> str:
    """One 1 per sample, whatever the batch."""
    label = b.node("ArgMax", [logits], axis=-1, keepdims=0)
    return b.cast(b.node("Equal", [label, label]), 1)


_ALL = (
    Criterion(
        "entropy",
        "nats",
        "the entropy of the probabilities is at most T",
        -1,
        entropy,
        _entropy_nodes,
        logarithmic=True,
    ),
    Criterion(
        "normalized_entropy",
        "of ln(classes)",
        "the entropy over its largest possible value is at most T",
        -1,
        normalized_entropy,
        _normalized_entropy_nodes,
        logarithmic=True,
    ),
    Criterion(
        "max_softmax",
        "probability",
        "the best class has at least probability T",
        +1,
        max_softmax,
        _max_softmax_nodes,
    ),
    Criterion(
        "margin",
        "probability",
        "the probability of the best class is at least T above that of the second-best",
        +1,
        margin,
        _margin_nodes,
    ),
    Criterion(
        "learned",
        "score",
        "the score that the network itself gives at the exit is at least T",
        +1,
        learned=True,
    ),
    Criterion(
        "running_mean",
        "probability",
        "the best class of the mean of all exits so far has at least probability T",
        +1,
        combine=running_mean,
        combine_nodes=_running_mean_nodes,
        weighs_costs=True,
        changes_answers=True,
    ),
    Criterion(
        "patience",
        "exits",
        "T exits in a row, this one included, agree on the label (the patience p of PABEE is T = p + 1)",
        +1,
        combine=patience,
        combine_nodes=_patience_nodes,
        counts=True,
    ),
    Criterion(
        "learned_mean",
        "probability",
        "the network's own probability of stopping at the exit is at least T; the answer is the mean of all exits so far, weighted by it",
        +1,
        combine=learned_mean,
        combine_nodes=_learned_mean_nodes,
        learned=True,
        weighs_scores=True,
        changes_answers=True,
    ),
)
CRITERIA: dict[str, Criterion] = {c.name: c for c in _ALL}
"""Every criterion by name. A new one is a Criterion in this table and nothing else."""
