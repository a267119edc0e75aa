"""A one-dimensional convolutional network on windows of signals, an exit after every stage.

The inputs of human-activity sets: a few sensor axes, 128 samples per window. Small enough that the host's part of a decision shows.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from edgeexit.nets.chain import Chain, build_chain
from edgeexit.nets.registry import register
from edgeexit.nets.shapes import Shape, check_axes


def _build_stage(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(inside, outside, 5, padding=2, bias=False), nn.BatchNorm1d(outside), nn.ReLU(), nn.MaxPool1d(2)
    )


@register(source="none: a plain 1-D network for windows of sensor signals")
def signal(
    *, shape: Shape = (6, 128), classes: int = 6, exits: bool = True, widths: Sequence[int] = (16, 32, 64)
) -> Chain:
    """1-D convolutions on windows of signals [axes, samples]: an exit after every stage, on the mean over time.

    A stage is a convolution of length 5 with batch normalisation and pooling by 2.
    """
    check_axes("the network for signals", shape, ("axes", "samples"))
    stages = [_build_stage(a, b) for a, b in zip((shape[0], *widths[:-1]), widths, strict=True)]
    after = range(1, len(stages)) if exits else ()
    return build_chain("the network for signals", stages, shape, classes, after=after)
