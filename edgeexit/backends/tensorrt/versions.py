"""TensorRT 10.3 (JetPack 6.1, 6.2), 10.13 and later (JetPack 7), and 11: everything that differs between them is in this file.

                          10.3 … 10.11                  10.12 …                 11
typing of a network       strong, else the FP16 flag    strong                  strong only
FP16, INT8 builder flags  there                         deprecated              gone
precision                 in the ONNX: casts and Q/DQ on all of them
DLA                       there until 10.7              gone                    11.4.1, AGX Orin only
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeexit.errors import HardwareMissing

if TYPE_CHECKING:
    import tensorrt

OLDEST = (10, 3)
NEWEST_MAJOR = 11
_STRONG_IS_WHOLE_SINCE = (10, 12)


@dataclass(frozen=True)
class NetworkTyping:
    """One API of TensorRT to set the precision of a network.

    Attributes:
        name: `strong`, or `fp16-flag` for the named fallback.
        network_flags: for `create_network`.
        builder_flags: names of `BuilderFlag` to set.
    """

    name: str
    network_flags: int
    builder_flags: tuple[str, ...] = ()


def read_installed_version() -> tuple[int, ...]:
    """TensorRT's version as numbers; the build number is the fourth."""
    import tensorrt as trt

    return tuple(int(part) for part in re.findall(r"\d+", trt.__version__)[:4])


def check_version(version: tuple[int, ...]) -> None:
    """Raise HardwareMissing for a version that this backend was not written for."""
    text = ".".join(map(str, version))
    if version[:2] < OLDEST:
        msg = (
            f"TensorRT {text} is older than 10.3, the oldest that edgeexit runs. Jetson: JetPack 6.1 or newer. Elsewhere:"
            ' pip install "edgeexit[tensorrt]"'
        )
        raise HardwareMissing(msg)
    if version[0] > NEWEST_MAJOR:
        msg = (
            f"TensorRT {text} is newer than this version of edgeexit supports (up to {NEWEST_MAJOR}.x). Update edgeexit, or install"
            f' tensorrt<{NEWEST_MAJOR + 1}: pip install "tensorrt<{NEWEST_MAJOR + 1}"'
        )
        raise HardwareMissing(msg)


def read_dims(dims: tensorrt.Dims) -> tuple[int, ...]:
    """TensorRT's dimensions, which have a length and items but are no Python sequence, as numbers."""
    return tuple(int(dims[i]) for i in range(len(dims)))


def list_typings(precision: str, *, dla: bool = False) -> tuple[NetworkTyping, ...]:
    """The ways to build a network of this precision, in the order in which to try them.

    Before 10.12 strong typing did not cover every layer; there, and only where all of the bundle is in float16, TensorRT may choose the
    precision of layers itself when the strongly typed build fails. A DLA takes strongly typed networks from TensorRT 11 on; before it,
    only those with the flag.
    """
    import tensorrt as trt

    strong = NetworkTyping("strong", 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    version, flagged = read_installed_version(), NetworkTyping("fp16-flag", 0, ("FP16",))
    if dla and version[0] < NEWEST_MAJOR:
        return (flagged,)
    if precision == "float16" and version[:2] < _STRONG_IS_WHOLE_SINCE:
        return strong, flagged
    return (strong,)
