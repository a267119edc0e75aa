"""Separate classifiers as one multi-exit network: cheapest first, each the exit after the one before.

The cascades of Viola and Jones (2001) as networks; Guan et al. (IJCAI 2018), section 3, runs ResNets of growing depth this way, with a
small network per classifier that says from its probabilities whether to stop.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from edgeexit.errors import InputError, ModelError, did_you_mean
from edgeexit.nets.heads import head
from edgeexit.nets.outputs import Pair, extract_single_exit
from edgeexit.nets.registry import register
from edgeexit.nets.residual import build_block_groups, build_cifar_stem, build_equal_groups
from edgeexit.nets.shapes import Shape, check_image, follow_shapes


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
    """Residual networks of growing depth or width, and a stopping probability [b, 1] for each but the last.

    The stopping module reads the probabilities only (section 4.3: three fully connected layers of 64) and costs next to nothing.

    Args:
        shape: of one sample.
        classes: number of classes.
        exits: False leaves only the deepest network.
        depths: 6 n + 2 each, such as (8, 20, 32), or 6 n + 4 as wide networks count; a number below 8 is n itself.
        filters: of the first group of blocks, one number for all networks or one for each; the second and third group have two and four
            times as many. (16, 24, 32, 48, 64) with five depths of 40 is the paper's cascade for ImageNet at 32x32.
        block: `preactivation`, the paper's, of which all cost the same, so that a network's cost grows with its depth; or `basic`.
        policy: whether there are stopping modules.
        policy_hidden: their width.
    """

    def __init__(
        self,
        *,
        shape: Shape = (3, 32, 32),
        classes: int = 10,
        exits: bool = True,
        depths: Sequence[int] = (8, 20),
        filters: int | Sequence[int] = 16,
        block: str = "preactivation",
        policy: bool = True,
        policy_hidden: int = 64,
    ) -> None:
        super().__init__()
        check_image("the cascade", shape)
        sizes = _list_sizes(depths, filters)[0 if exits else -1 :]
        self.classifiers = nn.ModuleDict(
            {name: _build_resnet(n, wide, block, shape, classes) for name, (n, wide) in sizes}
        )
        self.policies = nn.ModuleList(build_policy_network(classes, policy_hidden) for _ in sizes[:-1] if policy)

    def forward(self, x: Tensor) -> list[Pair]:
        """x: [b, *shape]."""
        logits = [classifier(x) for classifier in self.classifiers.values()]
        scores = [policy(F.softmax(z, dim=-1)).sigmoid() for z, policy in zip(logits, self.policies, strict=False)]
        return list(zip(logits, [*scores, *[None] * (len(logits) - len(scores))], strict=True))


def _list_sizes(depths: Sequence[int], filters: int | Sequence[int]) -> list[tuple[str, tuple[int, int]]]:
    """By name, blocks of each group and filters of the first one, network by network."""
    wide = [filters] * len(depths) if isinstance(filters, int) else list(filters)
    if len(wide) != len(depths) or min(wide, default=1) < 1:
        msg = f"filters must be a number from 1 on, or one for each of the {len(depths)} depths, not {filters!r}"
        raise InputError(msg)
    sizes = [(_read_depth(depth), count) for depth, count in zip(depths, wide, strict=True)]
    names = [f"resnet{6 * n + 2}" + (f"_{count}" if count != 16 else "") for n, count in sizes]
    if len(set(names)) < len(names) or not names:
        msg = f"the classifiers of a cascade must differ in depth or filters, not {', '.join(names) or 'be none'}"
        raise InputError(msg)
    return list(zip(names, sizes, strict=True))


def _read_depth(depth: int) -> int:
    """Blocks of each group."""
    n, rest = (depth, 0) if depth < 8 else divmod(depth - 2, 6)
    if n < 1 or rest not in (0, 2):
        msg = f"there is no residual network of depth {depth}: depths are 6 n + 2, such as 8, 20, 32, 56, 110"
        raise InputError(msg)
    return n


def _build_resnet(n: int, filters: int, block: str, shape: Shape, classes: int) -> nn.Sequential:
    if block not in (known := ("preactivation", "basic")):
        msg = f"block is {block!r}; one of {', '.join(known)} is needed.{did_you_mean(block, known)}"
        raise InputError(msg)
    widths = (filters, 2 * filters, 4 * filters)
    if block == "basic":
        blocks: list[nn.Module] = [build_cifar_stem(shape[0], filters), *build_block_groups(n, widths)]
    else:
        blocks = [build_cifar_stem(shape[0], filters, normalize=False), *build_equal_groups(n, widths)]
    features = follow_shapes("the cascade", blocks, shape)[-1]
    return nn.Sequential(*blocks, head("pool" if block == "basic" else "bnpool", features, classes))


def build_policy_network(classes: int, hidden: int) -> nn.Sequential:
    """Probabilities [b, classes] in, the logit of the stopping probability [b, 1] out (section 4.3)."""
    return nn.Sequential(
        nn.Linear(classes, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
    )


@register(source="Amortized inference with cascades (2018), sections 3.4 and 4.3")
def resnet_cascade(
    *,
    shape: Shape = (3, 32, 32),
    classes: int = 10,
    exits: bool = True,
    depths: Sequence[int] = (8, 20),
    filters: int | Sequence[int] = 16,
    block: str = "preactivation",
    policy: bool = True,
    policy_hidden: int = 64,
) -> nn.Module:
    """Separate ResNets of growing depth with learned stopping: two models, of depth 8 and 20; CIFAR-10."""
    return ResNetCascade(
        shape=shape,
        classes=classes,
        exits=exits,
        depths=depths,
        filters=filters,
        block=block,
        policy=policy,
        policy_hidden=policy_hidden,
    )
