"""A vision transformer with exits on its class token (Dosovitskiy et al., ICLR 2021; exits as in Bakhtiarnia et al., BMVC 2021).

What an exit reads is one token of the last layer, while the next layer reads all of them: the boundary tensor is far larger than the head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeexit.nets.chain import Chain
from edgeexit.nets.heads import head
from edgeexit.nets.registry import register
from edgeexit.nets.shapes import Shape, check_image, follow_shapes


class Patches(nn.Module):
    """Patches of 4x4 pixels as tokens, a class token before them, and what tells their places."""

    def __init__(self, shape: Shape, width: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(shape[0], width, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        count = math.prod(follow_shapes("ViT", [self.patches], shape)[-1][1:])
        self.places = nn.Parameter(torch.randn(1, 1 + count, width) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """x: [b, channels, h, w] -> [b, 1 + h / 4 * w / 4, width]."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places


class _EncoderLayer(nn.Module):
    """Attention and a two-layer perceptron, each on normalised input and added to it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._attention(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def _attention(self, x: Tensor) -> Tensor:
        q, k, v = (
            self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )  # each [b, heads, 65, width / heads]
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        out: Tensor = self.out(mixed)
        return out


@register(source="ViT (2021) with exits on the class token")
def vit(
    *,
    shape: Shape = (3, 32, 32),
    classes: int = 10,
    exits: bool = True,
    width: int = 64,
    depth: int = 6,
    heads: int = 4,
    every: int = 2,
) -> Chain:
    """A small vision transformer: an exit on the class token after every `every`-th of `depth` layers; CIFAR-10."""
    check_image("ViT", shape)
    layers = [_EncoderLayer(width, heads) for _ in range(depth)]
    blocks = [nn.Sequential(Patches(shape, width), layers[0]), *layers[1:]]
    sizes = follow_shapes("ViT", blocks, shape)
    after = range(every, depth, every) if exits else ()
    made = {k: head("first", sizes[k - 1], classes, normalize=True) for k in after}
    return Chain(blocks, made, head("first", sizes[-1], classes, normalize=True))
