"""Blocks in a row, a head after some of them and one at the end: what most multi-exit networks are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from edgeexit.errors import InputError
from edgeexit.nets.heads import Collaboration, head
from edgeexit.nets.shapes import Shape, follow_shapes


class Chain(nn.Module):
    """Blocks in a row; forward returns what the head after each place answers, first exit first, and what the last head does.

    Parameters are named `blocks.0.`, ... , `heads.2.` for the head after the second block, and `last.`.

    Args:
        blocks: each takes what the one before gives: a tensor, or whatever both agree on.
        heads: by the number of the block after which they stand, from 1. A head returns logits [b, classes] or (logits, score); where
            it has an attribute `collaborates` that is true, it is called with the features and the logits of all exits before it.
        last: the head of the last exit, after all blocks.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from edgeexit.nets import Chain, head
        >>> blocks = [nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU()), nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU())]
        >>> network = Chain(blocks, {1: head("pool", (8, 6, 6), 10)}, head("fc", (16, 4, 4), 10))
        >>> [list(logits.shape) for logits in network(torch.zeros(2, 1, 8, 8))]
        [[2, 10], [2, 10]]

    Raises:
        InputError: a head stands after no block or after the last one, or the first exit wants answers of earlier ones.
    """

    def __init__(self, blocks: Iterable[nn.Module], heads: Mapping[int, nn.Module], last: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        check_places(tuple(sorted(heads)), len(self.blocks))
        self.heads = nn.ModuleDict({str(k): heads[k] for k in sorted(heads)})
        self.last = last
        if _collaborates(next(iter(self.heads.values()), last)):
            msg = (
                "the first exit has no exit before it whose answer it could take: give it a head without collaboration"
            )
            raise InputError(msg)

    def forward(self, x: Tensor) -> list[Any]:
        """x: as the first block takes it."""
        out: list[Any] = []
        for k, block in enumerate(self.blocks, 1):
            x = block(x)
            if str(k) in self.heads:
                out.append(_answer(self.heads[str(k)], x, out))
        return [*out, _answer(self.last, x, out)]


def check_places(after: Sequence[int], blocks: int) -> None:
    """Refuse places that are no rising numbers of blocks before the last.

    Raises:
        InputError: with the numbers that there are.
    """
    if sorted(set(after)) != list(after) or (after and not 1 <= after[0] <= after[-1] < blocks):
        msg = f"exits after blocks {tuple(after)}: they must rise from 1 to {blocks - 1}, as the network has {blocks} blocks"
        raise InputError(msg)


def _collaborates(module: nn.Module) -> bool:
    return bool(getattr(module, "collaborates", False))


def _answer(module: nn.Module, x: Any, out: Sequence[Any]) -> Any:
    if not _collaborates(module):
        return module(x)
    return module(x, [answer if isinstance(answer, Tensor) else answer[0] for answer in out])


def build_chain(
    name: str,
    blocks: Sequence[nn.Module],
    shape: Shape,
    classes: int,
    *,
    after: Sequence[int],
    kind: str = "pool",
    last: str = "pool",
    confidence: bool = False,
    collaboration: Collaboration = "none",
) -> Chain:
    """Blocks with a head of one kind after each of some of them; shapes are found by running the blocks on zeros.

    Args:
        name: of the network, for messages.
        blocks: the blocks.
        shape: of one sample.
        classes: number of classes.
        after: blocks after which exits stand, from 1; none for the plain network.
        kind: of the early heads, one of `HEADS`.
        last: of the last head.
        confidence: whether early exits have a score of their own; the last one always answers and needs none.
        collaboration: what each head but the first gets of the exit before it.

    Raises:
        InputError: the sample is too small, a place is no place, or a head does not fit.
    """
    check_places(after, len(blocks))
    sizes = follow_shapes(name, blocks, shape)
    ways: list[Collaboration] = ["none", *[collaboration] * len(after)] if after else ["none"]
    heads = {
        k: head(kind, sizes[k - 1], classes, confidence=confidence, collaboration=way)
        for k, way in zip(after, ways, strict=False)
    }
    return Chain(blocks, heads, head(last, sizes[-1], classes, collaboration=ways[-1]))
