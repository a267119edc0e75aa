"""Losses over every exit of a network, those of the papers, by name.

A loss is a plain callable: exits (`edgeexit.nets.outputs.ExitTensors`, first exit first) and labels int64 [b] in, one scalar out.

    branchynet     Σ w_n CE(z_n)                                              Teerapittayanon et al. 2016, III-B
    sum            Σ CE(z_n)                                                  MSDNet, Huang et al. 2018, section 4
    distill        Σ CE(z_n) + w Σ KL(last exit ‖ exit n)                     one-for-all distillation, Li et al. 2019
    running-mean   distill + Σ CE(mean of exits 1 to n)                       boosted exits, Yu et al. 2023; here of probabilities
    eenet-v1       CE(Ŷ_1) + λ C_1, Ŷ and C mixed by the learned confidences  EENet, Demir 2019, equation 9
    eenet-v2       Σ_n CE(Ŷ_n) + λ C_n                                        EENet, equation 11
    soft-cascade   CE of the product of the exits' probabilities              Pimpley and Indulkar 2017, 3.3
    firm-cascade   CE of the mixture that a hard cascade makes, + λ (1 - g)   Pimpley and Indulkar 2017, 3.3
    stopping       expected loss + α expected cost of a stopping policy       Guan et al. 2018, section 3.2
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeexit.errors import InputError, did_you_mean
from edgeexit.nets.outputs import ExitTensors

Loss: TypeAlias = Callable[[Sequence[ExitTensors], Tensor], Tensor]
"""Exits and labels int64 [b] in, scalar out."""

_TINY = 1e-12


def branchynet(*, weights: Sequence[float] = ()) -> Loss:
    """Weighted sum of the exits' cross-entropies; the weights default to 1 each.

    The paper found earlier exits heavier to help: 1.0 for the first and 0.3 for the last (section V-A).
    """

    def loss(exits: Sequence[ExitTensors], labels: Tensor) -> Tensor:
        _as_many("weights", weights, exits, needed=bool(weights))
        factors = weights or [1.0] * len(exits)
        return _sum_terms(w * F.cross_entropy(e.logits, labels) for w, e in zip(factors, exits, strict=True))

    return loss


def sum_() -> Loss:
    """Unweighted sum of the exits' cross-entropies."""
    return branchynet()


def distill(*, weight: float = 1.0, temperature: float = 1.0) -> Loss:
    """Cross-entropies plus `weight` times the divergence of every early exit from the last one, which is not pulled towards them.

    Found to lessen overthinking in MSDNets ("Overthinking in MSDNets", 2022, section 2).
    """

    def loss(exits: Sequence[ExitTensors], labels: Tensor) -> Tensor:
        teacher = F.softmax(exits[-1].logits.detach() / temperature, dim=-1)
        students = [F.log_softmax(e.logits / temperature, dim=-1) for e in exits[:-1]]
        pull = _sum_terms(F.kl_div(s, teacher, reduction="batchmean") for s in students)
        return _sum_terms(F.cross_entropy(e.logits, labels) for e in exits) + weight * temperature**2 * pull

    return loss


def running_mean(*, costs: Sequence[float], weight: float = 1.0, temperature: float = 1.0) -> Loss:
    """`distill`, and the cross-entropy of what the criterion of this name answers, so that later exits learn what earlier ones miss.

    Args:
        costs: costs of leaving at each exit, in any unit: the weights of the mean.
        weight: weight of the divergence from the last exit.
        temperature: temperature of both sides of it.
    """
    alone = distill(weight=weight, temperature=temperature)

    def loss(exits: Sequence[ExitTensors], labels: Tensor) -> Tensor:
        _as_many("costs", costs, exits)
        means, total, paid = [], torch.zeros_like(exits[0].logits), 0.0
        for e, cost in zip(exits, costs, strict=True):
            total, paid = total + cost * F.softmax(e.logits, dim=-1), paid + cost
            means.append(total / paid)
        return alone(exits, labels) + _sum_terms(_compute_nll(mean, labels) for mean in means[1:])

    return loss


def eenet_v1(*, costs: Sequence[float], trade_off: float = 1.0) -> Loss:
    """Cross-entropy of the exits' confidence-weighted mixture plus `trade_off` times its cost.

    Args:
        costs: costs of leaving at each exit, as shares of the whole network's.
        trade_off: λ of the paper, 1 in its experiments.
    """

    def loss(exits: Sequence[ExitTensors], labels: Tensor) -> Tensor:
        mixed, cost = _compute_eenet_mixtures(exits, costs)
        return _compute_nll(mixed[0], labels) + trade_off * cost[0].mean()

    return loss


def eenet_v2(*, costs: Sequence[float], trade_off: float = 1.0) -> Loss:
    """The sum of the v1 terms started at every exit, so that none is starved by a confident earlier one."""

    def loss(exits: Sequence[ExitTensors], labels: Tensor) -> Tensor:
        mixed, cost = _compute_eenet_mixtures(exits, costs)
        return _sum_terms(_compute_nll(p, labels) + trade_off * c.mean() for p, c in zip(mixed, cost, strict=True))

    return loss


def _compute_eenet_mixtures(exits: Sequence[ExitTensors], costs: Sequence[float]) -> tuple[list[Tensor], list[Tensor]]:
    """Ŷ_n [b, classes] and C_n [b] for every n, equations 6 and 7: the last exit's confidence is 1."""
    _as_many("costs", costs, exits)
    mixed = [F.softmax(exits[-1].logits, dim=-1)]
    cost = [torch.full_like(mixed[0][:, 0], costs[-1])]
    for e, c in zip(reversed(exits[:-1]), reversed(costs[:-1]), strict=True):
        h = _read_confidence(e)
        mixed.append(h[:, None] * F.softmax(e.logits, dim=-1) + (1 - h[:, None]) * mixed[-1])
        cost.append(h * c + (1 - h) * cost[-1])
    return mixed[::-1], cost[::-1]


def soft_cascade() -> Loss:
    """Cross-entropy of the exits' probabilities multiplied class by class and brought back to sum 1.

    The paper leaves the product as it is; without the normalisation the loss of an exit that is surely right is not zero.
    """

    def loss(exits: Sequence[ExitTensors], labels: Tensor) -> Tensor:
        return F.cross_entropy(torch.stack([F.log_softmax(e.logits, dim=-1) for e in exits]).sum(0), labels)

    return loss


def firm_cascade(*, alpha: float = 128.0, penalty: float = 0.6) -> Loss:
    """Cross-entropy of the mixture that a cascade of hard decisions would answer, plus a penalty for every sample passed on.

    A logistic step of slope `alpha` at probability 1/2 stands for the decision; it is applied to the best class's probability, so
    that one sample leaves as a whole (the paper applies it to each class by itself). `penalty` is its λ. Start from trained weights.
    """

    def loss(exits: Sequence[ExitTensors], labels: Tensor) -> Tensor:
        answer, reach, passed = torch.zeros_like(exits[0].logits), torch.ones_like(exits[0].logits[:, 0]), []
        for e in exits[:-1]:
            p = F.softmax(e.logits, dim=-1)
            leave = _apply_logistic_step(p.max(dim=-1).values, alpha)
            answer, reach = answer + (reach * leave)[:, None] * p, reach * (1 - leave)
            passed.append(reach)
        answer = answer + reach[:, None] * F.softmax(exits[-1].logits, dim=-1)
        return _compute_nll(answer, labels) + penalty * _sum_terms(r.mean() for r in passed)

    return loss


def _apply_logistic_step(p: Tensor, alpha: float) -> Tensor:
    """g_alpha: the logistic function at 1/2, stretched to be 0 at 0 and 1 at 1."""
    low, high = (torch.sigmoid(p.new_tensor(s * alpha / 2)) for s in (-1, 1))
    return (torch.sigmoid(alpha * (p - 0.5)) - low) / (high - low)


def stopping(*, costs: Sequence[float], alpha: float = 1e-3) -> Loss:
    """Expected cross-entropy plus `alpha` times the expected cost under the stopping probabilities that the exits' scores are.

    The paper estimates the gradient of this expectation by sampling (REINFORCE); over a handful of exits it is a finite sum.

    Args:
        costs: costs of each classifier by itself; a sample that stops at k pays the first k.
        alpha: the price of cost, 1e-4 to 1e-2 in the paper with costs in its own normalisation.
    """

    def loss(exits: Sequence[ExitTensors], labels: Tensor) -> Tensor:
        _as_many("costs", costs, exits)
        reach, total, paid = torch.ones_like(exits[0].logits[:, 0]), [], 0.0
        for e, c in zip(exits, costs, strict=True):
            paid += c
            stop = reach if e is exits[-1] else reach * _read_confidence(e)
            total.append((stop * (F.cross_entropy(e.logits, labels, reduction="none") + alpha * paid)).mean())
            reach = reach - stop
        return _sum_terms(total)

    return loss


def _read_confidence(e: ExitTensors) -> Tensor:
    """The exit's own score as a probability [b]."""
    if e.score is None:
        msg = f"exit {e.name!r} has no score of its own, which this loss trains; use a network with learned confidences (eenet)"
        raise InputError(msg)
    return e.score.reshape(len(e.score)).clamp(0.0, 1.0)


def _compute_nll(p: Tensor, labels: Tensor) -> Tensor:
    return F.nll_loss(p.clamp_min(_TINY).log(), labels)


def _sum_terms(terms: Any) -> Tensor:
    out: Tensor = torch.stack(list(terms)).sum()
    return out


def _as_many(what: str, values: Sequence[float], exits: Sequence[ExitTensors], *, needed: bool = True) -> None:
    if needed and len(values) != len(exits):
        msg = (
            f"the loss has {len(values)} {what} ({', '.join(map(str, values))}) and the network has {len(exits)} exits"
        )
        raise InputError(msg)


LOSSES: dict[str, Callable[..., Loss]] = {
    "branchynet": branchynet,
    "sum": sum_,
    "distill": distill,
    "running-mean": running_mean,
    "eenet-v1": eenet_v1,
    "eenet-v2": eenet_v2,
    "soft-cascade": soft_cascade,
    "firm-cascade": firm_cascade,
    "stopping": stopping,
}
"""Every loss by name. A new one is a function here and a line in this table."""


def loss(name: str, **options: Any) -> Loss:
    """The loss of that name.

    Raises:
        InputError: unknown name or option, or a missing one.
    """
    if name not in LOSSES:
        msg = f"no loss named {name!r}.{did_you_mean(name, LOSSES)} Losses: {', '.join(LOSSES)}."
        raise InputError(msg)
    parameters = inspect.signature(LOSSES[name]).parameters
    unknown = [o for o in options if o not in parameters]
    missing = [p.name for p in parameters.values() if p.default is p.empty and p.name not in options]
    if unknown or missing:
        hint = did_you_mean(unknown[0], parameters) if unknown else ""
        wrong = [*(f"no option {o!r}" for o in unknown), *(f"needs {m!r}" for m in missing)]
        msg = f"loss {name!r}: {', '.join(wrong)}.{hint} Options: {', '.join(parameters) or 'none'}."
        raise InputError(msg)
    return LOSSES[name](**options)
