"""`edgeexit export`: a torch module with every exit, as ONNX."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from edgeexit.cli.common import Json, emit, parse_numbers, redirect_user_output
from edgeexit.cli.data import NewClassNames, NewPreprocessing
from edgeexit.cli.factories import Checkpoint, FactoryOptions, make_data_record, parse_factory_options
from edgeexit.cli.network import NetworkToExport, open_network
from edgeexit.errors import InputError
from edgeexit.util import units
from edgeexit.util.documents import to_document

if TYPE_CHECKING:
    from torch import Tensor

    from edgeexit.exporter import Exported

    _Example: TypeAlias = Tensor | tuple[Tensor, ...] | dict[str, Tensor]

_Target: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="A network of edgeexit (lenet), package.module:factory, file.py:factory, or a recipe of a published repository (msdnet.toml)."
    ),
]
_Output: TypeAlias = Annotated[Path, typer.Option("--output", "-o", help="The ONNX file to write.")]
_Inputs: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--input", help="Shape of one sample: 3x32x32 (or 3,32,32), name=3x32x32 or name=128:int64. Once per input."
    ),
]
_Checkout: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Folder of your checkout of the published repository. [default: the current folder]"),
]
_Names: TypeAlias = Annotated[str | None, typer.Option(help="Names of the exits, joined by commas.")]
_FixedBatch: TypeAlias = Annotated[bool, typer.Option("--batch-1", help="Fix the batch at 1; else it is dynamic.")]
_Opset: TypeAlias = Annotated[int, typer.Option(help="ONNX opset.")]
_TrainingForward: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--training-forward",
        help="Export what forward returns in training mode; batch norm and dropout stay in evaluation.",
    ),
]
_Read: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="FILE.py:FUNCTION", help="Function that takes the exits out of what forward returns."),
]
_Criterion: TypeAlias = Annotated[
    str | None, typer.Option(help="Exit criterion that the network was trained for; compile takes it by default.")
]
_DefaultThresholds: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--thresholds",
        help="Thresholds that belong to the method, used where there is no calibration: one per early exit, or one for all.",
    ),
]


def export_command(
    target: _Target,
    output: _Output,
    inputs: _Inputs = None,
    checkpoint: Checkpoint = None,
    checkout: _Checkout = None,
    option: FactoryOptions = None,
    names: _Names = None,
    fixed_batch: _FixedBatch = False,
    opset: _Opset = 18,
    training_forward: _TrainingForward = False,
    read: _Read = None,
    criterion: _Criterion = None,
    thresholds: _DefaultThresholds = None,
    preprocess: NewPreprocessing = None,
    classes: NewClassNames = None,
    as_json: Json = False,
) -> None:
    """Write a torch module whose forward returns every exit as ONNX, exits named in its metadata, compared with eager.

    The module's file is run, as Python runs any module that it imports.

    Example: edgeexit export lenet --checkpoint runs/digits/joint.pt -o lenet.onnx
    """
    from edgeexit.exporter import export
    from edgeexit.nets.modules import load_function

    record = make_data_record(preprocess, classes)
    example = _parse_example(inputs) if inputs else None
    options = _list_shape_option(target, example) | parse_factory_options(option)
    given = None if thresholds is None else parse_numbers("--thresholds", thresholds)
    with redirect_user_output(), open_network(target, options, checkpoint, checkout) as made:
        exported = export(
            made.module,
            _parse_example(_get_input_shapes(target, made)) if example is None else example,
            output,
            names=names.split(",") if names else None,
            dynamic_batch=not fixed_batch,
            opset=opset,
            read=load_function(read) if read is not None else None,
            training_forward=training_forward or (made.recipe is not None and made.recipe.training_forward),
            criterion=made.choose_criterion(criterion),
            thresholds=made.convert_thresholds(criterion, given),
            fallback=None if made.recipe is None else made.recipe.fallback,
            metadata=record.as_metadata(),
        )
    emit(_make_document(exported, made), lambda: _print(exported, made), as_json=as_json)


def _list_shape_option(target: str, example: _Example | None) -> dict[str, Any]:
    """A network of edgeexit is built for the sample that is given."""
    from edgeexit.nets import NETS

    if target not in NETS or not isinstance(example, tuple) or len(example) != 1:
        return {}
    return {"shape": tuple(example[0].shape[1:])}


def _get_input_shapes(target: str, made: NetworkToExport) -> list[str]:
    if not made.inputs:
        msg = f"--input is missing: say the shape of one sample of {target}, such as --input 3x32x32"
        raise InputError(msg)
    return list(made.inputs)


_SHAPE = re.compile(
    r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<dims>\d+(?:[x,]\d+)*)(?::(?P<dtype>float32|float16|int64|int32))?"
)


def _parse_example(texts: list[str]) -> _Example:
    import torch

    named, plain = {}, []
    for text in texts:
        match = _SHAPE.fullmatch(text)
        if match is None:
            msg = f"cannot read --input {text!r}; write 3x32x32, name=3x32x32 or name=128:int64"
            raise InputError(msg)
        shape = [int(d) for d in re.split("[x,]", match["dims"])]
        tensor = torch.zeros(1, *shape, dtype=getattr(torch, match["dtype"] or "float32"))
        if match["name"]:
            named[match["name"]] = tensor
        else:
            plain.append(tensor)
    if named and plain:
        msg = f"--input {', '.join(texts)}: name all inputs or none"
        raise InputError(msg)
    return named or tuple(plain)


def _make_document(exported: Exported, made: NetworkToExport) -> dict[str, Any]:
    return {
        "schema": "edgeexit.export/1",
        "path": str(exported.path),
        "exits": list(exported.exits),
        "inputs": {name: list(shape) for name, shape in exported.inputs.items()},
        "opset": exported.opset,
        "largest_difference": exported.largest_difference,
        "checked_inputs": exported.checked_inputs,
        "weights": asdict(made.weights),
        "repository": None if made.recipe is None else {"url": made.recipe.url, "options": to_document(made.options)},
    }


def _print(exported: Exported, made: NetworkToExport) -> None:
    from edgeexit.cli.printing import print_result, print_text
    from edgeexit.util.units import format_count

    shapes = ", ".join(
        f"{name} [{', '.join('batch' if d is None else str(d) for d in s)}]" for name, s in exported.inputs.items()
    )
    if str(made.weights):
        print_text(f"Checkpoint: {made.weights}.")
    count = format_count(len(exported.exits), "exit")
    print_result(f"{exported.path}: {count} ({', '.join(exported.exits)}), input {shapes}, opset {exported.opset}")
    share = f"{units.scientific(exported.largest_difference)} of the largest logit"
    print_text(f"Largest difference from eager over {exported.checked_inputs} random batches: {share}")
    if made.recipe is not None:
        _print_recipe(exported, made)


def _print_recipe(exported: Exported, made: NetworkToExport) -> None:
    """What the network was built with, what else has to be known, and the next command."""
    from edgeexit.cli.printing import format_command, print_command, print_note, print_text

    assert made.recipe is not None
    print_text(f"Built with {', '.join(f'{name}={value!r}' for name, value in made.options.items())}.")
    if made.recipe.note:
        print_note(made.recipe.note)
    print_command(format_command("compile", exported.path), label="Next: ")
