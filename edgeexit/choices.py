"""Options that users choose by name: backends, modes, precisions, servers, one table each, from which the command line makes its choices.

It imports nothing but the standard library, so that the command line and the device profiles can read it without loading a runtime.
Criteria are in `criteria/` and fallbacks in `fallbacks.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, cast

from edgeexit.errors import InputError, did_you_mean


@dataclass(frozen=True)
class BackendEntry:
    """One backend: the module `edgeexit.backends.NAME`, whose `BACKEND` runs bundles.

    Attributes:
        packages: distributions that may bring its runtime; the first one installed tells the version.
        on_boards: whether a device profile may name it as the default of its board.
    """

    packages: tuple[str, ...] = ()
    on_boards: bool = True


BACKENDS: dict[str, BackendEntry] = {
    "onnxruntime": BackendEntry(
        ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-qnn", "onnxruntime-directml")
    ),
    "tensorrt": BackendEntry(("tensorrt",)),
    "openvino": BackendEntry(("openvino",)),
    "mnn": BackendEntry(("MNN",)),
    "fake": BackendEntry(on_boards=False),
}
"""Every backend by name, installed or not. A new one is a module in `edgeexit/backends/` and a row here."""

DEFAULT_BACKEND = "onnxruntime"
"""The backend that is always there."""

AUTO = "auto"
"""In place of a backend, for a compile: the fastest one here, or the fastest mix, found by measurement."""

CPU_PROVIDER = "cpu"
EXECUTION_PROVIDERS = {
    CPU_PROVIDER: "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "tensorrt_rtx": "NvTensorRTRTXExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "acl": "ACLExecutionProvider",
    "dnnl": "DnnlExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "nnapi": "NnapiExecutionProvider",
    "dml": "DmlExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "vitisai": "VitisAIExecutionProvider",
    "cann": "CANNExecutionProvider",
}
"""Execution providers of ONNX Runtime by the name that users give, and their names there. Each build offers some of them."""

MODES = ("staged", "fused")
"""One engine per stage, or one conditional graph."""

PRECISIONS = ("float32", "float16", "int8")
"""Precisions of the engines."""

SERVERS = ("triton", "kserve")
"""The servers that a bundle can be exported for."""

STAGE_RUNTIMES = ("onnxruntime", "tensorrt", "python")
"""What runs a stage in Triton: its ONNX Runtime backend, a TensorRT plan that is built there, or onnxruntime in its Python backend."""

SERVER_DEVICES = ("cpu", "gpu")
"""What a server may run models on."""


def make_choices(name: str, values: Iterable[str]) -> type[Enum]:
    """An enum of texts whose members are its values, for the options of the command line.

    Args:
        name: name of the enum.
        values: its members' names and values.

    Example:
        >>> list(make_choices("Colour", ["red", "blue"]))
        [<Colour.red: 'red'>, <Colour.blue: 'blue'>]
    """
    return cast("type[Enum]", Enum(name, {value: value for value in values}, type=str))


def check_choice(kind: str, value: str, known: Iterable[str]) -> None:
    """Check that a name is one of those known.

    Raises:
        InputError: it is not; the message lists those that are.
    """
    known = tuple(known)
    if value not in known:
        msg = f"no {kind} named {value!r}.{did_you_mean(value, known)} {kind.capitalize()}s: {', '.join(known)}."
        raise InputError(msg)


if TYPE_CHECKING:

    class BackendName(str, Enum):
        """A key of `BACKENDS`."""

    class Mode(str, Enum):
        """One of `MODES`."""

    class Precision(str, Enum):
        """One of `PRECISIONS`."""

else:
    BackendName = make_choices("BackendName", BACKENDS)
    Mode = make_choices("Mode", MODES)
    Precision = make_choices("Precision", PRECISIONS)
