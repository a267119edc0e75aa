"""Separate classifiers as one multi-exit network: cheapest first, each the exit after the one before.

The cascades of Viola and Jones (2001) as networks; Guan et al. (IJCAI 2018), section 3, runs ResNets of growing depth this way, with a
small network per classifier that says from its probabilities whether to stop.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from edgeexit.errors import ModelError
from edgeexit.nets.outputs import Pair, extract_single_exit
from edgeexit.nets.registry import register
from edgeexit.nets.resnet import build_block_groups


class Cascade(nn.Module):
    """k classifiers that each see the whole input; exit i is classifier i. They share nothing but the input.

    forward takes what each classifier takes and returns a list with the exit of each, in any of the forms that
    `edgeexit.nets.outputs` lists for one exit: logits [batch, classes], (logits, score), a list or a dict of either.
    """

    def __init__(self, classifiers: Iterable[nn.Module]) -> None:
        super().__init__()
        listed = _check_classifiers(classifiers)
        if len(listed) < 2:
            msg = f"a cascade needs two classifiers or more; got {len(listed)}"
            raise ModelError(msg)
        self.classifiers = nn.ModuleList(listed)

    def forward(self, *inputs: Tensor) -> list[Any]:
        """inputs: as every classifier takes them."""
        return [extract_single_exit(classifier(*inputs)) for classifier in self.classifiers]


def _check_classifiers(classifiers: object) -> list[nn.Module]:
    single = isinstance(classifiers, nn.Module) and not isinstance(classifiers, nn.ModuleList)
    if single or not isinstance(classifiers, Iterable):
        what = f"one {type(classifiers).__name__}" if single else repr(classifiers)
        msg = f"a cascade needs a list of classifiers (torch.nn.Module), cheapest first, not {what}"
        raise ModelError(msg)
    listed = list(classifiers)
    wrong = [f"classifier {i} is {c!r}" for i, c in enumerate(listed, 1) if not isinstance(c, nn.Module)]
    if wrong:
        msg = f"a cascade needs classifiers that are torch.nn.Module, and {', '.join(wrong)}: call it in a module's forward"
        raise ModelError(msg)
    return listed


def cascade(classifiers: Iterable[nn.Module]) -> Cascade:
    """Independent classifiers, cheapest first, as one multi-exit module.

    Raises:
        ModelError: fewer than two, or something else than modules.

    Example:
        >>> import edgeexit, torch
        >>> small, large = torch.nn.Linear(8, 3), torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 3))
        >>> both = edgeexit.cascade([small, large])
        >>> len(both(torch.zeros(1, 8)))
        2
    """
    return Cascade(classifiers)


# ---------------------------------------------------------------- ResNets of growing depth


class ResNetCascade(nn.Module):
    """ResNet-(6 n + 2) for each n, and a stopping probability [b, 1] for each but the last.

    The stopping module reads the probabilities only (section 4.3: three fully connected layers of 64) and costs next to nothing.
    """

    def __init__(
        self, *, depths: tuple[int, ...] = (1, 3), classes: int = 10, policy: bool = True, exits: bool = True
    ) -> None:
        super().__init__()
        depths = tuple(depths) if exits else tuple(depths)[-1:]
        self.classifiers = nn.ModuleDict({f"resnet{6 * n + 2}": _ResNet(n, classes) for n in depths})
        self.policies = nn.ModuleList(_build_policy_network(classes) for _ in depths[:-1] if policy)

    def forward(self, x: Tensor) -> list[Pair]:
        """x: [b, 3, 32, 32]."""
        logits = [classifier(x) for classifier in self.classifiers.values()]
        scores = [policy(F.softmax(z, dim=-1)).sigmoid() for z, policy in zip(logits, self.policies, strict=False)]
        return list(zip(logits, [*scores, *[None] * (len(logits) - len(scores))], strict=True))


class _ResNet(nn.Module):
    def __init__(self, n: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.groups = nn.Sequential(*build_block_groups(n, (16, 32, 64)))
        self.fc = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.groups(self.stem(x)).mean((2, 3)))
        return out


def _build_policy_network(classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(classes, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))


@register(input_shape=(3, 32, 32), source="Amortized inference with cascades (2018), sections 3.4 and 4.3")
def resnet_cascade(
    *, depths: tuple[int, ...] = (1, 3), classes: int = 10, policy: bool = True, exits: bool = True
) -> nn.Module:
    """Separate ResNets of growing depth with learned stopping: two models; CIFAR-10."""
    return ResNetCascade(depths=depths, classes=classes, policy=policy, exits=exits)
