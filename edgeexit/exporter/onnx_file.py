"""The file: which of its outputs are exits, and where its weights lie."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgeexit.errors import InputError, ModelError
from edgeexit.graph.criterion_record import CRITERION_KEY
from edgeexit.graph.exits import METADATA_KEY
from edgeexit.nets.outputs import ExitTensors

_EXTERNAL_BYTES = 2**31 - 2**24
"""Weights above this go into a second file: a protobuf message ends at 2 GiB."""


def list_output_names(e: ExitTensors) -> tuple[str, str | None]:
    """Names of an exit's logits and, where it has one, its score."""
    return e.name, None if e.score is None else f"{e.name}_score"


def check_names(inputs: Iterable[str], exits: Sequence[ExitTensors]) -> None:
    """A graph has one name for one tensor: its inputs, every exit's logits and every exit's score."""
    taken = [*inputs, *(name for e in exits for name in list_output_names(e) if name is not None)]
    twice = sorted({name for name in taken if taken.count(name) > 1})
    if twice:
        msg = (
            f"{', '.join(map(repr, twice))} would name two tensors of the file: an exit may not have the name of an input, nor of "
            "another exit's score, which is the exit's name with _score. Give other names (names=[...], --names)"
        )
        raise ModelError(msg)


def as_properties(metadata: object) -> dict[str, str]:
    """Further properties of the file, or none.

    Raises:
        InputError: no mapping from text to text, or one of the properties that export writes itself.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        msg = f"metadata must be a dict of text by name, such as {{'seed': '5'}}, not {metadata!r}"
        raise InputError(msg)
    wrong = [
        f"{key!r}: {value!r}"
        for key, value in metadata.items()
        if not isinstance(key, str) or not isinstance(value, str)
    ]
    if wrong:
        msg = f"metadata must be text by name, which {', '.join(wrong)} is not: write numbers as text, such as {{'seed': '5'}}"
        raise InputError(msg)
    if CRITERION_KEY in metadata:
        msg = f"metadata {CRITERION_KEY!r} is what export writes of criterion and thresholds: give those arguments instead"
        raise InputError(msg)
    if METADATA_KEY in metadata:
        msg = f"metadata {METADATA_KEY!r} says where the exits are, which export writes itself: give yours another name"
        raise InputError(msg)
    return dict(metadata)


def check_dtypes(exits: Sequence[ExitTensors]) -> None:
    """A file's outputs become NumPy arrays."""
    known = (torch.float16, torch.float32, torch.float64)
    tensors = {
        name: t
        for e in exits
        for name, t in zip(list_output_names(e), (e.logits, e.score), strict=True)
        if t is not None
    }
    wrong = [f"{name} ({t.dtype})" for name, t in tensors.items() if t.dtype not in known]
    if wrong:
        msg = f"NumPy has no numbers of the type of {', '.join(wrong)}: let forward return them as float32, such as `logits.float()`"
        raise ModelError(msg)


def name_exits(model: Any, exits: Sequence[ExitTensors]) -> None:
    """Write the exits into the metadata, and leave out what the exporter noted about the machine it ran on."""
    for graph in (model.graph, *[f.graph for f in model.functions.values()]):
        graph.metadata_props.clear()
        for node in graph.all_nodes():
            node.metadata_props.clear()
            node.doc_string = None
        for value in graph.initializers.values():
            value.metadata_props.clear()
    for name in [n for n in model.graph.initializers if n.startswith("module.")]:
        model.graph.initializers[name].name = re.sub(r"^module\.(read_from\.)?(by_keyword\.)?", "", name)
    _make_way(model.graph)
    table = [dict(zip(("name", "logits", "score"), (e.name, *list_output_names(e)), strict=True)) for e in exits]
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


def save(model: Any, path: Path, module: nn.Module) -> None:
    """Write the model; weights beyond protobuf's limit go into `<path>.data`."""
    import onnx_ir

    size = sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))
    onnx_ir.save(model, path, external_data=f"{path.name}.data" if size > _EXTERNAL_BYTES else None)
