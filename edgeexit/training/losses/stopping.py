"""The loss of a stopping policy: "Amortized inference with cascades" (Guan, Liu, Liu, Peng 2018), sections 3.2 and 3.3.

A sample stops at classifier k with probability Π(k) = π_k Π_{t<k} (1 - π_t), the last π being 1. Its reward is

    R = -L(ŷ, y) - α Σ_{t≤k} F_t                                                                           (equation 1)

The sum over the costs runs to k, as in the text above the equation: the classifier that answers was run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeexit.nets.outputs import ExitTensors
from edgeexit.training.losses.terms import TINY, Loss, check_choice, check_numbers, read_confidence, sum_terms


def stopping(
    *,
    costs: Sequence[float],
    alpha: float = 1e-3,
    reward: str = "likelihood",
    estimator: str = "exact",
    baseline: str = "least-variance",
) -> Loss:
    """The negative reward expected under the stopping probabilities, which are the exits' scores.

    Args:
        costs: F, the cost of each classifier by itself; a sample that stops at k pays the first k. `"alone"` in a recipe gives millions
            of multiply-accumulates, with which the paper's range of alpha trades anything at all.
        alpha: the price of cost, 1e-4 to 1e-2 in the paper.
        reward: L: `likelihood` is the cross-entropy of the classifier's probabilities; `right` is the error of an answer ŷ drawn from them,
            0 or 1, as the paper takes for CIFAR (section 4.4).
        estimator: `exact` sums over where a sample can stop, and over ŷ: a finite sum, whose gradient has no variance. `reinforce` draws
            both, as the paper does (section 3.3). Its value is that of the drawn samples, its gradient the estimate.
        baseline: b of REINFORCE, subtracted from R: `none`, the batch's `mean`, or `least-variance`, Σ‖∇ log p‖² R / Σ‖∇ log p‖². The
            norm is that of the gradient in the classifiers' and policies' logits, which stands for the one in the parameters; frozen
            classifiers have no part in it.

    Raises:
        InputError: another reward, estimator or baseline.
    """
    check_choice("reward", reward, ("likelihood", "right"))
    check_choice("estimator", estimator, ("exact", "reinforce"))
    check_choice("baseline", baseline, ("none", "mean", "least-variance"))

    def loss(exits: Sequence[ExitTensors], labels: Tensor) -> Tensor:
        check_numbers("costs", costs, exits)
        paid = [alpha * c for c in accumulate(costs)]
        if estimator == "exact":
            return _sum_over_stops(exits, labels, paid, reward)
        drawn = _draw(exits, labels, paid, sample_answers=reward == "right")
        return drawn.estimate(drawn.compute_baseline(baseline))

    return loss


def _sum_over_stops(exits: Sequence[ExitTensors], labels: Tensor, paid: Sequence[float], reward: str) -> Tensor:
    reach, total = torch.ones_like(exits[0].logits[:, 0]), []
    for e, price in zip(exits, paid, strict=True):
        stop = reach if e is exits[-1] else reach * read_confidence(e)
        total.append((stop * (_compute_losses(e, labels, reward) + price)).mean())
        reach = reach - stop
    return sum_terms(total)


def _compute_losses(e: ExitTensors, labels: Tensor, reward: str) -> Tensor:
    """L expected over ŷ, [b]."""
    entropy = F.cross_entropy(e.logits, labels, reduction="none")
    return entropy if reward == "likelihood" else 1 - (-entropy).exp()


@dataclass(frozen=True)
class DrawnStops:
    """One drawn stop, and answer where answers are drawn, for every sample of a batch.

    Attributes:
        log_p: log-probability of what was drawn, [b].
        reward: R, [b], without gradient.
        norms: squared norm of the gradient of `log_p` in the logits, [b].
        direct: the part of the loss that depends on the parameters by itself and not by what is drawn, [b].
    """

    log_p: Tensor
    reward: Tensor
    norms: Tensor
    direct: Tensor

    def compute_baseline(self, kind: str) -> Tensor:
        """b, a scalar."""
        if kind == "none":
            return self.reward.new_zeros(())
        if kind == "mean":
            return self.reward.mean()
        return (self.norms * self.reward).sum() / self.norms.sum().clamp_min(TINY)

    def estimate(self, baseline: Tensor) -> Tensor:
        """A scalar whose value is the mean negative reward and whose gradient is the estimate of its expectation's."""
        surrogate = (self.direct - (self.reward - baseline) * self.log_p).mean()
        return surrogate - surrogate.detach() - self.reward.mean()


def _draw(exits: Sequence[ExitTensors], labels: Tensor, paid: Sequence[float], *, sample_answers: bool) -> DrawnStops:
    """Let every sample stop somewhere, drawn from torch's global generator."""
    early = [read_confidence(e) for e in exits[:-1]]
    confidences = torch.stack(early, dim=1) if early else exits[0].logits[:, :0]
    logits = torch.stack([e.logits for e in exits], dim=1)
    with torch.no_grad():
        stopped = torch.rand(confidences.shape, device=labels.device) < confidences
        ends = torch.cat([stopped, torch.ones_like(labels, dtype=torch.bool)[:, None]], dim=1).int().argmax(dim=1)
    step = torch.arange(confidences.shape[1], device=labels.device)
    here, before = (step == ends[:, None]).float(), (step < ends[:, None]).float()
    log_p = (here * confidences.clamp_min(TINY).log() + before * (1 - confidences).clamp_min(TINY).log()).sum(dim=1)
    norms = ((here + before) * (here - confidences).detach() ** 2).sum(dim=1)
    answer = logits[torch.arange(len(labels), device=labels.device), ends]
    price = torch.tensor(paid, device=labels.device, dtype=logits.dtype)[ends]
    if not sample_answers:
        direct = F.cross_entropy(answer, labels, reduction="none")
        return DrawnStops(log_p, -(direct.detach() + price), norms, direct)
    p = F.softmax(answer.detach(), dim=-1)
    drawn = torch.multinomial(p, 1)[:, 0]
    log_p = log_p - F.cross_entropy(answer, drawn, reduction="none")
    if answer.requires_grad:  # of frozen classifiers there is no gradient whose variance counts
        norms = norms + ((F.one_hot(drawn, p.shape[1]) - p) ** 2).sum(dim=1)
    return DrawnStops(log_p, -((drawn != labels).float() + price), norms, torch.zeros_like(price))
