"""Exit criteria: what turns an exit's outputs into one score. Each is a NumPy reference and the same ONNX nodes, side by side.

Inside edgeexit every score is *surer is higher* float32 ("inner"), and a sample leaves at the first exit with ``score >= t``;
``t = -inf`` always leaves and ``+inf`` never. People see the criterion's own unit, and `Criterion.sign` is the only difference:
``inner = sign * own``.

    entropy             H = -Σ p ln p, nats; leaves when H <= T      BranchyNet (Teerapittayanon 2016), section III-C; its print has
                                                                    the sign of H wrong and writes <
    normalized_entropy  H / ln(classes); leaves when <= T
    max_softmax         probability of the best class; leaves when >= T          MSDNet (Huang 2018), section 4
    margin              best minus second-best probability; leaves when >= T
    learned             the exit's own score output; leaves when >= T            EENet (Demir & Akbas 2019), section 3

All are computed in float32 from log-softmax, so that logits of any finite size give a finite score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeexit.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from edgeexit.graph.build import NodeBuilder

Array: TypeAlias = NDArray[np.float32]

Score: TypeAlias = Callable[[NDArray[np.floating]], Array]
"""Logits [n, classes] of one exit in, one score per sample [n] out, in the criterion's own unit."""

Nodes: TypeAlias = "Callable[[NodeBuilder, str, int], str]"
"""A builder, the name of float32 logits [n, classes] and the number of classes in; the name of inner scores [n] out."""


@dataclass(frozen=True)
class Criterion:
    """One exit criterion.

    Attributes:
        name: how people write it.
        unit: of its thresholds, for tables.
        sign: +1 where more is surer, -1 where less is surer.
        score: NumPy reference: logits [n, classes] -> own-unit scores [n], float32. None for `learned`.
        nodes: ONNX: appends the nodes that give the inner score. None for `learned`.
    """

    name: str
    unit: str
    sign: int
    score: Score | None
    nodes: Nodes | None

    def inner(self, own: float) -> float:
        """A threshold or score in own units as an inner one. Its own inverse up to the name: see `own`."""
        return self.sign * float(own)

    def own(self, inner: float) -> float:
        """An inner threshold or score in own units."""
        return self.sign * float(inner)


def log_softmax(logits: NDArray[np.floating]) -> Array:
    """Log-probabilities over the last axis, float32, for logits of any finite size."""
    z = np.asarray(logits, np.float32)
    z = z - z.max(axis=-1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(axis=-1, keepdims=True)), np.float32)


def softmax(logits: NDArray[np.floating]) -> Array:
    """Probabilities over the last axis, float32."""
    return np.exp(log_softmax(logits))


def entropy(logits: NDArray[np.floating]) -> Array:
    """Shannon entropy in nats, [n]."""
    log_p = log_softmax(logits)
    return np.asarray(-(np.exp(log_p) * log_p).sum(axis=-1), np.float32)


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


def _entropy_nodes(b: NodeBuilder, logits: str, _classes: int) -> str:
    log_p = b.node("LogSoftmax", [logits], axis=-1)
    terms = b.node("Mul", [b.node("Exp", [log_p]), log_p])
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


_ALL = (
    Criterion("entropy", "nats", -1, entropy, _entropy_nodes),
    Criterion("normalized_entropy", "of ln(classes)", -1, normalized_entropy, _normalized_entropy_nodes),
    Criterion("max_softmax", "probability", +1, max_softmax, _max_softmax_nodes),
    Criterion("margin", "probability", +1, margin, _margin_nodes),
    Criterion("learned", "score", +1, None, None),
)
CRITERIA: dict[str, Criterion] = {c.name: c for c in _ALL}
"""Every criterion by name. A new one is a Criterion in this table and nothing else."""


def criterion(name: str) -> Criterion:
    """The criterion of that name.

    Raises:
        InputError: no criterion has that name; the message lists those that exist.
    """
    if name not in CRITERIA:
        msg = f"no criterion named {name!r}.{did_you_mean(name, CRITERIA)} Criteria: {', '.join(CRITERIA)}."
        raise InputError(msg)
    return CRITERIA[name]
