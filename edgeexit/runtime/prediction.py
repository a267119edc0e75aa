"""The answer to one input."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Prediction(NamedTuple):
    """The answer to one input.

    Attributes:
        label: number of the class with the largest logit.
        exit: the exit that answered, from 1.
        score: its score, in the criterion's own unit; NaN for the backbone, which has none.
        logits: float32 [classes], the caller's to keep; what the exit gives, so probabilities where it ends in a softmax.
        late: whether a deadline had passed when the answer was there.

    Example:
        >>> import edgeexit
        >>> from edgeexit.data import load_data
        >>> x = load_data("digits:test").inputs
        >>> with edgeexit.load("lenet.eexit") as runner:
        ...     label, exit, score, logits, late = runner(x[:1])
        >>> logits.shape, label == int(logits.argmax()), late
        ((10,), True, False)
    """

    label: int
    exit: int
    score: float
    logits: NDArray[np.float32]
    late: bool = False

    @property
    def fallback(self) -> bool:
        """Whether an exit answered that was not sure, because the stage after it was not to be had: see `edgeexit.load(remote=...)`."""
        return False


class FallbackPrediction(Prediction):
    """The answer of an exit that was not sure, because the stage after it was not to be had."""

    __slots__ = ()

    @property
    def fallback(self) -> bool:
        """True."""
        return True
