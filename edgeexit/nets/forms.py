"""Return values of published networks, converted to the forms that `outputs` reads.

torch.stack([z1, z2, ...])            the list that was stacked
([z1, z2, ...],)                      the list inside
([z1, ...], [h1, ...], [0.4, 1.0])    without what holds no tensor
a dataclass, an output of Hugging Face   a dict, without what such outputs hold beside logits
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from edgeexit.errors import ModelError

_BESIDE_LOGITS = frozenset(
    {"loss", "hidden_states", "attentions", "past_key_values", "last_hidden_state", "pooler_output"}
)
"""Fields of Hugging Face outputs beside logits, which are not exits."""


class _Stacks(TorchFunctionMode):
    """Remembers of which tensors each stacked one was made."""

    def __init__(self) -> None:
        self.made: list[tuple[Tensor, list[Any]]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.stack:
            self.made.append((result, list(args[0] if args else kwargs["tensors"])))
        return result


@contextmanager
def remember_stacks() -> Iterator[Callable[[Tensor], list[Any] | None]]:
    """A function from a tensor that `torch.stack` makes in the body to those that were stacked; None for any other."""
    stacks = _Stacks()
    with stacks:
        yield lambda tensor: next((parts for made, parts in stacks.made if made is tensor), None)


def is_logits(value: Any) -> bool:
    """Whether a value is a tensor [batch, classes]."""
    return isinstance(value, Tensor) and value.ndim == 2 and value.shape[1] > 1


def is_logits_list(value: Any) -> bool:
    """Whether a value is a list of two or more tensors [batch, classes] of one width."""
    if not isinstance(value, tuple | list) or len(value) < 2 or not all(is_logits(v) for v in value):
        return False
    return len({v.shape[1] for v in value}) == 1


def convert_to_form(returned: Any, parts_of: Callable[[Tensor], list[Any] | None]) -> Any:
    """Convert what forward returned to one of the forms that `outputs` lists, if possible.

    Raises:
        ModelError: it holds a list of exits and other tensors beside it; with what to write.
    """
    returned = _unstack(returned, parts_of)
    if isinstance(returned, Iterator | deque):
        returned = list(returned)
    if is_dataclass(returned) and not isinstance(returned, type | Mapping):
        returned = {
            f.name: getattr(returned, f.name) for f in fields(returned) if getattr(returned, f.name) is not None
        }
    if isinstance(returned, Mapping):
        return _convert_mapping(returned)
    return _convert_sequence(returned) if isinstance(returned, tuple | list) else returned


def _unstack(value: Any, parts_of: Callable[[Tensor], list[Any] | None]) -> Any:
    """The same with lists in the place of tensors that were stacked of them."""
    if isinstance(value, Tensor):
        parts = parts_of(value)
        return value if parts is None or is_logits(value) else parts
    if type(value) in (list, tuple):
        return type(value)(_unstack(v, parts_of) for v in value)
    if type(value) is dict:
        return {k: _unstack(v, parts_of) for k, v in value.items()}
    return value


def _convert_mapping(value: Mapping[Any, Any]) -> Mapping[Any, Any]:
    kept = (
        {k: v for k, v in value.items() if is_logits(v) or not (k in _BESIDE_LOGITS or _holds_no_tensors(v))}
        if "logits" in value
        else dict(value)
    )
    lists = [k for k, v in kept.items() if is_logits_list(v)]
    if lists and not set(kept) <= {"logits", "scores"}:
        raise ModelError(_explain_choice(value, [f"[{k!r}]" for k in lists]))
    return kept


def _holds_no_tensors(value: Any) -> bool:
    """An object of its own, such as the cache of a language model."""
    return value is not None and not isinstance(value, Tensor | list | tuple | Mapping)


def _convert_sequence(value: Sequence[Any]) -> Sequence[Any]:
    if len(value) == 1 and is_logits_list(value[0]):
        return list(value[0])
    pairs = all(isinstance(v, tuple) and len(v) == 2 for v in value)
    lists = [i for i, v in enumerate(value) if is_logits_list(v)]
    if pairs or not lists:
        return value
    rest = [v for i, v in enumerate(value) if i != lists[0] and _holds_tensor(v)]
    if lists[0] == 0 and len(rest) <= 1 and not any(_holds_logits(v) for v in rest):
        return [value[0], *rest] if rest else list(value[0])
    raise ModelError(_explain_choice(value, [f"[{i}]" for i in lists]))


def _holds_tensor(value: Any) -> bool:
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    return isinstance(value, Tensor) or any(map(_holds_tensor, parts))


def _holds_logits(value: Any) -> bool:
    """Whether there is any tensor in it that is no score [batch] or [batch, 1]."""
    if isinstance(value, tuple | list):
        return any(map(_holds_logits, value))
    return value is not None and not (isinstance(value, Tensor) and tuple(value.shape[1:]) in ((), (1,)))


def _explain_choice(value: Any, places: Sequence[str]) -> str:
    """Advice for a result that holds a list of exits and other tensors."""
    only = f"returned{places[0]}"
    single = _place_of_single(value)
    also = f", or [*{only}, {single}] where {single} is the last exit and not among them" if single else ""
    return (
        f"forward returned a {describe_structure(value)}; say which of it are the exits, first exit first: "
        f"read=lambda returned: {only}{also}"
        f" (command line: --read FILE.py:FUNCTION)"
    )


def _place_of_single(value: Any) -> str:
    """Where a result holds logits of one width with its list of exits; empty where it holds none, or several."""
    items = list(value.items() if isinstance(value, Mapping) else enumerate(value))
    width = next(v[0].shape[1] for _, v in items if is_logits_list(v))
    places = [f"returned[{k!r}]" for k, v in items if is_logits(v) and v.shape[1] == width]
    return places[0] if len(places) == 1 else ""


def describe_structure(value: Any) -> str:
    """The structure of a result, as text."""
    if isinstance(value, Mapping):
        return f"{type(value).__name__} of {', '.join(f'{k}: {describe_structure(v)}' for k, v in value.items()) or 'nothing'}"
    if isinstance(value, tuple | list):
        if len(value) > 2 and len({describe_structure(v) for v in value}) == 1:
            return f"{type(value).__name__} of {len(value)} x {describe_structure(value[0])}"
        return f"{type(value).__name__} of ({', '.join(describe_structure(v) for v in value) or 'nothing'})"
    return f"tensor {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
