"""Shapes inside a network, found by running it on zeros, so that networks take samples of other sizes than their papers'."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from edgeexit.errors import InputError
from edgeexit.nets.state import evaluation_mode

Shape: TypeAlias = tuple[int, ...]
"""Of one sample or its features, without the batch."""

Step: TypeAlias = Callable[[Any], Any]
"""A module, or a function of tensors."""


def check_image(network: str, shape: Sequence[int]) -> None:
    """Refuse samples that are no images.

    Raises:
        InputError: the shape is not [channels, height, width].
    """
    check_axes(network, shape, ("channels", "height", "width"))


def check_axes(network: str, shape: Sequence[int], axes: Sequence[str]) -> None:
    """Refuse samples of another number of dimensions than the network reads.

    Raises:
        InputError: the shape has more or fewer dimensions than `axes`, or one that is no whole number of at least 1.
    """
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in shape)
    if len(shape) != len(axes) or not whole:
        msg = f"{network} takes samples [{', '.join(axes)}], not {list(shape)}"
        raise InputError(msg)


def follow_shapes(network: str, blocks: Sequence[Step], shape: Shape) -> list[Shape]:
    """The shape of what each block gives, one after the other; of the last of several tensors.

    Args:
        network: its name, for the message.
        blocks: modules, which are run in evaluation mode, or functions.
        shape: of one sample.

    Raises:
        InputError: the sample is too small, or of another shape than the first block takes.
    """
    found: list[Shape] = []
    with ExitStack() as modes, torch.no_grad():
        for block in blocks:
            if isinstance(block, nn.Module):
                modes.enter_context(evaluation_mode(block))
        x: Any = torch.zeros(1, *shape)
        for block in blocks:
            x = _run(network, block, x, shape)
            last = x if isinstance(x, Tensor) else x[-1]
            found.append(tuple(last.shape[1:]))
    return found


def _run(network: str, block: Step, x: Any, shape: Shape) -> Any:
    try:
        return block(x)
    except RuntimeError as error:
        msg = f"{network} cannot take samples {list(shape)}, which are too small or of another form: {error}"
        raise InputError(msg) from error
