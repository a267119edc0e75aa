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
    """

    label: int
    exit: int
    score: float
    logits: NDArray[np.float32]
    late: bool = False
