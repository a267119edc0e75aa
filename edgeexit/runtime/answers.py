"""Answers of every exit for one sample, and differences between the answers of two networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.backends.base import Array
from edgeexit.criteria import Criterion
from edgeexit.errors import ModelError

_VARIES = 0.05
"""Relative variation of a network's logits over the inputs above which constant answers are wrong."""


@dataclass(frozen=True)
class ExitAnswers:
    """Of one sample: logits [N, classes] and own-unit scores [N], float32; None where scores are not known.

    `alone` are the answers before the last exit's was replaced by that of the most confident exit; None where it was not.
    """

    logits: Array
    scores: Array | None
    alone: ExitAnswers | None = None

    @property
    def scale(self) -> Array:
        """Largest finite magnitude of each exit's logits, [N]."""
        finite = np.where(np.isfinite(self.logits), np.abs(self.logits), 0)
        return np.asarray(np.maximum(finite.max(axis=1), np.finfo(np.float32).tiny))

    @property
    def masked_at_most(self) -> bool:
        """Whether there is nothing but numbers, and logits of -inf."""
        return not self.holds_nan and not np.isposinf(self.logits).any()

    @property
    def holds_nan(self) -> bool:
        """Whether a logit or a score is NaN."""
        own = bool(np.isnan(self.logits).any() or (self.scores is not None and np.isnan(self.scores).any()))
        return own or (self.alone is not None and self.alone.holds_nan)


def compute_difference(found: NDArray[Any], expected: NDArray[Any], scale: NDArray[Any]) -> float:
    """Largest difference over `scale`; infinite where the expected is NaN, or not the same places hold the same infinities."""
    odd = ~np.isfinite(expected)
    if not np.array_equal(found[odd], expected[odd]) or not np.isfinite(found[~odd]).all():
        return float("inf")
    apart = np.abs(np.where(odd, 0, found) - np.where(odd, 0, expected)) / scale
    return float(apart.max(initial=0.0))


def replace_non_finite(values: Array) -> Array:
    """The values, with 0 in the place of what is no finite number."""
    return np.where(np.isfinite(values), values, 0)


def adapt_to_rounding(expected: ExitAnswers, found: ExitAnswers, limit: float, rule: Criterion) -> ExitAnswers:
    """`expected`, where rounding decides which exit is the most confident, with the one of those exits that `found` has chosen.

    Rounding decides between scores that differ by no more than two of them may be off. Where it decides between two classes of an exit,
    the scores of a criterion that counts labels are not known.

    Args:
        expected: what the reference answers.
        found: what is compared with it.
        limit: difference that is allowed, of logits over their largest, of scores over max(1, largest logit).
        rule: the criterion.
    """
    alone = expected.alone
    if alone is None or alone.scores is None or expected.scores is None:
        return expected
    inner, room = rule.sign * alone.scores, limit * np.maximum(alone.scale, 1)
    best = int(np.where(np.isnan(inner), -np.inf, inner).argmax())
    unknown = rule.counts and _label_is_close(alone, limit)
    choices = np.flatnonzero(unknown | (inner >= inner[best] - 2 * np.maximum(room, room[best])))
    apart = [compute_difference(found.logits[-1], alone.logits[k], alone.scale[k]) for k in choices]
    chosen = int(choices[int(np.argmin(apart))])
    logits, scores = expected.logits.copy(), expected.scores.copy()
    logits[-1] = alone.logits[chosen]
    if unknown and found.scores is not None:
        scores[-1] = found.scores[-1]
    return replace(expected, logits=logits, scores=scores)


def _label_is_close(answers: ExitAnswers, limit: float) -> bool:
    """Whether an exit's two best classes differ by no more than rounding."""
    second, first = np.sort(answers.logits, axis=1)[:, -2:].T
    return not bool((first - second > 2 * limit * answers.scale).all())


def compute_precision_loss(
    found: Mapping[str, Sequence[ExitAnswers]], truth: Mapping[str, Sequence[ExitAnswers]], judged: Sequence[int]
) -> tuple[float, float]:
    """Loss by another precision: largest difference of a logit, share of the same best classes.

    By mode (staged, fused).
    """
    pairs = [(answers[i], truth[mode][i]) for mode, answers in found.items() for i in judged]
    same = [(a.logits.argmax(axis=1) == b.logits.argmax(axis=1)).mean() for a, b in pairs]
    return max(compute_difference(a.logits, b.logits, b.scale[:, None]) for a, b in pairs), float(np.mean(same))


def refuse_useless(truth: Sequence[ExitAnswers], converted: Sequence[ExitAnswers], precision: str) -> None:
    """Raise ModelError where a precision leaves nothing of an exit's answers."""
    was, now = (np.stack([a.logits for a in answers]) for answers in (truth, converted))
    lost = np.isfinite(was) & ~np.isfinite(now)
    scale = np.abs(replace_non_finite(was)).max(axis=(0, 2))
    for k in range(was.shape[1]):
        what = None
        if lost[:, k].any():
            what = "logits that are no finite numbers, where the original's are"
        elif _is_flat(now[:, k], 1) and not _is_flat(was[:, k], 1):
            what = "the same logit for every class, where the original's differ"
        elif _is_flat(now[:, k], 0) and _compute_spread(was[:, k], 0) > _VARIES * scale[k]:
            what = "the same logits for every input, where the original's differ"
        if what:
            msg = (
                f"in {precision}, exit {k + 1} gives {what}: values inside the network exceed the range of that precision."
                f" Compile it with float32,"
                " or bring its weights and activations into range."
            )
            raise ModelError(msg)


def _compute_spread(logits: Array, axis: int) -> float:
    numbers = replace_non_finite(logits)
    return float((numbers.max(axis=axis) - numbers.min(axis=axis)).max())


def _is_flat(logits: Array, axis: int) -> bool:
    return _compute_spread(logits, axis) == 0.0
