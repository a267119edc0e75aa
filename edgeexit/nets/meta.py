"""Learned confidence heads for the exits (meta-recognition, BranchyNet section V-B).

    WithScores(network, heads)   the network with a score [b, 1] for every early exit, made by that exit's head
    SoftmaxConfidenceHead   P(this exit is right), by a perceptron on sorted softmax, entropy and agreement with earlier exits
    OpenMaxConfidenceHead   1 - P(unknown class) of OpenMax (Bendale and Boult, CVPR 2016)

Both are ordinary modules, so that they are exported with the network and run inside its stages, as the criterion `learned`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeexit.nets.outputs import Pair, run_exits


class WithScores(nn.Module):
    """A network whose early exits have a learned confidence head each; the last exit needs none.

    Args:
        network: returns the logits of every exit, in any form of `edgeexit.nets.outputs`.
        heads: one per early exit: (logits of exit k [b, c], labels of the exits before it [b] each) -> score [b, 1].
    """

    def __init__(self, network: nn.Module, heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.network = network
        self.heads = nn.ModuleList(heads)

    def forward(self, *inputs: Tensor) -> list[Pair]:
        """inputs: as the network takes them."""
        *early, last = run_exits(self.network, *inputs)
        out: list[Pair] = []
        labels: list[Tensor] = []
        for e, head in zip(early, self.heads, strict=True):
            out.append((e.logits, head(e.logits, labels)))
            labels.append(e.logits.argmax(-1))
        return [*out, (last.logits, None)]


class SoftmaxConfidenceHead(nn.Module):
    """Probability that the exit is right, estimated from its softmax, independent of the class.

    Features: the `top` largest probabilities in order, the entropy as a share of its largest value, and for every earlier exit whether
    it gave the same label.
    """

    def __init__(self, *, earlier: int, top: int = 5, hidden: int = 16) -> None:
        super().__init__()
        self.top = top
        self.mlp = nn.Sequential(nn.Linear(top + 1 + earlier, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def features(self, logits: Tensor, earlier: Sequence[Tensor]) -> Tensor:
        """[b, top + 1 + earlier]."""
        log_p = F.log_softmax(logits, dim=-1)
        p = log_p.exp()
        spread = -(p * log_p).sum(-1, keepdim=True) / math.log(logits.shape[-1])
        label = logits.argmax(-1)
        agree = [(label == other).to(p.dtype)[:, None] for other in earlier]
        return torch.cat([p.topk(self.top, dim=-1).values, spread, *agree], dim=-1)

    def forward(self, logits: Tensor, earlier: Sequence[Tensor]) -> Tensor:
        """logits: [b, c]; earlier: labels [b] of each exit before; the score is [b, 1]."""
        score: Tensor = self.mlp(self.features(logits, earlier)).sigmoid()
        return score


class OpenMaxConfidenceHead(nn.Module):
    """One minus the probability of an unknown class: how far the logits lie from the mean of the class they name.

    OpenMax lowers the logit of each of the `rank` best classes by the Weibull probability that a sample of that class is no further from
    its class mean, more for the better ranks, and gives what was taken to an extra class.

    Args:
        means: [c, c] mean logits of the right answers of each class.
        shape, scale, shift: [c] Weibull distribution of the largest distances from that mean.
        rank: number of the best classes that are lowered.
    """

    means: Tensor
    shape: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, means: Tensor, shape: Tensor, scale: Tensor, shift: Tensor, *, rank: int = 3) -> None:
        super().__init__()
        self.rank = rank
        for name, value in {"means": means, "shape": shape, "scale": scale, "shift": shift}.items():
            self.register_buffer(name, value.float())

    def forward(self, logits: Tensor, earlier: Sequence[Tensor]) -> Tensor:  # noqa: ARG002 - heads are called alike
        """logits: [b, c]; the score is [b, 1]."""
        distance = (logits[:, None, :] - self.means).square().sum(-1).sqrt()  # [b, c], to every class mean
        beyond = ((distance - self.shift).clamp_min(0) / self.scale).pow(self.shape)
        unusual = 1 - (-beyond).exp()  # [b, c], Weibull CDF
        best = logits.topk(self.rank, dim=-1).indices
        weight = torch.zeros_like(logits).scatter(1, best, self._ranks(logits).expand(logits.shape[0], -1))
        taken = logits.clamp_min(0) * weight * unusual
        known = logits - taken
        unknown = taken.sum(-1, keepdim=True)
        p = F.softmax(torch.cat([known, unknown], dim=-1), dim=-1)
        return 1 - p[:, -1:]

    def _ranks(self, logits: Tensor) -> Tensor:
        return torch.tensor(
            [[(self.rank - i) / self.rank for i in range(self.rank)]], dtype=logits.dtype, device=logits.device
        )
