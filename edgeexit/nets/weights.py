"""Weights from a checkpoint, read without running code in the file: of `torch.save` or safetensors, plain, nested or prefixed."""

from __future__ import annotations

import argparse
import errno
import pickle
import re
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeexit.errors import InputError
from edgeexit.nets.published_names import NAME_MAPS
from edgeexit.nets.safetensors import is_safetensors, read_safetensors
from edgeexit.util.arguments import check_regular_file

_PLACES = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params", "module")
"""Keys under which training scripts store the weights, the likeliest first."""

_DEEPEST = 3
_SHOWN = 3


@dataclass(frozen=True)
class WeightsLocation:
    """Location of a module's weights in a checkpoint.

    Attributes:
        place: the keys that lead to them, such as `state_dict`; empty where the file holds nothing else.
        prefix: what stands before every name there, such as `module.`; with a plus where it stands before those of the module instead.
        others: further places whose weights fit as well.
        names: the published repository whose names of weights they have there; empty where they have the module's own.
    """

    place: str = ""
    prefix: str = ""
    others: tuple[str, ...] = ()
    names: str = ""

    def __str__(self) -> str:
        """As text; empty where the file is a plain state_dict."""
        parts = [f"weights from {self.place!r}"] if self.place else []
        if self.prefix:
            word = "with" if self.prefix.startswith("+") else "without"
            parts.append(f"{word} the prefix {self.prefix.removeprefix('+')!r}")
        parts += [f"{', '.join(map(repr, self.others))} would fit, too"] if self.others else []
        parts += [f"under the names of {self.names}"] if self.names else []
        return ", ".join(parts)


def load_weights(module: nn.Module, path: Path) -> WeightsLocation:
    """Put the weights of a checkpoint into the module. Only tensors are taken; code in the file is never run.

    The weights may lie in a dict inside (`{"state_dict": ..., "epoch": 3}`), and their names may have a common prefix (`module.` of
    DataParallel). The module may also be edgeexit's `msdnet` or `eenet` and the weights those of the published repositories.

    Args:
        module: all its weights must be there, in their shapes.
        path: path of a file that `torch.save` or safetensors wrote, or of the index of a safetensors file in several parts.

    Returns:
        where in the file they were.

    Raises:
        InputError: no such file, damaged, holding more than tensors, or not fitting the module; every misfit is counted.
    """
    raw = read_checkpoint(path)
    own = module.state_dict()
    completed = [(place, prefix, _add_left_out(own, state)) for place, prefix, state in _list_candidates(raw, own)]
    fitting = [(place, prefix, state) for place, prefix, state in completed if not _find_misfits(own, state)]
    if not fitting:
        found = _load_renamed(module, raw, path)
        if found is None:
            raise InputError(_explain_misfit(path, raw, own))
        return found
    place, prefix, state = fitting[0]
    module.load_state_dict(state)
    others = dict.fromkeys(other or "the file itself" for other, _, _ in fitting[1:] if other != place)
    return WeightsLocation(place, prefix, tuple(others))


def _load_renamed(module: nn.Module, raw: Mapping[str, Any], path: Path) -> WeightsLocation | None:
    """Load weights that have the names of a published repository; None where there are none of them.

    Raises:
        InputError: they are of the module's network, with other options.
    """
    own = module.state_dict()
    for place, held in _list_dicts(raw):
        for repository, rename in NAME_MAPS.items():
            renamed = rename(held)
            if renamed is None or 2 * len(own.keys() & renamed.keys()) < len(own):
                continue
            state, where = _add_left_out(own, renamed), WeightsLocation(place, names=repository)
            if faults := _find_misfits(own, state):
                raise InputError(f"{path} ({where}) does not fit the module: {_format_faults(faults)}")
            module.load_state_dict(state)
            return where
    return None


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """What a checkpoint holds, nested as it is, by name.

    Raises:
        InputError: no such file, damaged, or holding more than tensors and plain values.
    """
    check_regular_file(path)  # which kind it is shows only when it is opened
    return read_safetensors(path) if is_safetensors(path) else read_tensors(path)


_COUNTER = "num_batches_tracked"
"""Of batch normalisation; checkpoints of PyTorch before 0.4.1 lack it, and evaluation does not need it."""


def _add_left_out(own: Mapping[str, Tensor], state: dict[str, Any]) -> dict[str, Any]:
    """The weights with what files may leave out: counters of batches, and further names of a tensor that is there."""
    names = {tensor.data_ptr(): name for name, tensor in own.items() if name in state and tensor.numel()}
    added: dict[str, Any] = {}
    for name, tensor in own.items():
        shared = state.get(names.get(tensor.data_ptr(), ""))
        if name in state:
            continue
        if name.rpartition(".")[2] == _COUNTER:
            added[name] = tensor
        elif isinstance(shared, Tensor) and shared.shape == tensor.shape:
            added[name] = shared
    return state | added


def _list_candidates(raw: Mapping[str, Any], own: Mapping[str, Tensor]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Place, prefix and weights of every dict in a checkpoint, each under every prefix that one of the module's names has there."""
    for place, held in _list_dicts(raw):
        yield place, "", dict(held)
        for prefix in _list_prefixes(held, own):
            yield place, prefix, {k.removeprefix(prefix): v for k, v in held.items() if k.startswith(prefix)}
        for prefix in _list_prefixes(own, held):
            yield place, f"+{prefix}", {f"{prefix}{k}": v for k, v in held.items()}


def _list_dicts(raw: Mapping[str, Any], place: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every dict with names of text, outer ones first, by the likeliest place."""
    yield place, {k: v for k, v in raw.items() if isinstance(k, str)}
    inner = [k for k, v in raw.items() if isinstance(k, str) and isinstance(v, Mapping)]
    for key in sorted(inner, key=lambda k: _PLACES.index(k) if k in _PLACES else len(_PLACES)):
        if depth < _DEEPEST:
            yield from _list_dicts(raw[key], f"{place}.{key}" if place else key, depth + 1)


def _list_prefixes(held: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Prefixes in `held` before the first name of `own`, shortest first."""
    first = next(iter(own), "")
    found = [name.removesuffix(first) for name in held if first and name.endswith(f".{first}")]
    return sorted(found, key=len)


def _find_misfits(own: Mapping[str, Tensor], state: Mapping[str, Any]) -> list[str]:
    faults = [f"lacks {k}" for k in own if k not in state]
    faults += [f"has {k}, which the module does not" for k in state if k not in own]
    faults += [
        f"{k} is {list(state[k].shape)} and the module's {list(v.shape)}"
        for k, v in own.items()
        if isinstance(state.get(k), Tensor) and state[k].shape != v.shape
    ]
    return faults + [f"{k} is no tensor" for k in own if k in state and not isinstance(state[k], Tensor)]


def _explain_misfit(path: Path, raw: Mapping[str, Any], own: Mapping[str, Tensor]) -> str:
    """The misfits of the dict that fits best, a few of each kind."""

    def rank(candidate: tuple[str, str, dict[str, Any]]) -> tuple[int, bool, int]:
        _, prefix, state = candidate
        common = len(own.keys() & state.keys())
        tensors = sum(isinstance(v, Tensor) for v in state.values())
        return (-common if 2 * common > len(own) else 0, bool(prefix), -tensors)

    place, prefix, state = min(_list_candidates(raw, own), key=rank)
    faults = _find_misfits(own, state)
    where = str(WeightsLocation(place, prefix))
    return f"{path}{f' ({where})' if where else ''} does not fit the module: {_format_faults(faults)}"


def _format_faults(faults: list[str]) -> str:
    """A few of each kind."""
    lacking = _summarize_faults(faults, "lacks ")
    strange = _summarize_faults(faults, "has ")
    shapes = _summarize_faults([f for f in faults if not f.startswith(("lacks ", "has "))], "")
    return "; ".join(filter(None, (lacking, strange, shapes)))


def _summarize_faults(faults: list[str], kind: str) -> str:
    """The first faults that begin with `kind`, and how many more there are."""
    those = [f for f in faults if f.startswith(kind)]
    more = f" and {len(those) - _SHOWN} more" if len(those) > _SHOWN else ""
    return f"{'; '.join(those[:_SHOWN])}{more}"


_UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError)
"""Exceptions of `torch.load` for files that it did not write, or that hold objects."""


def _explain_unreadable(path: Path, reason: str) -> str:
    """Our own message: torch's message suggests an argument that would run the file's code."""
    objects = re.search(r"GLOBAL (\S+)", reason)
    if objects is None:
        return f"{path} is damaged, or torch.save did not write it."
    return (
        f"{path} holds {objects[1]}, and only tensors are taken: code in a file is never run. Save only the weights:"
        " torch.save(module.state_dict(), path)."
    )


def _list_safe_types() -> list[Any]:
    """Types in checkpoints besides tensors that cannot run code when read: command-line options, NumPy scalars."""
    scalar = np.float64(0).__reduce__()[0]
    dtypes = [getattr(np.dtypes, name) for name in dir(getattr(np, "dtypes", None)) if name.endswith("DType")]
    return [argparse.Namespace, OrderedDict, defaultdict, np.dtype, scalar, *dtypes]


def read_tensors(path: Path) -> dict[str, Any]:
    """A dict that `torch.save` wrote, on the CPU. Only tensors and plain values are taken; code in the file is never run.

    Raises:
        InputError: no such file, damaged, or holding other objects.
    """
    check_regular_file(path)
    try:
        with torch.serialization.safe_globals(_list_safe_types()):
            raw = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        if error.errno == errno.EINVAL:  # torch seeks where a file that was cut off has nothing
            raise InputError(_explain_unreadable(path, "")) from error
        msg = (
            f"no such file: {path}" if isinstance(error, FileNotFoundError) else f"cannot read {path}: {error.strerror}"
        )
        raise InputError(msg) from error
    except _UNREADABLE as error:
        raise InputError(_explain_unreadable(path, str(error))) from error
    if not isinstance(raw, dict):
        msg = f"{path} holds a {type(raw).__name__}; a dict of tensors (a state_dict) is needed"
        raise InputError(msg)
    return raw
