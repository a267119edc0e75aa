"""Watch what the parts of a module return, without changing what it computes.

The `forward` of each part is wrapped for as long as one looks. Hooks of torch are not used: layers such as `nn.TransformerEncoderLayer`
compute by other kernels, and so give other last bits, where they see one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

from torch import Tensor, nn

OnReturn: TypeAlias = "Callable[[str, Any], None]"
"""Told the name of a part and what it returned, at the end of each of its calls."""


@contextmanager
def watch_calls(parts: Mapping[str, nn.Module], on_return: OnReturn) -> Iterator[None]:
    """Tell `on_return` of every call of these parts in the body."""
    with ExitStack() as wrapped:
        for name, part in parts.items():
            wrapped.enter_context(_wrap_forward(name, part, on_return))
        yield


@contextmanager
def _wrap_forward(name: str, part: nn.Module, on_return: OnReturn) -> Iterator[None]:
    own = part.__dict__.get("forward")  # that of an instance, where another tool has put one
    forward = part.forward

    @functools.wraps(forward)
    def watched(*inputs: Any, **named: Any) -> Any:
        returned = forward(*inputs, **named)
        on_return(name, returned)
        return returned

    part.__dict__["forward"] = watched
    try:
        yield
    finally:
        part.__dict__.pop("forward")
        if own is not None:
            part.__dict__["forward"] = own


def find_features(returned: Any) -> Tensor | None:
    """The tensor that a part passes on: itself, the first of a tuple (as of RNNs), `last_hidden_state` of a dict; or None."""
    if isinstance(returned, Mapping):
        returned = returned.get("last_hidden_state")
    if isinstance(returned, tuple | list) and returned:
        returned = returned[0]
    return returned if isinstance(returned, Tensor) else None
