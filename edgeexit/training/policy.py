"""Data to train a policy network on: which exit each sample should leave at (Voorhout, "Overthinking in MSDNet", 2022, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgeexit.analysis import choose_exit_labels
from edgeexit.data import Dataset
from edgeexit.errors import InputError
from edgeexit.training.metrics import RecordedExits


def make_policy_data(
    data: Dataset, exits: RecordedExits, macs: Sequence[float], *, price: float, only: Sequence[int] | None = None
) -> Dataset:
    """The samples of `data` labelled with the exit that should answer them: what the thesis calls D_ee.

    Take samples that the network was not trained on: on its training data the first exit is right far more often. Train on the result
    with recipe `exit-policy`, whose loss weighs exits by how rare they are, and put the network in front with `edgeexit.nets.WithPolicy`.

    Args:
        data: with labels.
        exits: what every exit says about them, of `edgeexit.training.metrics.record_exits(network, data)`.
        macs: multiply-accumulates of leaving at each exit, [N].
        price: λ of equation 4.1: the smaller, the more cheap exits are preferred to sure ones.
        only: exits to choose between, from 1, such as the first and the last; None for all.

    Returns:
        labels from 0, the place among the exits to choose between, with the classes `exit 1`, ..., so that a network trained on it has one
        output for each exit even where no sample is labelled with the last; samples that none of these has right are left out.

    Raises:
        InputError: as `edgeexit.analysis.choose_exit_labels`, or no exit is right about any sample.

    Example:
        >>> import torch
        >>> from edgeexit.data import load_data
        >>> from edgeexit.nets import build
        >>> from edgeexit.training.metrics import record_exits
        >>> digits, network = load_data("digits:test"), build("lenet").eval()
        >>> made = make_policy_data(digits, record_exits(network, digits), [220_150, 1_247_720], price=5)
        >>> len(made) < len(digits), set(made.y.tolist()) <= {0, 1}
        (True, True)
    """
    labels = choose_exit_labels(exits.logits, data.y, price=price, macs=macs, only=only)
    places = np.flatnonzero(labels >= 0)
    if not len(places):
        msg = f"no exit is right about any sample of {data.name}: there is nothing to choose between"
        raise InputError(msg)
    kept = data.take(places)
    names = tuple(f"exit {exit_}" for exit_ in (only or range(1, exits.logits.shape[1] + 1)))
    return replace(kept, name=f"exits of {data.name}", labels=labels[places], class_names=names)
