"""A policy network in front of a network with exits: it predicts from the input which exit is to answer, before anything else is run.

Voorhout, "Overthinking in MSDNet" (2022), chapter 4, trains such networks (M_ee) and does not deploy them. Here they need nothing that
exits with a score of their own do not have: exit k's score is the predicted probability that exit k or an earlier one is to answer, and
the criterion `learned` leaves where it reaches the threshold; at 0.5 that is the median of the predicted exit. The policy depends on the
input only, so that the splitter puts all of it into stage 1, whose cost it then is, and hands its few probabilities on to later stages.
Heads on the way to the predicted exit are still run, as they are with any other criterion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from edgeexit.errors import InputError
from edgeexit.nets.outputs import Pair, run_exits

THRESHOLD = 0.5
"""The median of the predicted exit."""


class WithPolicy(nn.Module):
    """A network with exits whose scores come from a policy network.

    forward returns (logits, score [b, 1]) for each early exit and the logits of the last one. Export it with `criterion="learned"`.

    Args:
        network: forward returns every exit, in any of the forms of `edgeexit.nets.outputs`; scores of its own are left out.
        policy: a classifier of the same input whose classes are exits: logits [b, P], or one exit in any form.
        only: the exits, from 1, that the policy chooses between, [P]; None for all N.

    Example:
        >>> import torch
        >>> from edgeexit.nets import build
        >>> policy = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(28 * 28, 2))
        >>> exits = WithPolicy(build("lenet"), policy).eval()(torch.zeros(1, 1, 28, 28))
        >>> [list(t.shape) for t in exits[0]], list(exits[1].shape)
        ([[1, 10], [1, 1]], [1, 10])

    Raises:
        InputError: `only` names no exits in rising order. In forward: the policy has another number of classes than there are exits to
            choose between.
    """

    def __init__(self, network: nn.Module, policy: nn.Module, *, only: Sequence[int] | None = None) -> None:
        super().__init__()
        if only is not None and (len(only) < 2 or sorted(set(only)) != list(only) or only[0] < 1):
            msg = f"only must be two or more exits in rising order, from 1, not {list(only)}"
            raise InputError(msg)
        self.network, self.policy = network, policy
        self.only = None if only is None else tuple(only)

    def forward(self, x: Tensor) -> list[Pair | Tensor]:
        """x: as both take it."""
        logits = [e.logits for e in run_exits(self.network, x)]
        chances = F.softmax(run_exits(self.policy, x)[-1].logits, dim=-1)
        between = self.only or tuple(range(1, len(logits) + 1))
        if chances.shape[-1] != len(between) or between[-1] > len(logits):
            msg = (
                f"the policy has {chances.shape[-1]} classes; it chooses between exits {list(between)} of {len(logits)}"
            )
            raise InputError(msg)
        out: list[Any] = []
        for k, answer in enumerate(logits[:-1], 1):
            so_far = sum(exit_ <= k for exit_ in between)
            score = chances[:, :so_far].sum(dim=-1, keepdim=True) if so_far else chances[:, :1] * 0
            out.append((answer, score))
        return [*out, logits[-1]]
