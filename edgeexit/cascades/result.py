"""What a cascade of separate classifiers was made of, as a value and as a document; schema `edgeexit.cascade/1`."""

from __future__ import annotations

from dataclasses import dataclass

SCHEMA = "edgeexit.cascade/1"


@dataclass(frozen=True)
class ClassifierFacts:
    """One classifier of a cascade.

    Attributes:
        path: its file.
        answers: what its output holds: `logits`, or `probabilities`, of which the cascade takes logarithms.
        output: name of that output in the file.
        accuracy: share of right answers on the samples that no policy was fitted on.
        cost: of running it by itself, in the unit of `CascadeResult.unit`.
        stopped: share of those samples that stop at it, at a stopping probability of 0.5.
    """

    path: str
    answers: str
    output: str
    accuracy: float
    cost: float
    stopped: float


@dataclass(frozen=True)
class CascadeResult:
    """A cascade of separate classifiers.

    Attributes:
        path: the ONNX file with every classifier as an exit and the stopping policies.
        rest: the file of the samples that no policy was fitted on, to calibrate on.
        classifiers: cheapest first.
        unit: of costs: `seconds`, `MAC` or `parameters`.
        alpha: price of running the whole cascade, as a share of right answers.
        fitted_on: number of samples that the policies were fitted on.
        checked_on: number of samples of `rest`, of which accuracies and shares are.
        accuracy: of the cascade with the answers so far weighted by their stopping probabilities, at a stopping probability of 0.5.
        accuracy_alone: the same with the answer of the classifier that it stops at.
        cost: mean cost of a sample, which pays for every classifier up to the one that it stops at.
        notes: what a user should know, each a sentence.
        schema: schema of the document.
    """

    path: str
    rest: str
    classifiers: tuple[ClassifierFacts, ...]
    unit: str
    alpha: float
    fitted_on: int
    checked_on: int
    accuracy: float
    accuracy_alone: float
    cost: float
    notes: tuple[str, ...] = ()
    schema: str = SCHEMA
