"""MSDNet: dense connections at several scales at once (Huang et al., ICLR 2018, section 4).

Every layer has features of each scale, fine to coarse; what it computes at a scale comes from all earlier features of that scale and,
strided, of the next finer one. Classifiers stand on the coarsest scale, so that several scales of features are alive at a cut. Towards
the end the finer scales are dropped one by one, as in the paper: nothing that is computed from them could reach a classifier.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeexit.errors import ModelError
from edgeexit.nets.registry import register

_WIDER = [1, 2, 4, 4]
"""How many times as many channels as the finest each scale has."""


class MSDNet(nn.Module):
    """Blocks of layers, an exit after each.

    Args:
        blocks: number of exits.
        base: layers of the first block; `step`: layers of each later one.
        scales: number of scales; each has half the size of the one before.
        channels: channels of the finest scale after the first layer; scale s has `factor[s]` times as many, and grows by as many
            times `growth`.
        classes: number of classes.
        exits: False leaves only the last classifier.
    """

    def __init__(
        self,
        *,
        blocks: int = 4,
        base: int = 2,
        step: int = 1,
        scales: int = 3,
        channels: int = 16,
        growth: int = 6,
        classes: int = 10,
        exits: bool = True,
    ) -> None:
        super().__init__()
        if not 1 <= scales <= len(_WIDER):
            msg = f"MSDNet has 1 to {len(_WIDER)} scales, not {scales}"
            raise ModelError(msg)
        factor = _WIDER[:scales]
        widths = [channels * f for f in factor]
        left = base + step * (blocks - 1)
        self.first = _First(widths)
        self.blocks = nn.ModuleList()
        for i in range(blocks):
            layers = nn.ModuleList()
            for _ in range(base if i == 0 else step):
                kept = min(len(widths), left)
                layers.append(_MultiScaleLayer(widths, [growth * f for f in factor[-kept:]]))
                widths = [w + growth * f for w, f in zip(widths[-kept:], factor[-kept:], strict=True)]
                left -= 1
            self.blocks.append(layers)
            if i < blocks - 1 and exits:
                self.add_module(f"exit{i + 1}", _Classifier(widths[-1], classes))
        self.last = _Classifier(widths[-1], classes)
        self.early = [f"exit{i + 1}" for i in range(blocks - 1)] if exits else []

    def forward(self, x: Tensor) -> list[Tensor]:
        """x: [b, 3, 32, 32]."""
        features, out = self.first(x), []
        for i, block in enumerate(self.blocks):
            assert isinstance(block, nn.ModuleList)
            for layer in block:
                features = layer(features)
            if i < len(self.early):
                out.append(self.get_submodule(self.early[i])(features[-1]))
        return [*out, self.last(features[-1])]


class _First(nn.Module):
    """The image at every scale: each from the one before by a strided convolution."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        inside = [3, *widths[:-1]]
        self.scales = nn.ModuleList(
            _build_conv(a, b, 2 if s else 1) for s, (a, b) in enumerate(zip(inside, widths, strict=True))
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for scale in self.scales:
            x = scale(x)
            features.append(x)
        return features  # [b, w0, 32, 32], [b, w1, 16, 16], [b, w2, 8, 8]


class _MultiScaleLayer(nn.Module):
    """New features of the coarsest scales, half of them from the next finer one where there is one, joined to the earlier ones.

    Args:
        widths: widths of the features that come in, finest first.
        growths: new features of each scale that goes out; finer scales end here, as no classifier could be reached from them.
    """

    def __init__(self, widths: list[int], growths: list[int]) -> None:
        super().__init__()
        kept, finer = widths[-len(growths) :], [None, *widths[:-1]][-len(growths) :]
        self.same = nn.ModuleList(
            _build_bottleneck(w, g if f is None else g // 2, 1) for w, g, f in zip(kept, growths, finer, strict=True)
        )
        self.finer = nn.ModuleList(
            _build_bottleneck(f, g - g // 2, 2) for g, f in zip(growths, finer, strict=True) if f is not None
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        kept = features[-len(self.same) :]
        new = [[same(x)] for same, x in zip(self.same, kept, strict=True)]
        for parts, finer, x in zip(reversed(new), reversed(self.finer), reversed(features[:-1]), strict=False):
            parts.insert(0, finer(x))
        return [torch.cat([x, *parts], 1) for x, parts in zip(kept, new, strict=True)]


class _Classifier(nn.Sequential):
    """Two strided convolutions, pooling, one fully connected layer."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__(
            _build_conv(width, 64, 2),
            _build_conv(64, 64, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, classes),
        )


def _build_conv(inside: int, outside: int, stride: int, kernel: int = 3) -> nn.Sequential:
    conv = nn.Conv2d(inside, outside, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU())


def _build_bottleneck(inside: int, outside: int, stride: int) -> nn.Sequential:
    """1x1 to at most four times the new features, then 3x3."""
    middle = min(inside, 4 * outside)
    return nn.Sequential(_build_conv(inside, middle, 1, kernel=1), _build_conv(middle, outside, stride))


@register(input_shape=(3, 32, 32), source="MSDNet (2018), section 4")
def msdnet(
    *,
    blocks: int = 4,
    base: int = 2,
    step: int = 1,
    scales: int = 3,
    growth: int = 6,
    classes: int = 10,
    exits: bool = True,
) -> nn.Module:
    """MSDNet with 3 scales: an exit after every block; CIFAR-10."""
    return MSDNet(blocks=blocks, base=base, step=step, scales=scales, growth=growth, classes=classes, exits=exits)
