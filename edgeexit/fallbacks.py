"""The fallback, which answers a sample that no early exit was confident about: the last exit, or the exit that was the most confident.

    last             the last exit                                                  BranchyNet (Teerapittayanon 2016), MSDNet (Huang 2018)
    most_confident   the exit with the highest inner score, the last one included; of equal scores the later exit
                                                                                    Shallow-Deep Networks (Kaya 2019)

Like the criteria, `most_confident` is a NumPy reference and the same ONNX nodes, side by side. Only the last exit's answer needs them, so
they lie in the last stage, which reads the scores and logits of the exits before it: an input that leaves early pays nothing for them, and
early exits answer, score and decide as they do with `last`. The score of the last exit is that of the answer. NaN is never the highest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeexit.choices import make_choices
from edgeexit.criteria import ExitOutputs
from edgeexit.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from edgeexit.graph.build import NodeBuilder

LAST = "last"
MOST_CONFIDENT = "most_confident"

_LOWEST = np.float32(np.finfo(np.float32).min)


@dataclass(frozen=True)
class Fallback:
    """Which exit answers a sample that left at no early exit.

    Attributes:
        name: the name used on the command line and in the manifest.
        answered_by: the exit that answers, as text.
    """

    name: str
    answered_by: str


FALLBACKS: dict[str, Fallback] = {
    LAST: Fallback(LAST, "the last exit"),
    MOST_CONFIDENT: Fallback(MOST_CONFIDENT, "the most confident exit"),
}
"""Every fallback by name."""

if TYPE_CHECKING:

    class FallbackName(str, Enum):
        """A key of `FALLBACKS`."""

else:
    FallbackName = make_choices("FallbackName", FALLBACKS)


def fallback(name: str) -> Fallback:
    """The fallback of that name; `most-confident` is `most_confident`.

    Raises:
        InputError: no fallback has that name; the message lists those that exist.
    """
    name = name.replace("-", "_") if isinstance(name, str) else name
    if not isinstance(name, str) or name not in FALLBACKS:
        msg = f"no fallback named {name!r}.{did_you_mean(name, FALLBACKS)} Fallbacks: {', '.join(FALLBACKS)}."
        raise InputError(msg)
    return FALLBACKS[name]


def most_confident(logits: NDArray[np.float32], inner: NDArray[np.float32]) -> ExitOutputs:
    """NumPy reference of the fallback `most_confident`.

    Args:
        logits: what each exit answers by itself, [n, N, classes].
        inner: inner scores, higher means more confident, [n, N].

    Returns:
        The same with the logits and the inner score of the most confident exit in the place of the last exit's.

    Example:
        >>> most_confident(np.array([[[3, 0], [0, 1]]], np.float32), np.array([[0.9, 0.6]], np.float32)).logits[0, 1]
        array([3., 0.], dtype=float32)
    """
    known = np.where(np.isnan(inner), _LOWEST, np.maximum(inner, _LOWEST))
    best = known.shape[1] - 1 - known[:, ::-1].argmax(axis=1)  # the later one of equal scores
    rows = np.arange(len(known))
    chosen, scores = logits.copy(), inner.copy()
    chosen[:, -1], scores[:, -1] = logits[rows, best], known[rows, best]
    return ExitOutputs(chosen, scores)


def most_confident_nodes(b: NodeBuilder, logits: Sequence[str], scores: Sequence[str]) -> tuple[str, str]:
    """ONNX: append the nodes of the last exit's answer.

    Args:
        b: builder of the last exit's nodes.
        logits: names of each exit's float32 logits [n, classes], in order.
        scores: names of each exit's inner scores [n].

    Returns:
        names of the answer's logits [n, classes] and inner score [n].
    """
    lowest = b.constant(_LOWEST)
    best, answer = "", ""
    for row, score in zip(logits, scores, strict=True):
        # As a column [n, 1], one comparison chooses the score and the whole row of logits.
        column = b.reshape(score, -1, 1)
        known = b.node("Where", [b.at_least(column, lowest), column, lowest])
        later = b.at_least(known, best) if best else ""
        answer = b.node("Where", [later, row, answer]) if later else row
        best = b.node("Where", [later, known, best]) if later else known
    return answer, b.reshape(best, -1)
