"""A user's network on the command line: what makes it, its arguments, its weights."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from edgeexit.errors import InputError

if TYPE_CHECKING:
    from edgeexit.data.reference import DataRecord

Checkpoint: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Weights: a state_dict (.pt, .pth, .safetensors), also inside a checkpoint; only tensors are loaded."
    ),
]
FactoryOptions: TypeAlias = Annotated[
    list[str] | None, typer.Option("--option", help="Arguments of the factory: name=value,...; may be repeated.")
]


def parse_factory_options(texts: list[str] | None) -> dict[str, Any]:
    """Arguments of a factory: `n=3` as a number, `exits=false` as a truth value, `after=[1,2]` as an array, anything else as text.

    Raises:
        InputError: a text is not name=value, or an array cannot be read.
    """
    return dict(_parse_option(one) for text in texts or () for one in _split_options(text))


def _split_options(text: str) -> list[str]:
    """`a=1,b=2` as two options; a comma inside a value stays."""
    return re.split(r",(?=[A-Za-z_]\w*=)", text)


def _parse_option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        msg = f"--option {text!r} has no value; write name=value"
        raise InputError(msg)
    if value.startswith("["):
        return name, _parse_array(text, value)
    if value in ("true", "false"):
        return name, value == "true"
    return name, int(value) if re.fullmatch(r"-?\d+", value) else float(value) if re.fullmatch(
        r"-?\d*\.\d+", value
    ) else value


def _parse_array(text: str, value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError as error:
        msg = f"--option {text!r} is no array; write name=[1,2,4]"
        raise InputError(msg) from error


def make_data_record(preprocess: str | None, classes: str | None) -> DataRecord:
    """Data metadata for the exported file."""
    from edgeexit.data import read_class_names, read_preprocess
    from edgeexit.data.reference import DataRecord

    return DataRecord(
        None if preprocess is None else read_preprocess(preprocess),
        () if classes is None else read_class_names(classes),
    )
