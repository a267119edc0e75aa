"""Put the fakes where `import` finds them, for the time of a test."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any
from unittest import mock

from edgeexit.backends.cuda import choice
from tests.support.simulated.cuda_bindings import driver_module, nvrtc_module
from tests.support.simulated.gpu import Gpu
from tests.support.simulated.pycuda_driver import pycuda_driver
from tests.support.simulated.tensorrt import tensorrt_module


@contextmanager
def installed(
    gpu: Gpu,
    *,
    tensorrt: str | None = "10.3.0",
    bindings: int = 12,
    refuses: str | None = None,
    with_pycuda: bool = True,
) -> Iterator[Gpu]:
    """Have `import pycuda.driver`, `cuda.bindings` and `tensorrt` find the fakes on this GPU.

    Args:
        gpu: the machine.
        tensorrt: its version; None leaves it out.
        bindings: major version of cuda-python.
        refuses: an ONNX operator that TensorRT's parser does not know.
        with_pycuda: whether pycuda is installed.
    """
    pycuda, cuda, cuda_bindings = ModuleType("pycuda"), ModuleType("cuda"), ModuleType("cuda.bindings")
    modules: dict[str, Any] = {
        "pycuda": pycuda if with_pycuda else None,  # None: its import fails
        "pycuda.driver": pycuda_driver(gpu) if with_pycuda else None,
        "cuda": cuda,
        "cuda.bindings": cuda_bindings,
        "cuda.bindings.driver": driver_module(gpu, bindings, with_pycuda=with_pycuda),
        "cuda.bindings.nvrtc": nvrtc_module(gpu),
    }
    pycuda.driver = modules["pycuda.driver"]  # type: ignore[attr-defined]
    cuda.bindings = cuda_bindings  # type: ignore[attr-defined]
    cuda_bindings.driver = modules["cuda.bindings.driver"]  # type: ignore[attr-defined]
    cuda_bindings.nvrtc = modules["cuda.bindings.nvrtc"]  # type: ignore[attr-defined]
    if tensorrt is not None:
        modules["tensorrt"] = tensorrt_module(gpu, tensorrt, refuses)
        modules["tensorrt"].__spec__ = ModuleSpec("tensorrt", None)
    versions = {"cuda-bindings": f"{bindings}.0.0", **({"pycuda": "2026.1"} if with_pycuda else {})}
    real = importlib.metadata.version
    with (
        mock.patch.dict(sys.modules, modules),
        mock.patch.object(importlib.metadata, "version", lambda name: versions.get(name) or real(name)),
        mock.patch.object(choice, "ROUNDS", 2),  # a simulated GPU has no times worth measuring,
        mock.patch.object(choice, "WARM_S", 0.0),  # nor a clock to warm
    ):
        yield gpu
