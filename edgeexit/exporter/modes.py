"""The mode in which forward runs while a module is exported: evaluation, or with forward's own training branch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from edgeexit.errors import ModelError
from edgeexit.exporter.eager import run_eager_exits
from edgeexit.nets.state import evaluation_mode


@contextmanager
def export_mode(module: nn.Module, *, training_forward: bool = False) -> Iterator[None]:
    """Evaluation mode in the body, and every part as it was after it.

    Args:
        module: the module.
        training_forward: set the training flag of the module and of those inside it that hold others, but not of those of `torch.nn`:
            forward takes its training branch, which lists every exit, while normalisation, dropout and other layers still compute as
            in evaluation.
    """
    with evaluation_mode(module) as before:
        for part in before:
            part.training = training_forward and (part is module or _decides(part))
        yield


def _decides(part: nn.Module) -> bool:
    """Whether a part may have a training branch that lists exits; layers, which hold no others, have one that draws or learns."""
    is_layer = isinstance(part, _NormBase | _DropoutNd) or type(part).__module__.startswith("torch.nn.")
    return not is_layer and any(True for _ in part.children())


def make_training_hint(module: nn.Module, inputs: Mapping[str, Tensor], found: int) -> str:
    """What to do where forward returns more exits in its training branch than the `found`; empty where it does not."""
    count, with_option = 0, "training_forward=True (--training-forward)"
    try:
        with export_mode(module, training_forward=True):
            count = len(run_eager_exits(module, inputs, None))
    except ModelError as error:
        if (
            found == 1 and error.__cause__ is None
        ):  # another form than in evaluation, whose exit cannot be compiled alone
            return f" In training mode {error}; with {with_option}."
    if count <= max(found, 1):
        return ""
    return f" In training mode forward returns {count} exits: export those with {with_option}."
