"""Where exits stand, by rules on the cost up to each block (EENet: Demir, METU 2019, section 3.5).

With c_k the share of the network's cost up to block k, exit i of N stands after the first block that reaches t_i:

    pareto      t_i = 1 - 0.8^i           each exit after a fifth of what is left
    fine        t_i = 1 - 0.95^i          the same by a twentieth: early exits, close together
    golden      t_i = 0.618^(N + 1 - i)   each at the golden section of the next
    linear      t_i = i / (N + 1)         equal steps of cost
    quadratic   after every round(blocks / (N + 1))-th block: equal numbers of blocks, whose cost then rises

The thesis gives the rules in words; these formulas reproduce the shares that its tables print. Its cost, printed as FLOPs, is the number
of parameters; `count_shares` also counts multiply-accumulates, by which the same exits cost far more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import nn

from edgeexit.errors import InputError, did_you_mean
from edgeexit.nets.recording import Recording
from edgeexit.nets.shapes import Shape
from edgeexit.nets.state import evaluation_mode
from edgeexit.util.arguments import as_whole

Unit: TypeAlias = Literal["parameters", "macs"]

RULES: dict[str, Callable[[int, int], float] | None] = {
    "pareto": lambda i, _count: 1 - 0.8**i,
    "fine": lambda i, _count: 1 - 0.95**i,
    "golden": lambda i, count: ((1 + 5**0.5) / 2) ** (i - count - 1),
    "linear": lambda i, count: i / (count + 1),
    "quadratic": None,
}
"""The share at which exit i of that many stands; None: by the number of blocks."""


def place_exits(shares: Sequence[float], rule: str, count: int) -> tuple[int, ...]:
    """Numbers of the blocks after which exits stand, from 1.

    Args:
        shares: share of the whole cost up to each block, rising.
        rule: one of `RULES`.
        count: how many exits, without the last.

    Example:
        >>> from edgeexit.nets.placement import place_exits
        >>> place_exits([0.1, 0.2, 0.4, 0.6, 0.8, 1.0], "linear", 2)
        (3, 5)

    Raises:
        InputError: unknown rule, or it places fewer exits before the last block.
    """
    if rule not in RULES:
        msg = f"no rule places exits by the name {rule!r}.{did_you_mean(rule, RULES)} Rules: {', '.join(RULES)}"
        raise InputError(msg)
    count = as_whole("count", count, 1, 31)
    target = RULES[rule]
    if target is None:
        step = round(len(shares) / (count + 1))
        found = [step * i for i in range(1, count + 1)]
    else:
        found = _pass_targets(shares, [target(i, count) for i in range(1, count + 1)])
    inside = [k for k in found if 1 <= k < len(shares)]
    if len(set(inside)) < count:
        msg = f"rule {rule!r} places {len(set(inside))} of {count} exits before the last of {len(shares)} blocks: ask for fewer"
        raise InputError(msg)
    return tuple(inside)


def _pass_targets(shares: Sequence[float], targets: Sequence[float]) -> list[int]:
    """The first block that reaches each target, and one block further on where the exit before stands there."""
    found: list[int] = []
    for k, share in enumerate(shares, 1):
        if len(found) < len(targets) and share >= targets[len(found)] - 1e-9:
            found.append(k)
    return found


def count_shares(blocks: Sequence[nn.Module], last: nn.Module, shape: Shape, unit: Unit) -> list[float]:
    """Share of the plain network's cost up to each block.

    Args:
        blocks: in a row.
        last: what follows all of them.
        shape: of one sample.
        unit: `parameters`, or `macs`, multiply-accumulates.

    Raises:
        InputError: another unit.
    """
    if unit not in (known := get_args(Unit)):
        msg = f"shares are counted in {' or '.join(known)}, not {unit!r}.{did_you_mean(unit, known)}"
        raise InputError(msg)
    parts = [*blocks, last]
    costs = _count_macs(parts, shape) if unit == "macs" else _count_parameters(parts)
    return [cost / costs[-1] for cost in costs[:-1]]


def _count_parameters(parts: Sequence[nn.Module]) -> list[int]:
    own = [sum(p.numel() for p in part.parameters()) for part in parts]
    return [sum(own[: k + 1]) for k in range(len(own))]


def _count_macs(parts: Sequence[nn.Module], shape: Shape) -> list[int]:
    costs, x = [], torch.zeros(1, *shape)
    whole = nn.Sequential(*parts)
    with evaluation_mode(whole), torch.no_grad(), Recording([x]) as recording:
        for part in whole:
            x = part(x)
            node = recording.find_node(x)
            assert node is not None
            costs.append(recording.count_macs(node))
    return costs
