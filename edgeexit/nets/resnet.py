"""Residual blocks for 32x32 images (He et al., CVPR 2016, section 4.2), which several of the multi-exit networks are made of."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


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
        self.shortcut = nn.Sequential()
        if stride != 1 or inside != outside:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def first(self, x: Tensor) -> Tensor:
        """The block's first convolution, normalised and rectified."""
        return F.relu(self.bn1(self.conv1(x)))

    def second(self, x: Tensor, half: Tensor) -> Tensor:
        """The block's output from its input and what `first` made of it."""
        return F.relu(self.bn2(self.conv2(half)) + self.shortcut(x))

    def forward(self, x: Tensor) -> Tensor:
        """x: [b, inside, h, w] to [b, outside, h / stride, w / stride]."""
        return self.second(x, self.first(x))


def build_block_groups(n: int, widths: tuple[int, ...]) -> list[nn.Sequential]:
    """One group of n blocks per width; every group but the first halves the size."""
    made, inside = [], widths[0]
    for i, width in enumerate(widths):
        blocks = [BasicBlock(inside if k == 0 else width, width, 2 if k == 0 and i > 0 else 1) for k in range(n)]
        made.append(nn.Sequential(*blocks))
        inside = width
    return made
