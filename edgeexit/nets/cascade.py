"""Separate classifiers as one multi-exit network: cheapest first, each the exit after the one before.

The cascades of Viola and Jones (2001) as networks; Guan et al. (IJCAI 2018), section 3.1, runs ResNets of growing depth this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from edgeexit.errors import ModelError


class Cascade(nn.Module):
    """k classifiers that each see the whole input; exit i is classifier i. They share nothing but the input.

    forward takes what each classifier takes and returns a list with what each returned: logits [batch, classes] or (logits, score).
    """

    def __init__(self, classifiers: Sequence[nn.Module]) -> None:
        super().__init__()
        if len(classifiers) < 2:
            msg = f"a cascade needs two classifiers or more; got {len(classifiers)}"
            raise ModelError(msg)
        self.classifiers = nn.ModuleList(classifiers)

    def forward(self, *inputs: Tensor) -> list[Any]:
        """inputs: as every classifier takes them."""
        return [_only(classifier(*inputs)) for classifier in self.classifiers]


def _only(returned: Any) -> Any:
    """A classifier that returns a list of one exit, as the networks here do with `exits=False`, gives that exit."""
    return returned[0] if isinstance(returned, list) and len(returned) == 1 else returned


def cascade(classifiers: Sequence[nn.Module]) -> Cascade:
    """Independent classifiers, cheapest first, as one multi-exit module.

    Raises:
        ModelError: fewer than two.
    """
    return Cascade(classifiers)
