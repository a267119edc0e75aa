"""Residual networks in parts: stems, blocks and groups of blocks, which several of the multi-exit networks are made of.

stem           build_cifar_stem: one 3x3 convolution             build_imagenet_stem: 7x7 strided, then pooling
block          BasicBlock, Bottleneck (He et al., CVPR 2016)     PreactivationBlock (He et al., ECCV 2016)
groups         build_block_groups: each but the first halves the size and widens; build_equal_groups: so that all blocks cost the same
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from torch import Tensor, nn
from torch.nn import functional as F

Block: TypeAlias = Callable[[int, int, int], nn.Module]
"""Makes a block: channels in, channels out, stride."""


def build_cifar_stem(channels: int, width: int, *, padding: int = 1, normalize: bool = True) -> nn.Sequential:
    """One 3x3 convolution; with batch normalisation, rectified, unless blocks follow that begin with both."""
    convolution = nn.Conv2d(channels, width, 3, padding=padding, bias=False)
    return nn.Sequential(convolution, *([nn.BatchNorm2d(width), nn.ReLU()] if normalize else []))


def build_imagenet_stem(channels: int, width: int = 64) -> nn.Sequential:
    """A strided 7x7 convolution with batch normalisation, rectified, and 3x3 max pooling by two: a quarter of the size."""
    convolution = nn.Conv2d(channels, width, 7, 2, padding=3, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation beside a shortcut.

    Where the size or the width changes the shortcut is a strided 1x1 convolution with batch normalisation (option B of the paper).
    """

    def __init__(self, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.shortcut = _build_shortcut(inside, outside, stride)

    def first(self, x: Tensor) -> Tensor:
        """The block's first convolution, normalised and rectified."""
        return F.relu(self.bn1(self.conv1(x)))

    def second(self, x: Tensor, half: Tensor) -> Tensor:
        """The block's output from its input and what `first` made of it."""
        return F.relu(self.bn2(self.conv2(half)) + self.shortcut(x))

    def forward(self, x: Tensor) -> Tensor:
        """x: [b, inside, h, w] to [b, outside, h / stride, w / stride]."""
        return self.second(x, self.first(x))


class Bottleneck(nn.Module):
    """1x1 to a quarter of the width, 3x3, which is strided where the block is, and 1x1 to the width, beside a shortcut."""

    def __init__(self, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        middle = outside // 4
        self.conv1 = nn.Conv2d(inside, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, outside, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outside)
        self.shortcut = _build_shortcut(inside, outside, stride)

    def forward(self, x: Tensor) -> Tensor:
        """x: [b, inside, h, w] to [b, outside, h / stride, w / stride]."""
        inner = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(self.bn3(self.conv3(inner)) + self.shortcut(x))


def _build_shortcut(inside: int, outside: int, stride: int) -> nn.Sequential:
    if stride == 1 and inside == outside:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))


class PreactivationBlock(nn.Module):
    """Twice batch normalisation, relu, 3x3 convolution, beside a shortcut on which nothing is normalised.

    Args:
        inside: channels in.
        outside: channels out.
        stride: of the first convolution; where it or the width changes, the shortcut is a 1x1 convolution.
        bias: of the convolutions.
        activate: False leaves out the first normalisation and relu, for a block right after a stem that ends in them.
    """

    def __init__(
        self, inside: int, outside: int, stride: int = 1, *, bias: bool = False, activate: bool = True
    ) -> None:
        super().__init__()
        before = [nn.BatchNorm2d(inside), nn.ReLU()] if activate else []
        self.inner = nn.Sequential(
            *before,
            nn.Conv2d(inside, outside, 3, stride, padding=1, bias=bias),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
            nn.Conv2d(outside, outside, 3, padding=1, bias=bias),
        )
        is_same = stride == 1 and inside == outside
        self.shortcut = nn.Identity() if is_same else nn.Conv2d(inside, outside, 1, stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: [b, inside, h, w] to [b, outside, h / stride, w / stride]."""
        out: Tensor = self.shortcut(x) + self.inner(x)
        return out


def build_block_groups(
    counts: int | Sequence[int], widths: Sequence[int], *, block: Block = BasicBlock, inside: int | None = None
) -> list[nn.Sequential]:
    """One group of blocks per width; every group but the first halves the size.

    Args:
        counts: blocks of each group; one number for all.
        widths: of the groups.
        block: makes one block.
        inside: channels that the first block gets; as many as it gives where there is none.
    """
    counts = [counts] * len(widths) if isinstance(counts, int) else counts
    made, channels = [], widths[0] if inside is None else inside
    for i, (count, width) in enumerate(zip(counts, widths, strict=True)):
        first = block(channels, width, 2 if i > 0 else 1)
        made.append(nn.Sequential(first, *(block(width, width, 1) for _ in range(count - 1))))
        channels = width
    return made


def build_equal_groups(count: int, widths: Sequence[int]) -> list[nn.Module]:
    """Pre-activation blocks that all cost the same, in a row: a strided 1x1 convolution widens before each group but the first."""
    made: list[nn.Module] = []
    for i, width in enumerate(widths):
        if i:
            made.append(nn.Conv2d(widths[i - 1], width, 1, 2, bias=False))
        made += [PreactivationBlock(width, width) for _ in range(count)]
    return made
