"""The example that a user gives, as inputs by the names of forward's parameters."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from edgeexit.errors import ModelError

Example: TypeAlias = "Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]"


def inputs_by_name(module: object, example: Example) -> dict[str, Tensor]:
    """The example as inputs by name, in the order in which forward takes them."""
    if not isinstance(module, nn.Module):
        msg = f"module must be a torch.nn.Module whose forward returns every exit, not {module!r}"
        raise ModelError(msg)
    parameters = [p for p in inspect.signature(module.forward).parameters.values() if p.kind != p.KEYWORD_ONLY]
    given: tuple[Any, ...]
    if isinstance(example, Mapping):
        given = tuple(_by_name([p.name for p in parameters], example))
    else:
        given = example if isinstance(example, tuple | list) else (example,)
    names = _input_names(parameters, len(given))
    inputs = {name: _tensor(name, x) for name, x in zip(names, given, strict=True)}
    sizes = {name: x.shape[0] if x.ndim else 0 for name, x in inputs.items()}
    if not sizes or 0 in sizes.values() or len(set(sizes.values())) > 1:
        msg = (
            f"every example input needs the same batch of at least 1 in its first dimension; got {sizes or 'no input'}"
        )
        raise ModelError(msg)
    return inputs


def _tensor(name: str, value: object) -> Tensor:
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        msg = f"example input {name!r} must be a tensor, such as torch.zeros(1, 3, 32, 32), not {value!r}"
        raise ModelError(msg) from error
    if tensor.dtype == torch.bfloat16:
        msg = f"example input {name!r} is bfloat16, which NumPy's arrays do not have: give float32 and convert it in forward"
        raise ModelError(msg)
    return tensor


def _by_name(parameters: Sequence[str], example: Mapping[str, Tensor]) -> list[Tensor]:
    unknown = [name for name in example if name not in parameters]
    if unknown:
        msg = f"forward takes no input named {', '.join(map(repr, unknown))}; it takes {', '.join(parameters)}"
        raise ModelError(msg)
    order = [name for name in parameters if name in example]
    if order != list(parameters[: len(order)]):
        msg = f"forward takes {', '.join(parameters)} in this order; an example is missing before {order[-1]!r}"
        raise ModelError(msg)
    return [example[name] for name in order]


def _input_names(parameters: Sequence[inspect.Parameter], count: int) -> list[str]:
    """Forward's own names; `input`, `input2`, ... where it takes `*inputs`."""
    named = [p.name for p in parameters if p.kind != p.VAR_POSITIONAL]
    extra = ["input", *[f"input{i}" for i in range(2, count + 1)]]
    if len(named) < count and not any(p.kind == p.VAR_POSITIONAL for p in parameters):
        msg = f"the example has {count} inputs and forward takes {len(named)}: {', '.join(named)}"
        raise ModelError(msg)
    return [*named[:count], *extra[: max(0, count - len(named))]]
