"""The network of the soft and firm cascade losses (Pimpley and Indulkar 2017, section 3.2): a small CNN with one early exit.

The paper's figure of it is lost in the copies that exist. What is here is a reading of its text, with the sizes of PyTorch's MNIST
example, whose batch and momentum the paper also uses: [convolution 5x5, batch normalisation, dropout, pooling, relu] twice, then
[fully connected, batch normalisation, relu], then one fully connected layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from edgeexit.errors import InputError
from edgeexit.nets.chain import Chain, build_chain
from edgeexit.nets.registry import register
from edgeexit.nets.shapes import Shape, check_image, follow_shapes


@register(source="Soft and firm cascade losses (2017), section 3.2")
def cascade_cnn(
    *,
    shape: Shape = (1, 28, 28),
    classes: int = 10,
    exits: bool = True,
    place: int = 1,
    widths: Sequence[int] = (10, 20),
    hidden: int = 50,
    dropout: Sequence[bool] = (False, True),
) -> Chain:
    """A small CNN with one exit: one fully connected layer after a block of convolutions; MNIST.

    Args:
        shape: of one sample.
        classes: number of classes.
        exits: False leaves only the last classifier.
        place: the block after which the exit stands; the paper's p1 and p2 are 1 and 2.
        widths: channels of each block.
        hidden: width of the fully connected layer before the last.
        dropout: whether each block has it.
    """
    name = "the CNN of the cascade losses"
    check_image(name, shape)
    if len(dropout) != len(widths):
        msg = f"dropout says {len(dropout)} times yes or no, and there are {len(widths)} blocks"
        raise InputError(msg)
    channels = (shape[0], *widths[:-1])
    blocks = [_build_block(a, b, drop=d) for a, b, d in zip(channels, widths, dropout, strict=True)]
    width = math.prod(follow_shapes(name, blocks, shape)[-1])
    blocks.append(nn.Sequential(nn.Flatten(), nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU()))
    return build_chain(name, blocks, shape, classes, after=(place,) if exits else (), kind="fc", last="fc")


def _build_block(inside: int, outside: int, *, drop: bool) -> nn.Sequential:
    before = [nn.Conv2d(inside, outside, 5), nn.BatchNorm2d(outside)]
    return nn.Sequential(*before, *([nn.Dropout2d()] if drop else []), nn.MaxPool2d(2), nn.ReLU())
