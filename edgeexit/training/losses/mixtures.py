"""Losses of EENet (Demir 2019): the exits' answers mixed by their learned confidences, and the cost that the mixture has.

    Ŷ_n = h_n ŷ_n + (1 - h_n) Ŷ_{n+1},  C_n = h_n c_n + (1 - h_n) C_{n+1};  at the last exit Ŷ = ŷ and C = c      (equations 6 and 7)

The thesis numbers exits from 0, calls the last one N + 1, and gives it the cost 1. Costs there are shares of *parameters*, which it calls
FLOPs; `costs = "macs"` in a recipe takes multiply-accumulates.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeexit.nets.outputs import ExitTensors
from edgeexit.training.losses.terms import Loss, check_numbers, compute_nll, read_confidence, sum_terms


def eenet_v1(*, costs: Sequence[float], trade_off: float = 1.0, accuracy: float = 1.0) -> Loss:
    """CE(y, Ŷ_1) + λ C_1 (section 3.4, equations 9 and 10): the mixture as it is seen from the first exit.

    Args:
        costs: costs of leaving at each exit, as shares of the whole network's.
        trade_off: λ, 1 in the thesis's experiments and about 0.95 at its best (Table 4.2); 0 is its L_MC.
        accuracy: weight of the cross-entropy; 0 is its L_Cost (Table 4.1).
    """

    def loss(exits: Sequence[ExitTensors], labels: Tensor) -> Tensor:
        mixed, cost = _compute_mixtures(exits, costs)
        return accuracy * compute_nll(mixed[0], labels) + trade_off * cost[0].mean()

    return loss


def eenet_v2(*, costs: Sequence[float], trade_off: float = 1.0, accuracy: float = 1.0) -> Loss:
    """Σ_n [CE(y, Ŷ_n) + λ C_n] (equations 11 and 12): the same terms from every exit, so that none is starved by an earlier one.

    Args:
        costs: costs of leaving at each exit, as shares of the whole network's.
        trade_off: λ; 0 is the thesis's L_MC.
        accuracy: weight of the cross-entropies; 0 is its L_Cost.
    """

    def loss(exits: Sequence[ExitTensors], labels: Tensor) -> Tensor:
        mixed, cost = _compute_mixtures(exits, costs)
        return sum_terms(
            accuracy * compute_nll(p, labels) + trade_off * c.mean() for p, c in zip(mixed, cost, strict=True)
        )

    return loss


def _compute_mixtures(exits: Sequence[ExitTensors], costs: Sequence[float]) -> tuple[list[Tensor], list[Tensor]]:
    """Ŷ_n [b, classes] and C_n [b] for every n: the last exit's confidence is 1."""
    check_numbers("costs", costs, exits)
    mixed = [F.softmax(exits[-1].logits, dim=-1)]
    cost = [torch.full_like(mixed[0][:, 0], costs[-1])]
    for e, c in zip(reversed(exits[:-1]), reversed(costs[:-1]), strict=True):
        h = read_confidence(e)
        mixed.append(h[:, None] * F.softmax(e.logits, dim=-1) + (1 - h[:, None]) * mixed[-1])
        cost.append(h * c + (1 - h) * cost[-1])
    return mixed[::-1], cost[::-1]
