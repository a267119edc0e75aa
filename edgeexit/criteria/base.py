"""What an exit criterion is: a NumPy reference and the same ONNX nodes, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeexit.errors import InputError

if TYPE_CHECKING:
    from edgeexit.graph.build import NodeBuilder

Array: TypeAlias = NDArray[np.float32]

Score: TypeAlias = Callable[[NDArray[np.floating]], Array]
"""Logits [n, classes] of one exit in, one score per sample [n] out, in the criterion's own unit."""

Nodes: TypeAlias = "Callable[[NodeBuilder, str, int], str]"
"""A builder, the name of float32 logits [n, classes] and the number of classes in; the name of inner scores [n] out."""


class ExitOutputs(NamedTuple):
    """Answers of every exit: logits [n, N, classes] and own-unit scores [n, N], float32."""

    logits: Array
    scores: Array


class CombinedTensors(NamedTuple):
    """Names of one exit's tensors: answer logits [n, classes], inner score [n], and what the next exit goes on from."""

    logits: str
    score: str
    state: tuple[str, ...]


Combine: TypeAlias = "Callable[[Array, Array | None, Sequence[float]], ExitOutputs]"
"""Logits of every exit [n, N, classes], the network's own scores [n, N] (None unless the criterion is learned) and the cost of reaching
each exit [N] in, the answers of every exit out."""

CombineNodes: TypeAlias = "Callable[[NodeBuilder, str, str | None, tuple[str, ...], Sequence[float]], CombinedTensors]"
"""A builder, the name of this exit's float32 logits, that of its own score [n] (None unless the criterion is learned, and at the last
exit), the state of the exit before (empty at the first) and the costs of reaching the exits up to this one in; the names of what this exit
gives out."""


@dataclass(frozen=True)
class Criterion:
    """One exit criterion: of one exit (`score`, `nodes`), of the exits so far (`combine`, `combine_nodes`), or the network's own score.

    Attributes:
        name: the name used on the command line and in the manifest.
        unit: unit of its thresholds, for tables.
        description: when an input leaves, for the help.
        sign: +1 where a higher score means more confident, -1 where a lower one does.
        score: NumPy reference: logits [n, classes] -> own-unit scores [n], float32.
        nodes: ONNX: appends the nodes that give the inner score.
        combine: NumPy reference of a criterion that combines exits.
        combine_nodes: ONNX: appends the nodes of one exit.
        learned: whether it takes the scores that the network gives, which then must be there at every early exit.
        weighs_scores: whether exits are weighted by those scores, which then must be probabilities.
        weighs_costs: whether exits are weighted by the cost of reaching them.
        changes_answers: whether exits answer with logits other than their own.
        counts: whether scores are counts, which move by whole numbers where rounding decides between two classes.
        logarithmic: whether the scores of a trained network spread over many decades, so that plots take a logarithmic axis.
        origin: name and version of the package that brings it; empty for those of edgeexit.
    """

    name: str
    unit: str
    description: str
    sign: int
    score: Score | None = None
    nodes: Nodes | None = None
    combine: Combine | None = None
    combine_nodes: CombineNodes | None = None
    learned: bool = False
    weighs_scores: bool = False
    weighs_costs: bool = False
    changes_answers: bool = False
    counts: bool = False
    logarithmic: bool = False
    origin: str = ""

    @property
    def takes_logits(self) -> bool:
        """Whether score or answer are computed from the logits, which then must be one distribution over the classes."""
        return self.nodes is not None or self.combine_nodes is not None

    def answers(
        self, logits: NDArray[np.floating], costs: Sequence[float], scores: NDArray[np.floating] | None = None
    ) -> ExitOutputs:
        """NumPy reference of every exit's answer.

        Args:
            logits: what the network gives, [n, N, classes].
            costs: multiply-accumulates of reaching each exit, [N]; only `running_mean` looks at them.
            scores: the network's own scores, [n, N], for a criterion that is `learned`; others do not look at them.

        Raises:
            InputError: the criterion is `learned` and there are no scores: they cannot be computed from logits; or it is one that a bundle
                recorded, without formulas.
        """
        z = np.asarray(logits, np.float32)
        if self.learned and scores is None:
            msg = f"criterion {self.name!r} takes the network's own scores; they cannot be computed from logits."
            raise InputError(msg)
        own = np.asarray(scores, np.float32) if self.learned else None
        if self.combine is not None:
            return self.combine(z, own, costs)
        if self.score is not None:
            return ExitOutputs(z, self.score(z))
        if own is not None:
            return ExitOutputs(z, own)
        msg = f"the formulas of criterion {self.name!r} are those of {self.origin or 'another package'}, which is not installed here."
        raise InputError(msg)

    def inner(self, own: float) -> float:
        """A threshold or score in own units as an inner one. Its own inverse up to the name: see `own`."""
        return self.sign * float(own)

    def own(self, inner: float) -> float:
        """An inner threshold or score in own units."""
        return self.sign * float(inner)
