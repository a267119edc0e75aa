"""Losses of "Soft and firm cascades" (Pimpley and Indulkar 2017), for any number of exits; the paper has two."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeexit.nets.outputs import ExitTensors
from edgeexit.training.losses.terms import TINY, Loss, check_choice, compute_nll, sum_terms


def soft_cascade(*, reading: str = "normalised") -> Loss:
    """Cross-entropy of P*[i] = Π_n V_n[i], the exits' probabilities multiplied class by class (sections 2.1 and 3.3).

    Args:
        reading: `normalised`: P* is brought back to sum 1 first. `product`: -log P*[y] as it is printed, which is exactly the loss `sum`;
            the paper plots the two apart, so that its code can hardly have had this. `logits`: P* given to the cross-entropy as if it
            were logits, as code does that calls a framework's cross-entropy on it.

    Raises:
        InputError: another reading.
    """
    check_choice("reading", reading, ("normalised", "product", "logits"))

    def loss(exits: Sequence[ExitTensors], labels: Tensor) -> Tensor:
        log_product = torch.stack([F.log_softmax(e.logits, dim=-1) for e in exits]).sum(0)
        if reading == "product":
            return F.nll_loss(log_product, labels)
        return F.cross_entropy(log_product.exp() if reading == "logits" else log_product, labels)

    return loss


def firm_cascade(
    *,
    alpha: float = 128.0,
    penalty: float = 0.6,
    elementwise: bool = False,
    last_gated: bool = False,
    reading: str = "likelihood",
    floor: float = TINY,
) -> Loss:
    """Cross-entropy of what a cascade of nearly hard decisions answers, and a penalty for what is passed on (section 3.3).

        P* = g(V_1)∘V_1 + (1 - g(V_1))∘g(V_2)∘V_2,   loss = CE(P*) + λ (1 - g(V_1))

    g is a logistic step at probability 1/2 (section 2.1). It is flat outside 0.5 ± 5/α, so that the penalty moves only what lies on the
    step, and an exit with fresh weights, which is sure of nothing, gets next to no gradient: start from a phase that has trained the exits,
    such as one with the loss `sum`. The paper starts from the weights of the network without its exit.

    With `elementwise` and `likelihood`, -log P*[y], an exit that is sure of a *wrong* class costs nothing: its step opens for that class
    only, and P*[y] is then the last exit's. The penalty even rewards it. `logits` has no such fault, nor has one step for the answer.

    Args:
        alpha: slope of the step.
        penalty: λ.
        elementwise: whether each class has a step of its own, as printed; else the step of the most probable class holds for the whole
            answer, so that a sample leaves as a whole. The penalty is then the mean over the classes, of which the paper says nothing.
        last_gated: whether the last exit has its step as well, as printed; else it answers whatever has come that far.
        reading: `likelihood`: -log P*[y]. `logits`: P* given to the cross-entropy as if it were logits.
        floor: least P*[y] whose logarithm is taken; with steps for every class P*[y] is nearly 0 where all exits are unsure of y, and
            below the floor there is no gradient.

    Raises:
        InputError: another reading.
    """
    check_choice("reading", reading, ("likelihood", "logits"))

    def open_gate(p: Tensor) -> Tensor:
        return _apply_logistic_step(p if elementwise else p.max(dim=-1, keepdim=True).values, alpha)

    def loss(exits: Sequence[ExitTensors], labels: Tensor) -> Tensor:
        *early, last = [F.softmax(e.logits, dim=-1) for e in exits]
        answer, reach, passed = torch.zeros_like(last), torch.ones_like(last[:, :1]), [last.new_zeros(())]
        for p in early:
            leave = open_gate(p)
            answer, reach = answer + reach * leave * p, reach * (1 - leave)
            passed.append(reach.mean())
        answer = answer + reach * (open_gate(last) * last if last_gated else last)
        main = F.cross_entropy(answer, labels) if reading == "logits" else compute_nll(answer, labels, floor)
        return main + penalty * sum_terms(passed)

    return loss


def _apply_logistic_step(p: Tensor, alpha: float) -> Tensor:
    """g_alpha: the logistic function at 1/2, stretched to be 0 at 0 and 1 at 1."""
    low, high = (torch.sigmoid(p.new_tensor(s * alpha / 2)) for s in (-1, 1))
    return (torch.sigmoid(alpha * (p - 0.5)) - low) / (high - low)
