"""A vision transformer with exits on its class token (Dosovitskiy et al., ICLR 2021; exits as in Bakhtiarnia et al., BMVC 2021).

What an exit reads is one token of the last layer, while the next layer reads all of them: the boundary tensor is far larger than the head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeexit.nets.registry import register


class ViT(nn.Module):
    """Patches of 4x4 pixels as tokens, `depth` layers, an exit on the class token after every `every`-th of them."""

    def __init__(
        self, *, width: int = 64, depth: int = 6, heads: int = 4, every: int = 2, classes: int = 10, exits: bool = True
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, 65, width) * 0.02)
        self.layers = nn.ModuleList(_EncoderLayer(width, heads) for _ in range(depth))
        early = range(every, depth, every) if exits else ()
        self.exits = nn.ModuleDict({str(k): _build_head(width, classes) for k in early})
        self.last = _build_head(width, classes)

    def forward(self, x: Tensor) -> list[Tensor]:
        """x: [b, 3, 32, 32]."""
        x = self.patches(x).flatten(2).transpose(1, 2)  # [b, 64, width]
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places  # [b, 65, width]
        out = []
        for k, layer in enumerate(self.layers, 1):
            x = layer(x)
            if str(k) in self.exits:
                out.append(self.exits[str(k)](x[:, 0]))
        return [*out, self.last(x[:, 0])]


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


def _build_head(width: int, classes: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))


@register(input_shape=(3, 32, 32), source="ViT (2021) with exits on the class token")
def vit(
    *, width: int = 64, depth: int = 6, heads: int = 4, every: int = 2, classes: int = 10, exits: bool = True
) -> nn.Module:
    """A small vision transformer: exits on the class token; CIFAR-10."""
    return ViT(width=width, depth=depth, heads=heads, every=every, classes=classes, exits=exits)
