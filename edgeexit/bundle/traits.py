"""What a bundle records of a criterion that another package brings, so that it runs where that package is not installed."""

from __future__ import annotations

from dataclasses import dataclass

from edgeexit.criteria import Criterion


@dataclass(frozen=True)
class CriterionTraits:
    """A criterion but for its formulas, which are nodes of the graph.

    Attributes:
        origin: name and version of the package that it was compiled with.
        unit: unit of its thresholds.
        description: when an input leaves.
        sign: 1 where a higher score means more confident, -1 where a lower one does.
        learned: whether it takes the scores that the network gives.
        changes_answers: whether exits answer with logits other than their own.
        counts: whether scores are counts.
        logarithmic: whether plots take a logarithmic axis.
    """

    origin: str
    unit: str
    description: str
    sign: int
    learned: bool = False
    changes_answers: bool = False
    counts: bool = False
    logarithmic: bool = False

    @classmethod
    def from_criterion(cls, rule: Criterion) -> CriterionTraits | None:
        """Of a criterion; None of one that edgeexit has itself."""
        if not rule.origin:
            return None
        return cls(**{name: getattr(rule, name) for name in cls.__dataclass_fields__})

    def as_criterion(self, name: str) -> Criterion:
        """The criterion of that name, without formulas."""
        return Criterion(name, **vars(self))

    def faults(self) -> list[str]:
        """What types alone do not say, one sentence each."""
        return [] if self.sign in (1, -1) else [f"the sign of the criterion must be 1 or -1, not {self.sign}"]
