"""Losses over every exit of a network, those of the papers, by name.

A loss is a plain callable: exits (`edgeexit.nets.outputs.ExitTensors`, first exit first) and labels int64 [b] in, one scalar out.

    branchynet     Σ w_n CE(z_n), classes weighted on demand                  Teerapittayanon et al. 2016, III-B
    sum            Σ CE(z_n)                                                  MSDNet, Huang et al. 2018, section 4
    distill        Σ CE(z_n) + w Σ KL(last exit ‖ exit n), or by shares       one-for-all distillation, Li et al. 2019
    running-mean   distill + Σ CE(mean of exits 1 to n)                       boosted exits, Yu et al. 2023; here of probabilities
    eenet-v1       CE(Ŷ_1) + λ C_1, Ŷ and C mixed by the learned confidences  EENet, Demir 2019, equation 9
    eenet-v2       Σ_n CE(Ŷ_n) + λ C_n                                        EENet, equation 11
    soft-cascade   CE of the product of the exits' probabilities              Pimpley and Indulkar 2017, 3.3
    firm-cascade   CE of the mixture that a hard cascade makes, + λ (1 - g)   Pimpley and Indulkar 2017, 3.3
    stopping       expected loss + α expected cost of a stopping policy       Guan et al. 2018, section 3.2

Where a paper can be read in several ways, each reading is an option.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeexit.training.losses.cascades import firm_cascade, soft_cascade
from edgeexit.training.losses.distillation import distill, running_mean
from edgeexit.training.losses.mixtures import eenet_v1, eenet_v2
from edgeexit.training.losses.stopping import stopping
from edgeexit.training.losses.sums import branchynet, sum_
from edgeexit.training.losses.terms import Loss
from edgeexit.training.named import make_named

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
"""Every loss by name. A new one is a function in a file of this folder and a line in this table."""

__all__ = ["LOSSES", "Loss", "branchynet", "loss"]


def loss(name: str, **options: Any) -> Loss:
    """The loss of that name.

    Raises:
        InputError: unknown name or option, or a missing one.

    Example:
        >>> import torch
        >>> from edgeexit.nets.outputs import ExitTensors
        >>> exits = [ExitTensors("early", torch.zeros(1, 2)), ExitTensors("last", torch.zeros(1, 2))]
        >>> f"{float(loss('branchynet', weights=[1.0, 0.5])(exits, torch.tensor([0]))):.4f}"
        '1.0397'
    """
    return make_named("loss", LOSSES, name, options)
