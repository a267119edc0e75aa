"""From torch: a module whose forward returns every exit, as one ONNX file that says where its exits are.

    edgeexit.export(module, example, "model.onnx")

    forward ─► read its exits ─► torch.onnx.export ─► name the exits ─► compare with eager ─► write, whole or not at all
    (example)  (eager)           (conversion)         (onnx_file)       (comparison)

The metadata property `edgeexit.exits` holds a JSON list of `{"name", "logits", "score"}`, first exit first; `score` is null where the
exit has none. `edgeexit.criterion` holds the criterion and the thresholds of the method, where the caller gives them. `edgeexit compile`
reads both.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexit.errors import MissingExtra, ModelError
from edgeexit.util.arguments import as_names
from edgeexit.util.atomic import replace_atomically

try:
    import torch
    from torch import nn
except ImportError as error:
    raise MissingExtra("torch", "torch") from error

from edgeexit.exporter.comparison import check_repeats, compare
from edgeexit.exporter.conversion import DEFAULT_OPSET, convert_to_onnx
from edgeexit.exporter.eager import DECIDES, run_eager_exits
from edgeexit.exporter.modes import export_mode, make_training_hint
from edgeexit.exporter.onnx_file import as_properties, check_dtypes, check_names, name_exits, save
from edgeexit.graph.criterion_record import make_criterion_record
from edgeexit.nets.cascade import cascade
from edgeexit.nets.example import Example, TransformedOutput, wrap_by_position
from edgeexit.nets.outputs import mark_exit

__all__ = ["Example", "ExportWarning", "Exported", "cascade", "export", "mark_exit"]


class ExportWarning(UserWarning):
    """A file was written that is of no use for early exits."""


@dataclass(frozen=True)
class Exported:
    """The exported file.

    Attributes:
        path: the ONNX file.
        exits: names, first exit first.
        inputs: name and shape of each input; the batch is None where it is dynamic.
        opset: version of the default operator set.
        largest_difference: from eager, over all exits and checked inputs, as a share of the largest logit's magnitude.
        checked_inputs: how many random batches were compared.
    """

    path: Path
    exits: tuple[str, ...]
    inputs: dict[str, tuple[int | None, ...]]
    opset: int
    largest_difference: float
    checked_inputs: int


def export(
    module: nn.Module,
    example: Example,
    path: str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
    dynamic_batch: bool = True,
    opset: int = DEFAULT_OPSET,
    metadata: Mapping[str, str] | None = None,
    criterion: str | None = None,
    thresholds: float | Sequence[float] | None = None,
    fallback: str | None = None,
    read: Callable[[Any], Any] | None = None,
    training_forward: bool = False,
) -> Exported:
    """Write the module as ONNX with every exit as an output, and compare it with eager.

    Args:
        module: its forward returns or marks every exit; `edgeexit.nets.outputs` lists the forms. It is exported in evaluation mode
            and left in the mode it was in, with the buffers it had.
        example: one input [batch, ...], a tuple of inputs, or a dict of inputs by the names of forward's parameters; those that forward
            takes by keyword need a dict. Its values do not matter beyond being possible ones; its shapes, without the batch, become
            those of the model.
        path: path of the file. It is written beside itself and moved into place. Weights of 2 GiB and more go into `<path>.data`.
        names: names of the exits; otherwise the dict keys, marks or exit1, exit2, ...
        dynamic_batch: any batch, named "batch"; else the batch is 1.
        opset: operator set of ONNX, 18 or later for files that torch writes without conversion.
        metadata: further properties of the file, text by name, such as the fingerprint of the training data
            (`edgeexit.data.fingerprint`).
        criterion: exit criterion that the network was trained for; `edgeexit.compile` takes it where it is given none.
        thresholds: thresholds that belong to the method, such as EENet's 0.5, in the criterion's own unit: one per exit but the last, or
            one for all. A bundle uses them where it has no calibration. Without `criterion` they are those of `learned`.
        fallback: what answers an input that left at no early exit, where the method has another answer than the last exit's; see
            `edgeexit.compile`, which takes it where it is given none.
        read: takes the exits out of what forward returns, such as `lambda returned: returned[0]`; None where forward returns them.
        training_forward: export what forward returns in training mode, where that lists every exit; batch normalisation, dropout and
            all other modules of `torch.nn` still compute as in evaluation.

    Warns:
        ExportWarning: there is one exit only, which cannot be compiled.

    Returns:
        Names, shapes and how far the file is from eager.

    Raises:
        ModelError: forward does not return exits, gives other answers each time, cannot be exported, or depends on the batch size.
        MissingExtra: onnxscript is not installed.
        InputError: the file cannot be written; `names` is not a list of names; `metadata` is not text; another number of thresholds than of
            early exits, or thresholds whose criterion is not clear.
        InternalError: the file computes something else than eager.

    Example:
        >>> import edgeexit, torch
        >>> class Net(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.body, self.early, self.last = (torch.nn.Linear(8, n) for n in (8, 3, 3))
        ...
        ...     def forward(self, x):
        ...         h = self.body(x).relu()
        ...         return [self.early(x), self.last(h)]
        >>> exported = edgeexit.export(Net(), torch.zeros(1, 8), "net.onnx")
    """
    names = as_names("names", names)
    properties = as_properties(metadata)
    module, inputs = wrap_by_position(module, example)
    if read is not None:
        module = TransformedOutput(module, read)
    with export_mode(module, training_forward=training_forward), torch.no_grad():
        rows = {name: x[:1].repeat(2 if dynamic_batch else 1, *[1] * (x.ndim - 1)) for name, x in inputs.items()}
        with _add_training_hint(module, rows):
            exits = run_eager_exits(module, rows, names)
            check_names(inputs, exits)
            check_dtypes(exits)
            scored = sum(e.score is not None for e in exits[:-1])
            record = make_criterion_record(criterion, thresholds, [e.name for e in exits], scored, fallback)
            check_repeats(module, rows, exits)
            model = convert_to_onnx(module, rows, exits, dynamic_batch=dynamic_batch, opset=opset)
        name_exits(model, exits)
        model.metadata_props.update(properties | (record.as_metadata() if record is not None else {}))
        with replace_atomically(path) as scratch:
            save(model, scratch, module)
            difference, checked = compare(module, scratch, inputs, exits, dynamic_batch=dynamic_batch)
        if len(exits) == 1:
            _warn_about_one_exit(module, rows, exits[0].name)
    shapes = {name: (None if dynamic_batch else 1, *x.shape[1:]) for name, x in inputs.items()}
    return Exported(Path(path), tuple(e.name for e in exits), shapes, opset, difference, checked)


@contextmanager
def _add_training_hint(module: nn.Module, rows: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Add to what is wrong with forward, or with its export, that its training branch returns more exits."""
    try:
        yield
    except ModelError as error:
        hint = (
            "" if module.training else make_training_hint(module, rows, _count_exits_in_evaluation(error, module, rows))
        )
        if not hint:
            raise
        raise ModelError(f"{error}{hint}") from error.__cause__


def _count_exits_in_evaluation(error: ModelError, module: nn.Module, rows: Mapping[str, torch.Tensor]) -> int:
    """How many exits forward returns in evaluation; 0 where the error is that it decides which, or fails."""
    with suppress(ModelError):
        return 0 if DECIDES in str(error) else len(run_eager_exits(module, rows, None))
    return 0


def _warn_about_one_exit(module: nn.Module, rows: Mapping[str, torch.Tensor], name: str) -> None:
    hint = (
        make_training_hint(module, rows, 1)
        or " Let forward return or mark (edgeexit.mark_exit) the logits of every exit."
    )
    msg = f"forward returns one exit ({name}), and edgeexit compiles networks of two or more.{hint}"
    warnings.warn(msg, ExportWarning, stacklevel=3)
