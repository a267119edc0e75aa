"""Weights that `torch.save` wrote, read without running code in the file."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgeexit.errors import InputError


def load_weights(module: nn.Module, path: Path) -> None:
    """Put a state_dict that `torch.save` wrote into the module. Only tensors are taken; code in the file is never run.

    Raises:
        InputError: no such file, damaged, holding more than tensors, or not fitting the module; every misfit is listed.
    """
    state = read_tensors(path)
    own = module.state_dict()
    faults = [f"lacks {k}" for k in own if k not in state]
    faults += [f"has {k}, which the module does not" for k in state if k not in own]
    faults += [
        f"{k} is {list(state[k].shape)} and the module's {list(v.shape)}"
        for k, v in own.items()
        if isinstance(state.get(k), Tensor) and state[k].shape != v.shape
    ]
    if faults:
        more = f"; and {len(faults) - 6} more" if len(faults) > 6 else ""
        msg = f"{path} does not fit the module: {'; '.join(faults[:6])}{more}"
        raise InputError(msg)
    module.load_state_dict(state)


_UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError)
"""What `torch.load` raises on files that it did not write, or that hold objects."""


def _why_unreadable(path: Path, said: str) -> str:
    """In our words: torch's own name an argument that would run the file's code."""
    objects = re.search(r"GLOBAL (\S+)", said)
    if objects is None:
        return f"{path} is damaged, or torch.save did not write it."
    return (
        f"{path} holds {objects[1]}, and only tensors are taken: code in a file is never run. Save the weights alone:"
        " torch.save(module.state_dict(), path)."
    )


def read_tensors(path: Path) -> dict[str, Any]:
    """A dict that `torch.save` wrote, on the CPU. Only tensors and plain values are taken; code in the file is never run.

    Raises:
        InputError: no such file, damaged, or holding other objects.
    """
    try:
        raw = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        msg = (
            f"no such file: {path}" if isinstance(error, FileNotFoundError) else f"cannot read {path}: {error.strerror}"
        )
        raise InputError(msg) from error
    except _UNREADABLE as error:
        raise InputError(_why_unreadable(path, str(error))) from error
    if not isinstance(raw, dict):
        msg = f"{path} holds a {type(raw).__name__}; a dict of tensors (a state_dict) is needed"
        raise InputError(msg)
    return raw
