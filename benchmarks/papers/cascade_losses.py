"""Soft and firm cascade losses: Pimpley and Indulkar, "Exploring Sophisticated Loss Functions for Early Prediction" (2017).

The paper prints no numbers, only figures (lost in the copies that exist) and what its text says of them: orderings. Its network, its
reading of both losses and its noise are not printed whole either; `edgeexit.nets.cascade_cnn`, `edgeexit.training.losses.cascades` and
`edgeexit.data.noisy_mnist` say how they are read here.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.papers._cascade_losses import examine_losses, list_loss_variants
from benchmarks.papers._parts import Findings, Paper, Part, Request
from benchmarks.papers._training import Runs, Variant


def list_mnist(request: Request) -> Mapping[str, Variant]:
    """Every loss on MNIST, and other readings of them."""
    return list_loss_variants(request, "cascade-mnist", "mnist", readings=True)


def examine_mnist(request: Request, runs: Runs) -> Findings:  # noqa: ARG001 - one signature for all
    """Figures 5 to 7."""
    return examine_losses(runs, "mnist", "MNIST")


PAPER = Paper(
    "Soft and firm cascade losses (Pimpley and Indulkar 2017)",
    (
        Part(
            "mnist",
            "accuracy and early exits against the threshold, figures 5 to 7",
            examine_mnist,
            list_mnist,
            seeds=(0, 1, 2),
        ),
    ),
)
