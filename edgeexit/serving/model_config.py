"""`config.pbtxt`, with which Triton is told of one model: its fields as Python values, and their text.

The fields are those of `ModelConfig` in Triton's `model_config.proto`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from edgeexit.graph.model import BATCH, TensorSpec
from edgeexit.runtime.remote.protocol import DATA_TYPES

Fields: TypeAlias = "dict[str, Any]"
"""Fields of a message by name: texts, numbers, `Symbol`s, messages, and lists of those."""


class Symbol(str):
    """A value of an enum, which stands in the text without quotes."""

    __slots__ = ()


@dataclass(frozen=True)
class Scheduling:
    """How a server runs the models.

    Attributes:
        max_batch: largest batch that it makes of waiting requests, where the network's batch is dynamic.
        max_delay_us: longest time that a request waits for others, in microseconds.
        instances: copies of each model, which run at the same time.
        device: one of `edgeexit.choices.SERVER_DEVICES`.
        threads: worker threads of each copy, on CPU.
    """

    max_batch: int = 64
    max_delay_us: int = 100
    instances: int = 1
    device: str = "cpu"
    threads: int = 1

    @property
    def instance_group(self) -> list[Fields]:
        """The field `instance_group`."""
        return [{"count": self.instances, "kind": Symbol(f"KIND_{self.device.upper()}")}]

    @property
    def thread_parameters(self) -> Fields:
        """The field `parameters` of a model that ONNX Runtime runs."""
        return make_parameters({"intra_op_thread_count": str(self.threads), "inter_op_thread_count": "1"})


def make_parameters(values: Mapping[str, str]) -> Fields:
    """The field `parameters`: texts by name."""
    return {"parameters": [{"key": key, "value": {"string_value": value}} for key, value in values.items()]}


def describe_tensor(spec: TensorSpec, *, reshape: bool = False, **more: Any) -> Fields:
    """An entry of `input` or `output`.

    Triton knows no tensor without dimensions, so that one number per sample has the shape [1]. Where `reshape` is asked for, the model
    behind it takes or gives it without that dimension.
    """
    dims = _list_dims(spec)
    fields = {"name": spec.name, "data_type": format_data_type(spec), "dims": dims or [1]}
    return fields | ({"reshape": {"shape": []}} if reshape and not dims else {}) | more


def format_data_type(spec: TensorSpec) -> Symbol:
    """Triton's name of a tensor's element type."""
    return Symbol(f"TYPE_{DATA_TYPES[spec.dtype]}")


def _list_dims(spec: TensorSpec) -> list[int]:
    """Dimensions as Triton has them: without the batch where that is dynamic; -1 where one is not known."""
    return [d if isinstance(d, int) else -1 for d in spec.shape if d != BATCH]


def make_warmup(inputs: Iterable[TensorSpec], batches: Iterable[int]) -> Fields:
    """The field `model_warmup`: zeros, in batches of these sizes; nothing where a dimension is not known."""
    specs = list(inputs)
    if any(-1 in _list_dims(spec) for spec in specs):
        return {}
    tensors = [
        {
            "key": spec.name,
            "value": {"data_type": format_data_type(spec), "dims": _list_dims(spec) or [1], "zero_data": True},
        }
        for spec in specs
    ]
    return {
        "model_warmup": [
            {"name": f"zeros, batch of {size}", "batch_size": size, "inputs": tensors}
            for size in dict.fromkeys(batches)
        ]
    }


def format_fields(fields: Fields) -> str:
    """The fields of a message in protobuf's text format.

    Example:
        >>> print(format_fields({"name": "net", "instance_group": [{"count": 2, "kind": Symbol("KIND_CPU")}]}))
        name: "net"
        instance_group {
          count: 2
          kind: KIND_CPU
        }
    """
    return "\n".join(_format_lines(fields))


def _format_lines(fields: Fields) -> Iterator[str]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _format_message(name, value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for message in value:
                yield from _format_message(name, message)
        else:
            yield f"{name}: {_format_value(value)}"


def _format_message(name: str, fields: Fields) -> Iterator[str]:
    yield f"{name} {{"
    yield from (f"  {line}" for line in _format_lines(fields))
    yield "}"


def _format_value(value: Sequence[Any] | str | int) -> str:
    if isinstance(value, Symbol):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_format_value, value))}]"
    return json.dumps(value)  # quotes and escapes as protobuf's text format has them; true and false too
