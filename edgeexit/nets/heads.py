"""Heads of exits: features of one place in, logits [b, classes] out, with the exit's own confidence [b, 1] where it learns one.

fc       everything, flattened                                                   any features
pool     the mean over space                                                     feature maps [b, c, ...]
bnpool   batch normalisation, relu, the mean over space                          feature maps
conv     a 3x3 convolution of the same width, then as bnpool                     feature maps
reduce   averaged to about 8×8, two 3x3 convolutions, the first with stride 2    feature maps
first, last, mean    that token or step, or the mean of all                      tokens and sequences [b, t, d]

Each ends in one fully connected layer. fc, pool and bnpool are the three exit blocks of EENet (Demir, METU 2019, section 3.2).

A head that collaborates also gets what the exit before it answered (ISC: Li et al., ICCV 2019, section 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias, get_args

from torch import Tensor, nn

from edgeexit.errors import InputError, did_you_mean
from edgeexit.nets.shapes import Shape

Collaboration: TypeAlias = Literal["none", "identity", "fc"]
"""What a head gets of the exit before it: nothing, its logits, or features that a small network makes of them."""


class MeanOverSpace(nn.Module):
    """The mean over all axes but those of the batch and the channels."""

    def forward(self, x: Tensor) -> Tensor:
        """x: [b, c, ...] -> [b, c]."""
        return x.flatten(2).mean(2)


class ReadPosition(nn.Module):
    """One token or step, or the mean of all."""

    def __init__(self, position: str) -> None:
        super().__init__()
        self.position = position

    def forward(self, x: Tensor) -> Tensor:
        """x: [b, t, d] -> [b, d]."""
        return x.mean(1) if self.position == "mean" else x[:, 0 if self.position == "first" else -1]


class Head(nn.Module):
    """What makes a vector of the features, and fully connected layers on it.

    Args:
        features: makes [b, width] of what the exit reads.
        width: of that vector.
        classes: number of classes.
        confidence: whether the exit has a score of its own, a probability that a second layer gives.
        collaboration: what of the exit before it joins in. Its layer is added to that of the features, which is one fully connected layer
            on both side by side, and leaves the parameters of a head without collaboration their names and shapes.
    """

    def __init__(
        self,
        features: nn.Module,
        width: int,
        classes: int,
        *,
        confidence: bool = False,
        collaboration: Collaboration = "none",
    ) -> None:
        super().__init__()
        self.features = features
        self.classify = nn.Linear(width, classes)
        self.confidence = nn.Linear(width, 1) if confidence else None
        self.join = _build_join(collaboration, classes)

    @property
    def collaborates(self) -> bool:
        """Whether forward needs the logits of the exits before this one."""
        return self.join is not None

    def forward(self, x: Tensor, earlier: Sequence[Tensor] = ()) -> Tensor | tuple[Tensor, Tensor]:
        """Logits [b, classes], or (logits, confidence [b, 1]). `earlier`: logits of the exits before this one."""
        read = self.features(x)
        logits: Tensor = self.classify(read)
        if self.join is not None:
            logits = logits + self.join(earlier[-1])
        return logits if self.confidence is None else (logits, self.confidence(read).sigmoid())


def _build_join(collaboration: Collaboration, classes: int, *, width: int = 128) -> nn.Module | None:
    if collaboration not in (known := get_args(Collaboration)):
        msg = f"collaboration is {collaboration!r}; one of {', '.join(known)} is needed.{did_you_mean(collaboration, known)}"
        raise InputError(msg)
    if collaboration == "none":
        return None
    if collaboration == "identity":
        return nn.Linear(classes, classes, bias=False)
    return nn.Sequential(
        nn.Linear(classes, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, classes, bias=False)
    )


_CONVS = {2: nn.Conv1d, 3: nn.Conv2d, 4: nn.Conv3d}
_POOLS: dict[int, Callable[..., nn.Module]] = {2: nn.AvgPool1d, 3: nn.AvgPool2d, 4: nn.AvgPool3d}
_NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}
"""By the number of dimensions without the batch."""


def _read_all(_shape: Shape) -> list[nn.Module]:
    return [nn.Flatten()]


def _read_pooled(_shape: Shape) -> list[nn.Module]:
    return [MeanOverSpace()]


def _read_normalized(shape: Shape) -> list[nn.Module]:
    return [_NORMS[len(shape)](shape[0]), nn.ReLU(), MeanOverSpace()]


def _read_convolved(shape: Shape) -> list[nn.Module]:
    convolution = _CONVS[len(shape)](shape[0], shape[0], 3, padding=1, bias=False)
    return [convolution, *_read_normalized(shape)]


def _read_reduced(shape: Shape) -> list[nn.Module]:
    """Little work whatever the size of the features, and more than a mean reads from them.

    Averaging first is the feature reduction of Shallow-Deep Networks (Kaya et al. 2019), there before one linear layer.
    """
    width, dimensions = _count_reduced(shape[0]), len(shape)
    convolve, norm = _CONVS[dimensions], _NORMS[dimensions]
    return [
        _POOLS[dimensions](tuple(max(1, n // _GRID) for n in shape[1:])),
        convolve(shape[0], width, 3, stride=2, padding=1, bias=False),
        norm(width),
        nn.ReLU(),
        convolve(width, width, 3, padding=1, bias=False),
        norm(width),
        nn.ReLU(),
        MeanOverSpace(),
    ]


def _count_reduced(channels: int) -> int:
    """Channels in a head `reduce`."""
    return max(64, min(channels, 128))


def _read_position(position: str) -> Callable[[Shape], list[nn.Module]]:
    return lambda _shape: [ReadPosition(position)]


_GRID = 8
"""Places along each axis that `reduce` leaves, about."""
_MAPS, _TOKENS = (2, 3, 4), (2,)

HEADS: dict[str, tuple[tuple[int, ...] | None, Callable[[Shape], list[nn.Module]]]] = {
    "fc": (None, _read_all),
    "pool": (_MAPS, _read_pooled),
    "bnpool": (_MAPS, _read_normalized),
    "conv": (_MAPS, _read_convolved),
    "reduce": (_MAPS, _read_reduced),
    "first": (_TOKENS, _read_position("first")),
    "last": (_TOKENS, _read_position("last")),
    "mean": (_TOKENS, _read_position("mean")),
}
"""How many dimensions the features may have (None: any), and what makes a vector of them."""


def build_reader(kind: str, shape: Sequence[int], *, normalize: bool = False) -> tuple[list[nn.Module], int]:
    """What a head does before its fully connected layer, and the width of what comes out.

    Args:
        kind: one of `HEADS`.
        shape: of the features, without the batch.
        normalize: layer normalisation of what is read.

    Raises:
        InputError: no head has this name, or it does not take features of this shape.
    """
    if kind not in HEADS:
        msg = f"no head is named {kind!r}.{did_you_mean(kind, HEADS)} Heads: {', '.join(HEADS)}"
        raise InputError(msg)
    dimensions, read = HEADS[kind]
    if dimensions is not None and len(shape) not in dimensions:
        fitting = ", ".join(name for name, (takes, _) in HEADS.items() if takes is None or len(shape) in takes)
        msg = f"head {kind!r} cannot read features {list(shape)}; these can: {fitting}"
        raise InputError(msg)
    width = math.prod(shape) if dimensions is None else shape[-1] if dimensions is _TOKENS else shape[0]
    width = _count_reduced(width) if kind == "reduce" else width
    return [*read(tuple(shape)), *([nn.LayerNorm(width)] if normalize else [])], width


def head(
    kind: str,
    shape: Sequence[int],
    classes: int,
    *,
    confidence: bool = False,
    collaboration: Collaboration = "none",
    normalize: bool = False,
) -> Head:
    """A head of an exit, with fresh weights.

    Args:
        kind: one of `HEADS`.
        shape: of the features, without the batch: [channels, ...] of feature maps, [time, width] of tokens and sequences.
        classes: number of classes.
        confidence: whether the exit has a score of its own: forward then returns (logits, confidence in 0..1).
        collaboration: what of the exit before it joins in: "none", "identity" (its logits) or "fc" (features made of them).
        normalize: layer normalisation of what is read, as heads on tokens of transformers have it.

    Example:
        >>> import torch
        >>> from edgeexit.nets import head
        >>> exit1 = head("bnpool", (16, 8, 8), 10, confidence=True)
        >>> logits, confidence = exit1(torch.zeros(2, 16, 8, 8))
        >>> list(logits.shape), list(confidence.shape)
        ([2, 10], [2, 1])

    Raises:
        InputError: no head has this name, or it does not take features of this shape.
    """
    layers, width = build_reader(kind, shape, normalize=normalize)
    return Head(nn.Sequential(*layers), width, classes, confidence=confidence, collaboration=collaboration)
