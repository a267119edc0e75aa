"""Losses in which the last exit teaches the earlier ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeexit.errors import InputError
from edgeexit.nets.outputs import ExitTensors
from edgeexit.training.losses.terms import Loss, check_numbers, compute_nll, sum_terms


def distill(
    *,
    weight: float = 1.0,
    temperature: float = 1.0,
    share: float | None = None,
    mean_over_classes: bool = False,
) -> Loss:
    """Cross-entropies, and the divergence of every early exit from the last one, which is not pulled towards them.

        Σ_n CE(z_n) + w T² Σ_{n<N} KL(last ‖ n)                              as it is
        CE(z_N) + Σ_{n<N} [(1 - γ) CE(z_n) + γ T² KL(last ‖ n)]              with `share` γ

    One-for-all distillation (Li et al. 2019); in "Overthinking in MSDNets" (2022), section 3.4, equations 3.12 and 3.13, α = 1 - γ. The
    teacher is the last exit as it is now; where `train` of the phase freezes it and all that it is computed from, it is the one of before.

    Args:
        weight: of the divergences, without `share`.
        temperature: of both sides of the divergence; T² keeps its gradient at one size (Hinton et al. 2015).
        share: of the divergence in an early exit's loss, from 0 to 1; the authors of IMTA take 0.1 in their code.
        mean_over_classes: whether the divergence is averaged over the classes as well, which makes it smaller by their number: what
            that code does, and not what equation 3.13 says.

    Raises:
        InputError: a share that is none, or `weight` with it.
    """
    if share is not None and (not 0 <= share <= 1 or weight != 1.0):
        msg = f"share must be from 0 to 1, and stands instead of weight: share {share!r}, weight {weight!r}"
        raise InputError(msg)
    own, pulled = (1.0, weight) if share is None else (1.0 - share, share)

    def loss(exits: Sequence[ExitTensors], labels: Tensor) -> Tensor:
        pull = _sum_divergences(exits, temperature)
        divisor = exits[-1].logits.shape[-1] if mean_over_classes else 1
        factors = [*[own] * (len(exits) - 1), 1.0]
        entropies = (f * F.cross_entropy(e.logits, labels) for f, e in zip(factors, exits, strict=True))
        return sum_terms(entropies) + pulled * temperature**2 * pull / divisor

    return loss


def _sum_divergences(exits: Sequence[ExitTensors], temperature: float) -> Tensor:
    """Σ_{n<N} KL(last ‖ n), means over the batch; zero where there is one exit."""
    teacher = F.softmax(exits[-1].logits.detach() / temperature, dim=-1)
    students = [F.log_softmax(e.logits / temperature, dim=-1) for e in exits[:-1]]
    return sum_terms([teacher.new_zeros(()), *(F.kl_div(s, teacher, reduction="batchmean") for s in students)])


def running_mean(*, costs: Sequence[float], weight: float = 1.0, temperature: float = 1.0) -> Loss:
    """`distill`, and the cross-entropy of what the criterion of this name answers, so that later exits learn what earlier ones miss.

    After boosted exits (Yu et al. 2023), which average logits; here probabilities are averaged, as the criterion does.

    Args:
        costs: costs of leaving at each exit, in any unit: the weights of the mean.
        weight: weight of the divergence from the last exit.
        temperature: temperature of both sides of it.
    """
    alone = distill(weight=weight, temperature=temperature)

    def loss(exits: Sequence[ExitTensors], labels: Tensor) -> Tensor:
        check_numbers("costs", costs, exits)
        means, total, paid = [], torch.zeros_like(exits[0].logits), 0.0
        for e, cost in zip(exits, costs, strict=True):
            total, paid = total + cost * F.softmax(e.logits, dim=-1), paid + cost
            means.append(total / paid)
        added = [compute_nll(mean, labels) for mean in means[1:]]
        return alone(exits, labels) + sum_terms(added or [total.new_zeros(())])

    return loss
