"""The state of a module around a look at it: its buffers and its mode are afterwards what they were before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from edgeexit.errors import ModelError


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[dict[nn.Module, bool]]:
    """Evaluation mode in the body, and every part as it was after it; gives what each was."""
    before = {m: m.training for m in module.modules()}
    try:
        module.eval()
    except NotImplementedError as error:  # its programs keep the mode and the shapes that they were exported with
        msg = "the module was made by torch.export, which cannot export it again: give the module as it was before"
        raise ModelError(msg) from error
    try:
        yield before
    finally:
        for part, training in before.items():
            part.training = training


@contextmanager
def restore_buffers(module: nn.Module) -> Iterator[None]:
    """The buffers are those from before, with the values from before, whatever the body does to them."""
    tables = [m._buffers for m in module.modules() if isinstance(m._buffers, dict)]  # noqa: SLF001 - empty ones have no other place
    registered = [(table, dict(table)) for table in tables]
    values = [(buffer, buffer.clone()) for buffer in module.buffers() if _is_writable(buffer)]
    try:
        yield
    finally:
        for now, before in registered:
            now.clear()
            now.update(before)
        for buffer, value in values:
            if not torch.equal(buffer, value):
                buffer.copy_(value)


def _is_writable(buffer: Tensor) -> bool:
    """Not one that has no values yet, nor one whose places share memory, as torch writes into neither."""
    return not is_lazy(buffer) and buffer.layout == torch.strided and 0 not in buffer.stride()
