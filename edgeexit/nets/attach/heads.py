"""The head of an exit after a place of a network: one of `edgeexit.nets.heads`, by what the place returns.

feature map [b, c, h, w]    pool, bnpool, conv    the mean over space, after batch normalisation, or after a convolution; then fc
                            reduce                averaged to about 8×8, then two convolutions; then fc
tokens [b, t, d]            first, last, mean     that token, normalised; then fc
sequence [b, t, d]          first, last, mean     that step; then fc
vector [b, d]               fc                    also takes any other features, flattened
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor, nn

from edgeexit.errors import InputError, ModelError, did_you_mean
from edgeexit.nets.attach.places import ExitPlace, Kind
from edgeexit.nets.heads import MeanOverSpace, ReadPosition, build_reader
from edgeexit.nets.users_code import translate_user_errors

MakeHead: TypeAlias = Callable[[tuple[int, ...], int], nn.Module]
"""A head of the user's: (shape of the features without the batch, classes) -> module."""

LARGEST = 2**26
"""Weights of one head; more is a mistake."""


class ChannelsFirst(nn.Module):
    """Features with their channels moved to the second axis."""

    def __init__(self, channel_axis: int) -> None:
        super().__init__()
        self.channel_axis = channel_axis

    def forward(self, x: Tensor) -> Tensor:
        """x: [b, ..., c] -> [b, c, ...]."""
        return x.movedim(self.channel_axis, 1)


_FIXED = (ChannelsFirst, MeanOverSpace, ReadPosition, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


def _count_channels(place: ExitPlace) -> int:
    return place.shape[place.channel_axis - 1]


_ALL: tuple[Kind, ...] = ("feature map", "tokens", "sequence", "vector")

HEADS: dict[str, tuple[Kind, ...]] = {
    "pool": ("feature map",),
    "bnpool": ("feature map",),
    "conv": ("feature map",),
    "reduce": ("feature map",),
    "first": ("tokens", "sequence"),
    "last": ("tokens", "sequence"),
    "mean": ("tokens", "sequence"),
    "fc": _ALL,
}
"""The kinds of features that a head takes."""


def make_head(head: str | MakeHead, place: ExitPlace, classes: int) -> nn.Module:
    """The head of an exit after this place; `auto` takes the one that fits its kind.

    Raises:
        InputError: no head has this name.
        ModelError: the head does not take such features, or would be too large for them.
    """
    if not isinstance(head, str):
        return _make_own_head(head, place, classes)
    name = _choose_name(place) if head == "auto" else head
    if name not in HEADS:
        msg = f"no head is named {head!r}.{did_you_mean(head, ['auto', *HEADS])} Heads: auto, {', '.join(HEADS)}, or a function"
        raise InputError(msg)
    kinds = HEADS[name]
    if place.kind not in kinds:
        fitting = ", ".join(n for n, takes in HEADS.items() if place.kind in takes)
        msg = (
            f"head {name!r} takes {' or '.join(kinds)}, and {place.name!r} returns a {place.kind} {list(place.shape)}: "
            f"take {fitting} or auto"
        )
        raise ModelError(msg)
    _check_size(name, place, classes)
    return _make(name, place, classes)


def _make(name: str, place: ExitPlace, classes: int) -> nn.Module:
    """Layers in a row; channels that stand at the end of a feature map are moved to where they are read."""
    is_token = place.kind == "tokens" and name != "fc"
    if place.kind != "feature map" or place.channel_axis == 1 or name == "fc":
        layers, width = build_reader(name, place.shape, normalize=is_token)
        return nn.Sequential(*layers, nn.Linear(width, classes))
    layers, width = build_reader(name, (_count_channels(place), *place.shape[:-1]))
    return nn.Sequential(ChannelsFirst(place.channel_axis), *layers, nn.Linear(width, classes))


def split_head(head: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """What a head does first without learning anything, such as the mean over space, and what it does then.

    A head is the one after the other. What it begins with can be computed once for all epochs, as long as the features stay the same.
    """
    layers = list(head) if isinstance(head, nn.Sequential) else [head]
    first = next((i for i, layer in enumerate(layers) if not isinstance(layer, _FIXED)), len(layers))
    return layers[:first], layers[first:]


def _choose_name(place: ExitPlace) -> str:
    return {"feature map": "pool", "vector": "fc"}.get(place.kind, place.position)


def _check_size(name: str, place: ExitPlace, classes: int) -> None:
    inputs = math.prod(place.shape) if name == "fc" else _count_channels(place)
    weights = inputs * classes + (9 * inputs * inputs if name == "conv" else 0)
    if weights > LARGEST:
        msg = (
            f"head {name!r} after {place.name!r} would have {weights:,} weights for {inputs:,} features and {classes} classes; "
            f"the limit is {LARGEST:,}. Take a head that pools first (auto), or a later place"
        )
        raise ModelError(msg)


def _make_own_head(head: object, place: ExitPlace, classes: int) -> nn.Module:
    if not callable(head) or isinstance(head, nn.Module):
        msg = f"head must be a name ({', '.join(['auto', *HEADS])}) or a function (shape, classes) -> module, not {type(head).__name__}"
        raise InputError(msg)
    with translate_user_errors(f"head(shape={place.shape}, classes={classes}) failed for {place.name!r}"):
        made = head(place.shape, classes)
    if not isinstance(made, nn.Module):
        msg = f"head(shape={place.shape}, classes={classes}) returned {type(made).__name__}; it must make a torch.nn.Module"
        raise ModelError(msg)
    return made
