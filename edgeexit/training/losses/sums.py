"""Sums of the exits' cross-entropies."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from edgeexit.errors import InputError
from edgeexit.nets.outputs import ExitTensors
from edgeexit.training.losses.terms import Loss, check_numbers, sum_terms


def branchynet(*, weights: Sequence[float] = (), class_weights: Sequence[float] | str = ()) -> Loss:
    """Weighted sum of the exits' cross-entropies, Σ w_n CE(z_n) (Teerapittayanon et al. 2016, section III-B).

    Args:
        weights: one per exit, 1 each where left out. The paper found earlier exits heavier to help: 1.0 for the first and 0.3 for the
            last (section V-A). Its factor 1/|C| only scales the sum.
        class_weights: one per class; each cross-entropy is then the weighted mean over the samples. In a recipe `"balanced"` gives
            max(C) / C_y with C_y the number of training samples of class y ("Overthinking in MSDNets", 2022, equation 4.3).
    """
    if isinstance(class_weights, str):
        msg = f"class_weights = {class_weights!r} is a word of recipes, which training replaces by numbers; give one number per class"
        raise InputError(msg)

    def loss(exits: Sequence[ExitTensors], labels: Tensor) -> Tensor:
        factors = weights or [1.0] * len(exits)
        check_numbers("weights", factors, exits)
        by_class = _make_class_weights(class_weights, exits[0].logits)
        return sum_terms(w * F.cross_entropy(e.logits, labels, by_class) for w, e in zip(factors, exits, strict=True))

    return loss


def _make_class_weights(weights: Sequence[float], logits: Tensor) -> Tensor | None:
    if not weights:
        return None
    if len(weights) != logits.shape[-1]:
        msg = f"the loss has {len(weights)} class_weights and the network has {logits.shape[-1]} classes"
        raise InputError(msg)
    return logits.new_tensor(weights)


def sum_() -> Loss:
    """Unweighted sum of the exits' cross-entropies (MSDNet, Huang et al. 2018, section 4; MSDNET in Pimpley and Indulkar 2017, 3.3)."""
    return branchynet()
