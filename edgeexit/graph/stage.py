"""One stage of a split network: which nodes it holds and which tensors cross its boundaries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """The nodes that exit `exit` needs and no earlier exit needed.

    Attributes:
        exit: number of the exit, from 1.
        nodes: indices of its nodes in the model's graph, ascending.
        inputs: the model's inputs that it reads.
        boundaries_in: tensors made by earlier stages that it reads.
        boundaries_out: tensors it makes that later stages read.
        logits: name of its logits output.
        score: name of its score output.
    """

    exit: int
    nodes: tuple[int, ...]
    inputs: tuple[str, ...]
    boundaries_in: tuple[str, ...]
    boundaries_out: tuple[str, ...]
    logits: str
    score: str

    @property
    def outputs(self) -> tuple[str, ...]:
        """Every output in order: logits, score, then the boundary tensors that are neither."""
        return (self.logits, self.score, *(b for b in self.boundaries_out if b not in (self.logits, self.score)))
