"""DenseNet with a head after each block (Huang et al., CVPR 2017, section 3): every layer reads all earlier ones of its block."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeexit.nets.chain import Chain, build_chain
from edgeexit.nets.registry import register
from edgeexit.nets.shapes import Shape, check_image


class DenseBlock(nn.Module):
    """Layers that each read the features before the block and those of all layers before them.

    Args:
        width: channels in; `width + layers * growth` go out.
        layers: how many.
        growth: channels that each adds.
    """

    def __init__(self, width: int, layers: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_build_layer(width + k * growth, growth) for k in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """x: [b, width, h, w]."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


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


@register(source="DenseNet (2017), section 3, with a head after each block")
def densenet(
    *,
    shape: Shape = (3, 32, 32),
    classes: int = 10,
    exits: bool = True,
    layers: int = 4,
    growth: int = 12,
    blocks: int = 3,
) -> Chain:
    """DenseNet: an exit after each block, before the transition that halves size and width; CIFAR-10."""
    check_image("DenseNet", shape)
    width, made = 2 * growth, []
    before: nn.Module = nn.Conv2d(shape[0], width, 3, padding=1, bias=False)
    for _ in range(blocks):
        made.append(nn.Sequential(before, DenseBlock(width, layers, growth)))
        end = width + layers * growth
        width = end // 2
        before = _build_transition(end, width)
    after = range(1, blocks) if exits else ()
    return build_chain("DenseNet", made, shape, classes, after=after, kind="bnpool", last="bnpool")
