"""EENet: a ResNet whose exits learn when to stop (Demir, METU 2019, sections 3.2 and 4.2).

Every early exit has two heads on globally pooled features (the `pool` type): logits, and a confidence in 0..1. The forward returns
[(logits [b, classes], confidence [b, 1]), ..., (logits, None)]: the last exit always answers.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgeexit.errors import InputError
from edgeexit.nets.outputs import Pair
from edgeexit.nets.registry import register
from edgeexit.nets.resnet import build_block_groups


class EENet(nn.Module):
    """ResNet-(6 n + 2) with exits after the given blocks, counted from 1.

    Exits after the first and the second group (blocks n and 2 n) are those of the paper's EENet-20 and EENet-110, figures 4.1 and 4.6.
    """

    def __init__(self, *, n: int = 3, after: tuple[int, ...] = (), classes: int = 10, exits: bool = True) -> None:
        super().__init__()
        after = tuple(after) or (n, 2 * n)
        if sorted(set(after)) != list(after) or not 1 <= after[0] <= after[-1] < 3 * n:
            msg = f"exits after blocks {after}: they must rise from 1 to {3 * n - 1}, as the network has {3 * n} blocks"
            raise InputError(msg)
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.Sequential(*(block for group in build_block_groups(n, (16, 32, 64)) for block in group))
        widths = [16 << ((k - 1) // n) for k in after]
        self.exits = nn.ModuleDict(
            {str(k): _Exit(w, classes) for k, w in zip(after, widths, strict=True)} if exits else {}
        )
        self.fc = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> list[Pair]:
        """x: [b, 3, 32, 32]."""
        x = self.stem(x)
        out: list[Pair] = []
        for k, block in enumerate(self.blocks, 1):
            x = block(x)
            if str(k) in self.exits:
                out.append(self.exits[str(k)](x))
        return [*out, (self.fc(x.mean((2, 3))), None)]


class _Exit(nn.Module):
    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.classes = nn.Linear(width, classes)
        self.confidence = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pooled = x.mean((2, 3))
        return self.classes(pooled), self.confidence(pooled).sigmoid()


@register(input_shape=(3, 32, 32), source="EENet (2019), sections 3.2 and 4.2")
def eenet(*, n: int = 3, after: tuple[int, ...] = (), classes: int = 10, exits: bool = True) -> nn.Module:
    """EENet-(6 n + 2): exits with learned confidences; CIFAR-10."""
    return EENet(n=n, after=after, classes=classes, exits=exits)
