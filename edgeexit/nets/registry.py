"""The networks by name: one dict, filled by `@register` on one function per network."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import nn

from edgeexit.errors import InputError, did_you_mean
from edgeexit.util.arguments import as_whole

Factory: TypeAlias = Callable[..., nn.Module]
"""Makes one network with fresh weights, for samples of `shape` and as many `classes`. `exits=False` gives the plain network: same trunk,
same parameter names, no branches."""


@dataclass(frozen=True)
class Net:
    """One registered network.

    Attributes:
        name: name used in recipes and on the command line.
        factory: keyword arguments in, module out; `shape` and `classes` are two of them.
        source: the paper and section that the network follows.
    """

    name: str
    factory: Factory
    source: str

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample, without the batch, where none is given."""
        shape: tuple[int, ...] = inspect.signature(self.factory).parameters["shape"].default
        return shape

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the keyword arguments that the factory takes."""
        return tuple(inspect.signature(self.factory).parameters)


NETS: dict[str, Net] = {}
"""Every network by name."""


def register(*, source: str) -> Callable[[Factory], Factory]:
    """Put the decorated factory into `NETS` under its own name, `_` written as `-`."""

    def put(factory: Factory) -> Factory:
        name = factory.__name__.replace("_", "-")
        if name in NETS:
            msg = f"two networks are named {name!r}: {NETS[name].factory.__module__} and {factory.__module__}"
            raise ValueError(msg)
        NETS[name] = Net(name, factory, source)
        return factory

    return put


def find_network(name: str) -> Net:
    """The network of that name.

    Raises:
        InputError: no network has that name; the message lists those that exist.
    """
    if name not in NETS:
        msg = f"no network named {name!r}.{did_you_mean(name, NETS)} Networks: {', '.join(sorted(NETS))}."
        raise InputError(msg)
    return NETS[name]


def build(name: str, *, shape: Sequence[int] | None = None, classes: int | None = None, **options: Any) -> nn.Module:
    """A network with fresh weights.

    Args:
        name: one of `NETS`.
        shape: of one sample, without the batch, such as (1, 28, 28); None takes the network's own.
        classes: how many; None takes the network's own number.
        options: keyword arguments of the network's function.

    Example:
        >>> import torch
        >>> from edgeexit.nets import build
        >>> network = build("alexnet", shape=(1, 28, 28), classes=47)
        >>> [list(logits.shape) for logits in network(torch.zeros(2, 1, 28, 28))]
        [[2, 47], [2, 47], [2, 47]]

    Raises:
        InputError: unknown name, an option that this network does not have, or samples that it cannot take.
    """
    entry = find_network(name)
    for option in options:
        if option not in entry.options:
            known = ", ".join(entry.options)
            msg = f"network {name!r} has no option {option!r}.{did_you_mean(option, entry.options)} Options: {known}."
            raise InputError(msg)
    if classes is not None:
        options["classes"] = as_whole("classes", classes, 2, 2**20)
    if shape is not None:
        options["shape"] = tuple(shape)
    return entry.factory(**options)
