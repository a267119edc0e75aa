"""DenseNet with a head after each block (Huang et al., CVPR 2017, section 3): every layer reads all earlier ones of its block."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from edgeexit.nets.registry import register


class DenseNet(nn.Module):
    """Three dense blocks with transitions that halve size and width; a head on the pooled output of each block."""

    def __init__(
        self, *, layers: int = 4, growth: int = 12, blocks: int = 3, classes: int = 10, exits: bool = True
    ) -> None:
        super().__init__()
        width = 2 * growth
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.blocks, self.transitions, widths = nn.ModuleList(), nn.ModuleList(), []
        for _ in range(blocks):
            ins = [width + k * growth for k in range(layers + 1)]
            self.blocks.append(nn.ModuleList(_build_layer(a, b - a) for a, b in pairwise(ins)))
            widths.append(ins[-1])
            width = ins[-1] // 2
            self.transitions.append(_build_transition(ins[-1], width))
        del self.transitions[-1]
        self.exits = nn.ModuleList(_build_head(w, classes) for w in widths[:-1] if exits)
        self.last = _build_head(widths[-1], classes)

    def forward(self, x: Tensor) -> list[Tensor]:
        """x: [b, 3, 32, 32]."""
        x, out = self.stem(x), []
        for k, block in enumerate(self.blocks):
            assert isinstance(block, nn.ModuleList)
            for layer in block:
                x = torch.cat([x, layer(x)], 1)
            if k < len(self.exits):
                out.append(self.exits[k](x))
            if k < len(self.transitions):
                x = self.transitions[k](x)
        return [*out, self.last(x)]


def _build_layer(inside: int, growth: int) -> nn.Sequential:
    """Bottleneck: 1x1 to four times the growth, then 3x3, each after normalisation and relu."""
    return nn.Sequential(
        nn.BatchNorm2d(inside),
        nn.ReLU(),
        nn.Conv2d(inside, 4 * growth, 1, bias=False),
        nn.BatchNorm2d(4 * growth),
        nn.ReLU(),
        nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
    )


def _build_transition(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(inside), nn.ReLU(), nn.Conv2d(inside, outside, 1, bias=False), nn.AvgPool2d(2))


def _build_head(width: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)
    )


@register(input_shape=(3, 32, 32), source="DenseNet (2017), section 3, with a head after each block")
def densenet(*, layers: int = 4, growth: int = 12, blocks: int = 3, classes: int = 10, exits: bool = True) -> nn.Module:
    """DenseNet: an exit after each block; CIFAR-10."""
    return DenseNet(layers=layers, growth=growth, blocks=blocks, classes=classes, exits=exits)
