"""The networks by name: one dict, filled by `@register` on one function per network."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import nn

from edgeexit.errors import InputError, did_you_mean

Factory: TypeAlias = Callable[..., nn.Module]
"""Makes one network with fresh weights. `exits=False` gives the plain network: same trunk, same parameter names, no branches."""


@dataclass(frozen=True)
class Net:
    """One registered network.

    Attributes:
        name: name used in recipes and on the command line.
        factory: keyword arguments in, module out.
        input_shape: shape of one sample, without the batch.
        source: the paper and section that the network follows.
    """

    name: str
    factory: Factory
    input_shape: tuple[int, ...]
    source: str

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the keyword arguments that the factory takes."""
        return tuple(inspect.signature(self.factory).parameters)


NETS: dict[str, Net] = {}
"""Every network by name."""


def register(*, input_shape: tuple[int, ...], source: str) -> Callable[[Factory], Factory]:
    """Put the decorated factory into `NETS` under its own name, `_` written as `-`."""

    def put(factory: Factory) -> Factory:
        name = factory.__name__.replace("_", "-")
        if name in NETS:
            msg = f"two networks are named {name!r}: {NETS[name].factory.__module__} and {factory.__module__}"
            raise ValueError(msg)
        NETS[name] = Net(name, factory, input_shape, source)
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


def build(name: str, **options: Any) -> nn.Module:
    """A network with fresh weights.

    Raises:
        InputError: unknown name, or an option that this network does not have.
    """
    entry = find_network(name)
    for option in options:
        if option not in entry.options:
            known = ", ".join(entry.options)
            msg = f"network {name!r} has no option {option!r}.{did_you_mean(option, entry.options)} Options: {known}."
            raise InputError(msg)
    return entry.factory(**options)
