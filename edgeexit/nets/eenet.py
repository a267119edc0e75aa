"""EENet: residual networks whose exits learn when to stop (Demir, METU 2019, sections 3.2, 3.5 and 4.2).

Every early exit has two heads on the same features: logits, and a confidence in 0..1. The forward returns
[(logits [b, classes], confidence [b, 1]), ..., logits]: the last exit always answers.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from edgeexit.errors import InputError
from edgeexit.nets.chain import Chain, build_chain
from edgeexit.nets.heads import head as build_head
from edgeexit.nets.placement import Unit, count_shares, place_exits
from edgeexit.nets.registry import register
from edgeexit.nets.residual import (
    BasicBlock,
    Block,
    Bottleneck,
    PreactivationBlock,
    build_block_groups,
    build_cifar_stem,
    build_imagenet_stem,
)
from edgeexit.nets.shapes import Shape, check_image, follow_shapes

IMAGENET: dict[int, tuple[Block, tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
"""The residual networks for ImageNet by their depth: blocks of each group (He et al., CVPR 2016, table 1)."""


@register(source="EENet (2019), sections 3.2, 3.5 and 4.2")
def eenet(
    *,
    shape: Shape = (3, 32, 32),
    classes: int = 10,
    exits: bool = True,
    depth: int = 20,
    n: int = 0,
    after: Sequence[int] | str = (),
    count: int = 3,
    shares: Unit = "parameters",
    head: str = "pool",
    stem: str = "cifar",
) -> nn.Module:
    """EENet-20, -32, -44, -110 (6 n + 2) and, with the ImageNet stem, -18, -50, -101, -152: exits with learned confidences; CIFAR-10.

    Args:
        shape: of one sample.
        classes: number of classes.
        exits: False leaves only the last classifier.
        depth: number of layers.
        n: blocks of each group, in place of the depth 6 n + 2.
        after: exits after these blocks, counted from 1; or a rule of `edgeexit.nets.placement`: pareto, golden, fine, linear, quadratic.
            Without either they stand after each group of blocks but the last: of EENet-20 and EENet-110 the figures 4.1 and 4.6.
        count: exits that a rule places, without the last.
        shares: what a rule counts: the thesis's `parameters`, or `macs`.
        head: of the early exits: `pool`, `bnpool`, or `fc`, which the thesis calls plain.
        stem: `cifar`, a convolution, or `imagenet`, a quarter of the size.
    """
    check_image("EENet", shape)
    groups, first = _build_imagenet(depth, shape[0]) if stem == "imagenet" else _build_cifar(depth, n, stem, shape[0])
    blocks = [block for group in groups for block in group]
    blocks[0] = nn.Sequential(first, blocks[0])
    if isinstance(after, str):
        last = build_head("pool", follow_shapes("EENet", blocks, shape)[-1], classes)
        after = place_exits(count_shares(blocks, last, shape, shares), after, count)
    elif not after:
        after = [sum(map(len, groups[: k + 1])) for k in range(len(groups) - 1)]
    return build_chain("EENet", blocks, shape, classes, after=after if exits else (), kind=head, confidence=True)


def _build_cifar(depth: int, n: int, stem: str, channels: int) -> tuple[list[nn.Sequential], nn.Module]:
    if stem != "cifar":
        msg = f"stem is {stem!r}; cifar or imagenet is needed"
        raise InputError(msg)
    n = n or (depth - 2) // 6
    if n < 1 or (depth - 2) % 6:
        msg = f"there is no residual network of depth {depth} for CIFAR: depths are 6 n + 2, such as 8, 20, 32, 44, 110"
        raise InputError(msg)
    return build_block_groups(n, (16, 32, 64)), build_cifar_stem(channels, 16)


def _build_imagenet(depth: int, channels: int) -> tuple[list[nn.Sequential], nn.Module]:
    if depth not in IMAGENET:
        msg = f"there is no residual network of depth {depth} for ImageNet: depths are {', '.join(map(str, IMAGENET))}"
        raise InputError(msg)
    block, counts = IMAGENET[depth]
    widths = [(64 << i) * (4 if block is Bottleneck else 1) for i in range(4)]
    return build_block_groups(counts, widths, block=block, inside=64), build_imagenet_stem(channels)


@register(source="EENet (2019), sections 4.2 and 4.4: EENet-8")
def eenet8(
    *,
    shape: Shape = (1, 28, 28),
    classes: int = 10,
    exits: bool = True,
    filters: int = 2,
    head: str = "pool",
) -> Chain:
    """EENet-8 of few filters: three exits with learned confidences; MNIST.

    Layers as in the author's code: pre-activation blocks with biases, of `filters`, twice and four times as many channels; an exit after
    the first and the second.
    """
    check_image("EENet-8", shape)
    stem = nn.Sequential(nn.Conv2d(shape[0], filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU())
    blocks = [
        nn.Sequential(stem, PreactivationBlock(filters, filters, bias=True, activate=False)),
        PreactivationBlock(filters, 2 * filters, 2, bias=True),
        PreactivationBlock(2 * filters, 4 * filters, 2, bias=True),
    ]
    after = (1, 2) if exits else ()
    return build_chain("EENet-8", blocks, shape, classes, after=after, kind=head, last="bnpool", confidence=True)
