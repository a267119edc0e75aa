"""MSDNet: dense connections at several scales at once (Huang et al., ICLR 2018, sections 3 and 4; layers as in the authors' code).

Every layer has features of each scale, fine to coarse; what it computes at a scale comes from all earlier features of that scale and,
strided, of the next finer one. Classifiers stand on the coarsest scale, so that several scales of features are alive at a cut. After
each third of the depth (of three scales) the finest scale is dropped, and a transition brings the width of those left down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgeexit.errors import InputError
from edgeexit.nets.chain import Chain
from edgeexit.nets.heads import Collaboration, Head, MeanOverSpace
from edgeexit.nets.registry import register
from edgeexit.nets.shapes import Shape, check_image, follow_shapes

_WIDER = (1, 2, 4, 4)
"""How many times as many channels as the finest each scale has."""


class FirstLayer(nn.Module):
    """The image at every scale: each from the one before by a strided convolution."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        inside = [channels, *widths[:-1]]
        self.scales = nn.ModuleList(
            _build_conv(a, b, 2 if s else 1) for s, (a, b) in enumerate(zip(inside, widths, strict=True))
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """x: [b, channels, h, w] -> [b, w0, h, w], [b, w1, h / 2, w / 2], ..."""
        features = []
        for scale in self.scales:
            x = scale(x)
            features.append(x)
        return features


@dataclass(frozen=True)
class _Scale:
    """One scale of a layer: channels that it has, the finer one's, the new ones, and how wide bottlenecks are, in new channels."""

    width: int
    finer: int | None
    growth: int
    bottleneck: int
    finer_bottleneck: int


class MultiScaleLayer(nn.Module):
    """New features of each scale that goes out, half of them from the next finer one where there is one, joined to the earlier ones."""

    def __init__(self, scales: Sequence[_Scale]) -> None:
        super().__init__()
        self.same = nn.ModuleList(
            _build_bottleneck(s.width, s.growth if s.finer is None else s.growth // 2, 1, s.bottleneck) for s in scales
        )
        self.finer = nn.ModuleList(
            _build_bottleneck(s.finer, s.growth - s.growth // 2, 2, s.finer_bottleneck)
            for s in scales
            if s.finer is not None
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Features of each scale that comes in, finest first, to those of each that goes out."""
        kept = features[-len(self.same) :]
        new = [[same(x)] for same, x in zip(self.same, kept, strict=True)]
        for parts, finer, x in zip(reversed(new), reversed(self.finer), reversed(features[:-1]), strict=False):
            parts.insert(0, finer(x))
        return [torch.cat([x, *parts], 1) for x, parts in zip(kept, new, strict=True)]


class Transition(nn.Module):
    """A 1x1 convolution of each scale."""

    def __init__(self, inside: Sequence[int], outside: Sequence[int]) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_build_conv(a, b, 1, kernel=1) for a, b in zip(inside, outside, strict=True))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Features of each scale, to as many scales."""
        return [scale(x) for scale, x in zip(self.scales, features, strict=True)]


def _build_conv(inside: int, outside: int, stride: int, kernel: int = 3) -> nn.Sequential:
    conv = nn.Conv2d(inside, outside, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU())


def _build_bottleneck(inside: int, outside: int, stride: int, factor: int) -> nn.Sequential:
    """1x1 to at most `factor` times the new features, then 3x3."""
    middle = min(inside, factor * outside)
    return nn.Sequential(_build_conv(inside, middle, 1, kernel=1), _build_conv(middle, outside, stride))


@register(source="MSDNet (2018), sections 3 and 4; heads that collaborate: ISC, Li et al. (2019), section 3.2")
def msdnet(
    *,
    shape: Shape = (3, 32, 32),
    classes: int = 10,
    exits: bool = True,
    steps: Sequence[int] = (1, 2, 3, 4, 5),
    scales: int = 3,
    channels: int = 16,
    growth: int = 6,
    reduce: float = 0.5,
    bottleneck: Sequence[int] = (1, 2, 4),
    head: int = 128,
    collaboration: Collaboration = "none",
) -> Chain:
    """MSDNet: an exit after every block; five exits and 58 M multiply-accumulates on 32x32; CIFAR-10.

    Args:
        shape: of one sample.
        classes: number of classes.
        exits: False leaves only the last classifier.
        steps: layers of each block, with an exit after each. Where their sum is no multiple of the scales, the last layers have scales that
            nothing reads, as in the authors' code.
        scales: number of scales; each has half the size of the one before.
        channels: of the finest scale after the first layer; scale s has 1, 2, 4, 4 times as many, and grows by as many times `growth`.
        growth: new channels of the finest scale per layer.
        reduce: share of the channels that is left after a scale is dropped; 0 leaves out the transition.
        bottleneck: of each scale, how many times the new channels the 1x1 convolution before them may have.
        head: channels of the classifiers' two strided convolutions.
        collaboration: what each classifier but the first gets of the one before it.
    """
    check_image("MSDNet", shape)
    if not 1 <= scales <= len(_WIDER) or len(bottleneck) < scales or not steps or min(steps) < 1:
        msg = (
            f"MSDNet has 1 to {len(_WIDER)} scales, a bottleneck for each, and blocks of 1 layer or more; "
            f"not scales={scales}, bottleneck={tuple(bottleneck)}, steps={tuple(steps)}"
        )
        raise InputError(msg)
    trunk = _Trunk(channels, growth, reduce, _WIDER[:scales], tuple(bottleneck)[:scales])
    blocks, widths = trunk.build(steps)
    blocks[0] = nn.Sequential(FirstLayer(shape[0], [channels * f for f in trunk.wider]), *blocks[0])
    follow_shapes("MSDNet", blocks, shape)
    makes = [
        _build_classifier(width, head, classes, "none" if k == 0 or not exits else collaboration)
        for k, width in enumerate(widths)
        if exits or k == len(widths) - 1
    ]
    return Chain(blocks, dict(enumerate(makes[:-1], 1)), makes[-1])


@dataclass(frozen=True)
class _Trunk:
    """The layers of an MSDNet, one after the other."""

    width: int
    growth: int
    reduce: float
    wider: tuple[int, ...]
    bottleneck: tuple[int, ...]

    def build(self, steps: Sequence[int]) -> tuple[list[nn.Sequential], list[int]]:
        """The layers of each block, and the width of the coarsest scale after it."""
        width, depth, dropped = self.width, 0, 0
        interval = math.ceil(sum(steps) / len(self.wider))
        blocks, widths = [], []
        for step in steps:
            layers: list[nn.Module] = []
            for _ in range(step):
                before, dropped = dropped, depth // interval
                layers.append(
                    MultiScaleLayer([self._describe(s, width, before) for s in range(dropped, len(self.wider))])
                )
                width, depth = width + self.growth, depth + 1
                if dropped > before and self.reduce:
                    less = int(self.reduce * width)
                    layers.append(Transition(*([w * f for f in self.wider[dropped:]] for w in (width, less))))
                    width = less
            blocks.append(nn.Sequential(*layers))
            widths.append(width * self.wider[-1])
        return blocks, widths

    def _describe(self, s: int, width: int, first: int) -> _Scale:
        """Scale s of a layer where the finest scale that comes in is `first`."""
        finer = s - 1 if s > first else None
        return _Scale(
            width * self.wider[s],
            None if finer is None else width * self.wider[finer],
            self.growth * self.wider[s],
            self.bottleneck[s],
            1 if finer is None else self.bottleneck[finer],
        )


class _Coarsest(nn.Module):
    """The last of several scales."""

    def forward(self, features: list[Tensor]) -> Tensor:
        return features[-1]


def _build_classifier(width: int, middle: int, classes: int, collaboration: Collaboration) -> Head:
    """Two strided convolutions on the coarsest scale, the mean over space, one fully connected layer."""
    features = nn.Sequential(
        _Coarsest(), _build_conv(width, middle, 2), _build_conv(middle, middle, 2), MeanOverSpace()
    )
    return Head(features, middle, classes, collaboration=collaboration)
