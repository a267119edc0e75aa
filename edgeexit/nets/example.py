"""The example that a user gives, as inputs by the names of forward's parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from edgeexit.errors import ModelError
from edgeexit.util.units import format_count

Example: TypeAlias = "Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]"


def wrap_by_position(module: object, example: Example) -> tuple[nn.Module, dict[str, Tensor]]:
    """The module as one that takes all its inputs by position, and the example as inputs by name in that order.

    A module that only passes its inputs on names the one that takes them as its `input_module`.
    """
    checked = _check_module(module)
    parameters = list(inspect.signature(getattr(checked, "input_module", checked).forward).parameters.values())
    if isinstance(example, Mapping):
        given, keywords = _match_by_name(parameters, example)
    else:
        given, keywords = _match_in_order(parameters, example if isinstance(example, tuple | list) else (example,)), []
    inputs = {name: _convert_to_tensor(name, x) for name, x in given.items()}
    sizes = {name: x.shape[0] if x.ndim else 0 for name, x in inputs.items()}
    if not sizes or 0 in sizes.values() or len(set(sizes.values())) > 1:
        msg = (
            f"every example input needs the same batch of at least 1 in its first dimension; got {sizes or 'no input'}"
        )
        raise ModelError(msg)
    return _ByKeyword(checked, keywords) if keywords else checked, inputs


class _ByKeyword(nn.Module):
    """A module whose last inputs are given by name, as one that takes them by position."""

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.by_keyword = module
        self.names = tuple(names)

    def forward(self, *inputs: Tensor) -> Any:
        first = len(inputs) - len(self.names)
        return self.by_keyword(*inputs[:first], **dict(zip(self.names, inputs[first:], strict=True)))


class TransformedOutput(nn.Module):
    """A module whose result is what `read` makes of that of another."""

    def __init__(self, module: nn.Module, read: Callable[[Any], Any]) -> None:
        super().__init__()
        self.read_from = module
        self.read = read

    def forward(self, *inputs: Tensor) -> Any:  # noqa: D102 - torch's own method
        return self.read(self.read_from(*inputs))


def _check_module(module: object) -> nn.Module:
    if not isinstance(module, nn.Module):
        msg = f"module must be a torch.nn.Module whose forward returns every exit, not {module!r}"
        raise ModelError(msg)
    scripted = [name for name, part in module.named_modules() if _is_scripted(part)]
    if isinstance(module, torch.jit.ScriptModule) or scripted:
        what = f"{scripted[0]!r} inside the module" if scripted and scripted[0] else "the module"
        msg = f"{what} was made by torch.jit, which torch cannot export: pass the original module, before scripting or tracing"
        raise ModelError(msg)
    return module


def _is_scripted(module: nn.Module) -> bool:
    """A part that was only traced can be exported."""
    return isinstance(module, torch.jit.RecursiveScriptModule)  # type: ignore[attr-defined]


def _convert_to_tensor(name: str, value: object) -> Tensor:
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        msg = f"example input {name!r} must be a tensor, such as torch.zeros(1, 3, 32, 32), not {value!r}"
        raise ModelError(msg) from error
    if tensor.dtype == torch.bfloat16:
        msg = f"example input {name!r} is bfloat16, which NumPy's arrays do not have: give float32 and convert it in forward"
        raise ModelError(msg)
    return tensor


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _match_by_name(
    parameters: Sequence[inspect.Parameter], example: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Inputs by name, those first that are taken by position; and the names of the others."""
    ordered = [p.name for p in parameters if p.kind in (*_POSITIONAL, p.VAR_POSITIONAL)]
    named = [p.name for p in parameters if p.kind == p.KEYWORD_ONLY]
    others = [name for name in example if name not in (*ordered, *named)]
    unknown = (
        [name for name in others if not isinstance(name, str)] if _accepts_kind(parameters, "VAR_KEYWORD") else others
    )
    if unknown:
        known = ", ".join((*ordered, *named)) or "names that are text"
        msg = f"forward takes no input named {', '.join(map(repr, unknown))}; it takes {known}"
        raise ModelError(msg)
    order = list(takewhile(example.__contains__, ordered))
    late = [name for name in ordered[len(order) :] if name in example]
    skipped = ordered[len(order) : ordered.index(late[-1])] if late else []
    if any(_is_needed(p, skipped, late) for p in parameters):
        msg = f"forward takes {', '.join(ordered)} in this order; an example is missing before {late[-1]!r}"
        raise ModelError(msg)
    keywords = late + [name for name in named if name in example] + others
    return _match_in_order(parameters, [example[name] for name in order]) | {n: example[n] for n in keywords}, keywords


def _is_needed(parameter: inspect.Parameter, skipped: Sequence[str], late: Sequence[str]) -> bool:
    """Whether it cannot be left out, or cannot be given by name where others before it are left out."""
    if parameter.name in late:
        return parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL)
    return parameter.name in skipped and parameter.default is parameter.empty


def _match_in_order(parameters: Sequence[inspect.Parameter], given: Sequence[Tensor]) -> dict[str, Tensor]:
    """By forward's own names; `input`, `input2`, ... where it takes `*inputs`."""
    names = [p.name for p in parameters if p.kind in _POSITIONAL]
    if len(names) < len(given) and not _accepts_kind(parameters, "VAR_POSITIONAL"):
        takes = f"{len(names)}: {', '.join(names)}" if names else "no input by position"
        msg = f"the example has {format_count(len(given), 'input')} and forward takes {takes}{_explain_by_name(parameters)}"
        raise ModelError(msg)
    extra = [name for name in ("input", *(f"input{i}" for i in range(2, len(given) + 2))) if name not in names]
    return dict(zip([*names, *extra], given, strict=False))


def _explain_by_name(parameters: Sequence[inspect.Parameter]) -> str:
    named = [p.name for p in parameters if p.kind == p.KEYWORD_ONLY] or ["x"] * _accepts_kind(parameters, "VAR_KEYWORD")
    return f". Give what it takes by name as a dict: {{{named[0]!r}: tensor, ...}}" if named else ""


def _accepts_kind(parameters: Sequence[inspect.Parameter], kind: str) -> bool:
    return any(p.kind.name == kind for p in parameters)
