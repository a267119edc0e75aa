"""Data that a network expects, from its inputs and the metadata of its file."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from edgeexit.data.model import InputSpec, ModelInfo
from edgeexit.data.reference import DataRecord, read_data_record
from edgeexit.errors import InputError, ModelError
from edgeexit.graph.model import Network, TensorSpec


def read_model_info(net: Network, name: str) -> ModelInfo:
    """Data that a network expects, from its file.

    Raises:
        ModelError: the file's metadata of its data cannot be read.
    """
    record = read_model_data_record(net.proto, name)
    return ModelInfo(
        name, make_input_specs(net.inputs), len(record.class_names) or None, record.class_names, record.preprocess
    )


def read_model_data_record(proto: onnx.ModelProto, name: str) -> DataRecord:
    """Data metadata of a model file.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return read_data_record({p.key: p.value for p in proto.metadata_props}, name)
    except InputError as error:
        raise ModelError(str(error)) from error


def make_input_specs(inputs: Iterable[TensorSpec]) -> tuple[InputSpec, ...]:
    """The inputs of a network as data has to fit them."""
    return tuple(InputSpec(s.name, s.dtype, s.shape_at_1[1:]) for s in inputs)
