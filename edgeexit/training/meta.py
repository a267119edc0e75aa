"""Fit the learned confidence heads of `edgeexit.nets.meta` on data that the network was not trained on (BranchyNet, section V-B)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edgeexit.data import Dataset
from edgeexit.errors import InputError
from edgeexit.nets.meta import OpenMaxConfidenceHead, SoftmaxConfidenceHead, WithScores
from edgeexit.training.determinism import derive_seed, seed_torch
from edgeexit.training.metrics import record_exits

TAIL = 20
"""How many of the largest distances a Weibull distribution is fitted to, as in the OpenMax paper."""


def fit_softmax_heads(
    network: nn.Module, data: Dataset, *, seed: int = 0, hidden: int = 16, steps: int = 500
) -> WithScores:
    """The network with a perceptron per early exit that predicts whether the exit is right.

    Args:
        network: trained; not changed.
        data: labelled samples that it was not trained on, and that thresholds will not be chosen on.
        seed: random seed of the perceptrons' first weights.
        hidden: their width.
        steps: number of Adam steps, each on all samples.

    Raises:
        InputError: the data have no labels, or the network has one exit.
    """
    logits = [torch.from_numpy(z) for z in _record_several_exits(network, data)]
    right = [(z.argmax(-1) == torch.from_numpy(data.y)).float()[:, None] for z in logits]
    heads: list[nn.Module] = []
    with seed_torch(derive_seed(seed, "heads")):
        for k, z in enumerate(logits[:-1]):
            head = SoftmaxConfidenceHead(earlier=k, top=min(5, z.shape[1]), hidden=hidden)
            features = head.features(z, [other.argmax(-1) for other in logits[:k]])
            _fit(head.mlp, features, right[k], steps)
            heads.append(head)
    return WithScores(network, heads).eval()


def _fit(mlp: nn.Module, features: Tensor, target: Tensor, steps: int) -> None:
    optimizer = torch.optim.Adam(mlp.parameters(), 1e-2, weight_decay=1e-4)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(F.binary_cross_entropy_with_logits(mlp(features), target))
        optimizer.step()


def fit_openmax_heads(network: nn.Module, data: Dataset, *, rank: int = 3) -> WithScores:
    """The network with an OpenMax confidence head for each early exit.

    Args:
        network: trained; not changed.
        data: labelled samples; class means and the Weibull tails come from those that the exit gets right.
        rank: number of the best classes that are lowered.

    Raises:
        InputError: the data have no labels, the network has one exit, or an exit gets fewer than three samples of a class right.
    """
    heads = [_fit_openmax(z, data.y, rank) for z in _record_several_exits(network, data)[:-1]]
    return WithScores(network, heads).eval()


def _record_several_exits(network: nn.Module, data: Dataset) -> list[NDArray[np.float32]]:
    """Logits [n, classes] of every exit."""
    logits = record_exits(network, data).logits
    if logits.shape[1] < 2:
        msg = "the network has one exit; a learned confidence head needs an early exit"
        raise InputError(msg)
    return [*np.moveaxis(logits, 1, 0)]


def _fit_openmax(logits: NDArray[np.float32], labels: NDArray[np.int64], rank: int) -> OpenMaxConfidenceHead:
    classes = logits.shape[1]
    means = np.zeros((classes, classes))
    fits = np.zeros((classes, 3))
    for c in range(classes):
        mine = logits[(labels == c) & (logits.argmax(-1) == c)].astype(np.float64)
        if len(mine) < 3:
            msg = f"OpenMax needs three right answers of every class; an exit has {len(mine)} of class {c}"
            raise InputError(msg)
        means[c] = mine.mean(0)
        fits[c] = fit_weibull_tail(np.linalg.norm(mine - means[c], axis=1))
    shape, scale, shift = (torch.from_numpy(column.copy()) for column in fits.T)
    return OpenMaxConfidenceHead(torch.from_numpy(means), shape, scale, shift, rank=min(rank, classes))


def fit_weibull_tail(distances: NDArray[np.float64], *, tail: int = TAIL) -> tuple[float, float, float]:
    """Shape, scale and shift of the Weibull distribution of the `tail` largest distances, by maximum likelihood.

    The shift is the smallest of them, as in the OpenMax paper's library; the shape solves the likelihood equation by bisection.
    """
    largest = np.sort(distances)[-min(tail, len(distances)) :]
    x = largest[1:] - largest[0]
    x = np.maximum(x, 1e-9 * max(float(largest[-1]), 1e-9))
    x, unit = x / x.max(), float(x.max())
    log_x = np.log(x)

    def excess(k: float) -> float:
        powers = x**k
        return float((powers * log_x).sum() / powers.sum() - 1 / k - log_x.mean())

    low, high = 1e-3, 1e3
    for _ in range(100):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return low, unit * float((x**low).mean() ** (1 / low)), float(largest[0])
