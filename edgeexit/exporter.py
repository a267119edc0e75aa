"""From torch: a module whose forward returns every exit, as one ONNX file that says where its exits are.

    edgeexit.export(module, example, "model.onnx")

    forward ─► read its exits ─► torch.onnx.export ─► name the exits ─► compare with eager ─► write, whole or not at all
               (nets.outputs)    (graph exporter)     (metadata)        (ONNX Runtime)

The metadata property `edgeexit.exits` holds a JSON list of `{"name", "logits", "score"}`, first exit first; `score` is null where the
exit has none. `edgeexit compile` reads it.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgeexit.arguments import as_names
from edgeexit.backends.base import Settings
from edgeexit.backends.onnxruntime import open_session, refusals
from edgeexit.data.files import replacing
from edgeexit.errors import InternalError, MissingExtra, ModelError

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise MissingExtra("torch", "torch") from error

from edgeexit.graph.exits import METADATA_KEY
from edgeexit.nets.cascade import cascade
from edgeexit.nets.outputs import Exit, mark_exit, run_exits
from edgeexit.nets.targets import users_code

__all__ = ["Example", "Exported", "cascade", "export", "mark_exit"]

DEFAULT_OPSET = 18
"""The lowest opset that torch's graph exporter writes without conversion; every supported runtime reads it."""

TOLERANCE = 1e-4
"""Largest difference from eager, as a share of the largest logit's magnitude (at least 1)."""

_TOLERANCES = {torch.float16: 1e-2, torch.bfloat16: 8e-2}
"""The same where the module computes in fewer bits: about ten roundings."""

_EXTERNAL_BYTES = 2**31 - 2**24
"""Weights above this go into a second file: a protobuf message ends at 2 GiB."""

Example: TypeAlias = "Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]"


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the ONNX file.
        exits: names, first exit first.
        inputs: name and shape of each input; the batch is None where it is dynamic.
        opset: of the default domain.
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
) -> Exported:
    """Write the module as ONNX with every exit as an output, and compare it with eager.

    Args:
        module: its forward returns or marks every exit; `edgeexit.nets.outputs` lists the forms. It is exported in evaluation mode
            and left in the mode it was in.
        example: one input [batch, ...], a tuple of inputs, or a dict of inputs by the names of forward's parameters. Its values do
            not matter beyond being possible ones; its shapes, without the batch, become those of the model.
        path: of the file. It is written beside itself and moved into place. Weights of 2 GiB and more go into `<path>.data`.
        names: of the exits; otherwise the dict keys, marks or exit1, exit2, ...
        dynamic_batch: any batch, named "batch"; else the batch is 1.
        opset: of ONNX, 18 or later for files that torch writes without conversion.
        metadata: further properties of the file, such as the fingerprint of the training data (`edgeexit.data.fingerprint`).

    Returns:
        Names, shapes and how far the file is from eager.

    Raises:
        ModelError: forward does not return exits, or cannot be exported, or depends on the batch size.
        MissingExtra: onnxscript is not installed.
        InputError: the file cannot be written; `names` is no list of names.
        InternalError: the file computes something else than eager.
    """
    names = as_names("names", names)
    inputs = _arguments(module, example)
    with _evaluation_mode(module), torch.no_grad():
        rows = {name: x[:1].repeat(2 if dynamic_batch else 1, *[1] * (x.ndim - 1)) for name, x in inputs.items()}
        exits = _eager(module, rows, names)
        _check_names(inputs, exits)
        model = _onnx_model(module, rows, exits, dynamic_batch=dynamic_batch, opset=opset)
        _name_exits(model, exits)
        model.metadata_props.update(metadata or {})
        with replacing(path) as scratch:
            _save(model, scratch, module)
            difference, checked = _compare(module, scratch, inputs, exits, dynamic_batch=dynamic_batch)
    shapes = {name: (None if dynamic_batch else 1, *x.shape[1:]) for name, x in inputs.items()}
    return Exported(Path(path), tuple(e.name for e in exits), shapes, opset, difference, checked)


# ---------------------------------------------------------------- inputs


def _arguments(module: object, example: Example) -> dict[str, Tensor]:
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


# ---------------------------------------------------------------- torch to ONNX


class _EveryExit(nn.Module):
    """The module with a flat tuple of tensors as its result, which is what an ONNX graph can return."""

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.module = module
        self.names = tuple(names)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        exits = run_exits(self.module, *inputs, names=self.names)
        return tuple(t for e in exits for t in (e.logits, e.score) if t is not None)


def _eager(module: nn.Module, inputs: Mapping[str, Tensor], names: Sequence[str] | None) -> list[Exit]:
    shapes = ", ".join(f"{name} {list(x.shape)} {x.dtype}" for name, x in inputs.items())
    hint = f" {_FIXED_BATCH}" if any(len(x) > 1 for x in inputs.values()) else ""
    try:
        with users_code(f"forward failed on the example ({shapes})"):
            return run_exits(module, *inputs.values(), names=names)
    except ModelError as error:
        if error.__cause__ is None:  # ours, of the form
            raise
        raise ModelError(f"{error}.{hint}") from error.__cause__


def _check_names(inputs: Iterable[str], exits: Sequence[Exit]) -> None:
    """A graph has one name for one tensor: its inputs, every exit's logits and every exit's score."""
    taken = [*inputs, *(name for e in exits for name in _output_names(e) if name is not None)]
    twice = sorted({name for name in taken if taken.count(name) > 1})
    if twice:
        msg = (
            f"{', '.join(map(repr, twice))} would name two tensors of the file: an exit may not have the name of an input, nor of "
            "another exit's score, which is the exit's name with _score. Give other names (names=[...], --names)"
        )
        raise ModelError(msg)


def _onnx_model(
    module: nn.Module, inputs: Mapping[str, Tensor], exits: Sequence[Exit], *, dynamic_batch: bool, opset: int
) -> Any:
    """The module as an onnx_ir model."""
    wrapper = _EveryExit(module, [e.name for e in exits]).eval()
    batch = torch.export.Dim("batch", min=1) if dynamic_batch else None
    dynamic = {"inputs": tuple({0: batch} for _ in inputs)} if dynamic_batch else None
    outputs = [name for e in exits for name in _output_names(e) if name is not None]
    try:
        with _quiet():
            program = torch.onnx.export(
                wrapper,
                tuple(inputs.values()),
                dynamo=True,
                verbose=False,
                opset_version=opset,
                input_names=list(inputs),
                output_names=outputs,
                dynamic_shapes=dynamic,
            )
    except ImportError as error:
        raise MissingExtra("onnxscript", "torch") from error
    except torch.onnx.OnnxExporterError as error:
        raise _cannot_export(error, dynamic_batch=dynamic_batch) from error
    assert program is not None
    written = program.model.opset_imports[""]
    if written != opset:  # torch converts downwards where it can, and keeps its own where it cannot
        msg = f"torch cannot write this module in opset {opset}, only in {written}; leave the opset out"
        raise ModelError(msg)
    if dynamic_batch:
        _check_batch(program.model)
    return program.model


def _check_batch(model: Any) -> None:
    """Torch may fix a batch that was asked to be free, as where forward says `len(x)`, and say nothing."""
    fixed = [v.name for v in (*model.graph.inputs, *model.graph.outputs) if isinstance(v.shape[0], int)]
    if fixed:
        msg = f"the batch of {', '.join(fixed)} is fixed by forward (`len(x)` fixes it, `x.shape[0]` does not). {_FIXED_BATCH}"
        raise ModelError(msg)


def _cannot_export(error: Exception, *, dynamic_batch: bool) -> ModelError:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    reason = next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
    hint = f" {_FIXED_BATCH}" if dynamic_batch else ""
    return ModelError(
        f"torch cannot export this module: {reason}. forward must compute every exit and return it, with no `if` on values; "
        f"edgeexit decides where to stop when it runs.{hint}"
    )


_FIXED_BATCH = "If the graph depends on the batch size, ask for a batch of 1 (dynamic_batch=False, --batch-1)."


@contextmanager
def _quiet() -> Iterator[None]:
    """Torch's exporter warns about its own deprecated calls and about packages that nobody asked for."""
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in ("torch.onnx", "onnxscript")}
    for logger in levels:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


@contextmanager
def _evaluation_mode(module: nn.Module) -> Iterator[None]:
    modes = {m: m.training for m in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for m, training in modes.items():
            m.training = training


# ---------------------------------------------------------------- the file


def _output_names(e: Exit) -> tuple[str, str | None]:
    return e.name, None if e.score is None else f"{e.name}_score"


def _name_exits(model: Any, exits: Sequence[Exit]) -> None:
    """Write the exits into the metadata, and leave out what the exporter noted about the machine it ran on."""
    for graph in (model.graph, *[f.graph for f in model.functions.values()]):
        graph.metadata_props.clear()
        for node in graph.all_nodes():
            node.metadata_props.clear()
            node.doc_string = None
        for value in graph.initializers.values():
            value.metadata_props.clear()
    for name in [n for n in model.graph.initializers if n.startswith("module.")]:
        model.graph.initializers[name].name = name.removeprefix("module.")
    _make_way(model.graph)
    table = [dict(zip(("name", "logits", "score"), (e.name, *_output_names(e)), strict=True)) for e in exits]
    model.metadata_props.clear()
    model.metadata_props[METADATA_KEY] = json.dumps(table)
    model.producer_name, model.producer_version = "edgeexit", ""
    model.graph.name = "edgeexit"


def _make_way(graph: Any) -> None:
    """Rename what inside the graph has the name of one of its inputs or outputs: an exit may be called `linear`, as the exporter's own."""
    ends = [*graph.inputs, *graph.outputs]
    inner = [*graph.initializers.values(), *(value for node in graph.all_nodes() for value in node.outputs)]
    taken = {value.name for value in (*ends, *inner)}
    for value in inner:
        if value.name in {end.name for end in ends if end is not value}:
            value.name = next(n for i in count(1) if (n := f"{value.name}.{i}") not in taken)
            taken.add(value.name)


def _save(model: Any, path: Path, module: nn.Module) -> None:
    import onnx_ir

    size = sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))
    onnx_ir.save(model, path, external_data=f"{path.name}.data" if size > _EXTERNAL_BYTES else None)


# ---------------------------------------------------------------- the comparison


def _compare(
    module: nn.Module, path: Path, inputs: Mapping[str, Tensor], exits: Sequence[Exit], *, dynamic_batch: bool
) -> tuple[float, int]:
    """Largest relative difference between the file and eager over a few random batches, and how many there were."""
    refused = "ONNX Runtime cannot run the exported file"
    with refusals(refused):
        session = open_session(path, Settings(), batch_1=False)
    names = [e.name for e in exits]
    batches = [1, 3, 1, 5] if dynamic_batch else [1] * 4
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for rows in batches:
        feed = {name: _random_like(x, rows, generator) for name, x in inputs.items()}
        want = _tensors(_eager(module, feed, names))
        with refusals(refused):
            got = session.run(None, {name: x.cpu().numpy() for name, x in feed.items()})
        worst = max(worst, *(_difference(w, g) for w, g in zip(want, got, strict=True)))
    limit = _tolerance(module, inputs, exits)
    if worst > limit:
        msg = f"the exported file differs from eager by {worst:.2e} of the largest logit (at most {limit:.0e} is taken)"
        raise InternalError(msg)
    return worst, len(batches)


def _tensors(exits: Sequence[Exit]) -> list[NDArray[np.float32]]:
    """Logits and scores of every exit, in the order of the file's outputs."""
    tensors = [t.detach().cpu().float().numpy() for e in exits for t in (e.logits, e.score) if t is not None]
    if not all(np.isfinite(t).any() for t in tensors):
        msg = "forward gives no finite number on random inputs of the example's shape, so the file cannot be compared with it"
        raise ModelError(msg)
    return tensors


def _tolerance(module: nn.Module, inputs: Mapping[str, Tensor], exits: Sequence[Exit]) -> float:
    """That of the coarsest numbers that the module reads, keeps or returns."""
    tensors = [*inputs.values(), *module.parameters(), *(e.logits for e in exits)]
    return max(_TOLERANCES.get(t.dtype, TOLERANCE) for t in tensors)


def _random_like(example: Tensor, rows: int, generator: torch.Generator) -> Tensor:
    """Noise of the example's shape and dtype; integers are drawn from the example's own, which may be the only legal ones."""
    shape = (rows, *example.shape[1:])
    if example.is_floating_point():
        return torch.randn(shape, generator=generator).to(example)
    picks = torch.randint(example.numel(), (int(np.prod(shape)),), generator=generator)
    return example.flatten()[picks.to(example.device)].reshape(shape)


def _difference(want: NDArray[np.float32], got: NDArray[Any]) -> float:
    """Largest difference as a share of the largest magnitude, over finite entries; infinite where others do not agree.

    A masked class has a logit of -inf, in the file as in eager.
    """
    if want.shape != got.shape:
        return float("inf")
    finite = np.isfinite(want) & np.isfinite(got)
    if not np.array_equal(want[~finite], got[~finite], equal_nan=True):
        return float("inf")
    want, got = want[finite], got[finite].astype(np.float32)
    return float(np.abs(want - got).max(initial=0.0) / max(1.0, float(np.abs(want).max(initial=0.0))))
