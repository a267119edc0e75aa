"""The enumerations of `tensorrt` that are alike in every version, as far as edgeexit uses them."""

from __future__ import annotations

import enum


class Severity(enum.Enum):
    """Of messages."""

    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class NetworkDefinitionCreationFlag(enum.IntEnum):
    """Of networks."""

    STRONGLY_TYPED = 1


class DataType(enum.Enum):
    """Of tensors."""

    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    INT64 = 8


class TensorIOMode(enum.Enum):
    """Of tensors of an engine."""

    NONE = 0
    INPUT = 1
    OUTPUT = 2


class DeviceType(enum.Enum):
    """Where layers run."""

    GPU = 0
    DLA = 1


class MemoryPoolType(enum.Enum):
    """Of a build."""

    WORKSPACE = 0


class ExecutionContextAllocationStrategy(enum.Enum):
    """Of the scratch memory of a context."""

    STATIC = 0
    USER_MANAGED = 2


class LayerInformationFormat(enum.Enum):
    """Of what an inspector tells."""

    ONELINE = 0
    JSON = 1


ENUMERATIONS: tuple[type[enum.Enum], ...] = (
    Severity,
    NetworkDefinitionCreationFlag,
    DataType,
    TensorIOMode,
    DeviceType,
    MemoryPoolType,
    ExecutionContextAllocationStrategy,
    LayerInformationFormat,
)
