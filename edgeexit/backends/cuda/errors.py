"""CUDA's refusals as one message each, with the remedy."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgeexit.errors import EdgeExitError, HardwareMissing, InternalError, MissingExtra

_REMEDIES: tuple[tuple[tuple[str, ...], type[EdgeExitError], str], ...] = (
    (
        ("no_device", "no cuda-capable device", "invalid_device", "invalid device ordinal"),
        HardwareMissing,
        "this process sees no NVIDIA GPU. Check nvidia-smi (Jetson: tegrastats) and, in a container, that it runs with --gpus all.",
    ),
    (
        (
            "insufficient_driver",
            "driver version is insufficient",
            "driver_mismatch",
            "unsupported display driver",
            "compat_not_supported",
            "forward compatibility",
        ),
        HardwareMissing,
        "the NVIDIA driver is too old for the CUDA libraries installed. Update it, or install the cuda-python of its CUDA version.",
    ),
    (
        (
            "not_initialized",
            "initialization error",
            "stub_library",
            "stub library",
            "system_not_ready",
            "system not yet initialized",
            "operating_system",
            "os call failed",
        ),
        HardwareMissing,
        "the NVIDIA driver does not work. Check that nvidia-smi (Jetson: tegrastats) answers and no stub libcuda.so is on LD_LIBRARY_PATH.",
    ),
    (
        ("device_unavailable", "busy or unavailable"),
        HardwareMissing,
        "another process uses the GPU exclusively. Close it, or set its compute mode to default: nvidia-smi -c 0.",
    ),
    (
        ("out_of_memory", "out of memory"),
        HardwareMissing,
        "the GPU has no memory left. Close other programs that use it, load fewer runners, or use a smaller network or float16.",
    ),
    (
        (
            "unsupported_ptx",
            "unsupported toolchain",
            "invalid_ptx",
            "ptx jit compilation",
            "no_binary_for_gpu",
            "no kernel image",
        ),
        HardwareMissing,
        "this GPU or driver cannot run the decision kernel. Update the driver.",
    ),
)


class CudaError(Exception):
    """A call of cuda-python that returned an error: the call and CUDA's name of the error. Never leaves the backends."""

    def __init__(self, call: str, name: str) -> None:
        super().__init__(f"{call} failed: {name}")
        self.name = name


class DeciderUnavailable(Exception):  # noqa: N818 - an outcome that callers fall back from
    """A way to decide that cannot be had here, with the reason. Never leaves the backends: they fall back and say so."""


def translate_cuda_error(error: BaseException, doing: str) -> EdgeExitError:
    """The error to raise for what CUDA said while `doing`."""
    text = f"{type(error).__name__} {error}".lower()
    for words, kind, remedy in _REMEDIES:
        if any(word in text for word in words):
            return kind(f"{doing}: {remedy} (CUDA says: {error})")
    msg = f"{doing}: CUDA refused ({error}). The GPU may need a reset or a reboot; if it happens again, please report it with the model."
    return InternalError(msg)


@contextmanager
def translate_cuda_errors(doing: str) -> Iterator[None]:
    """Turn what pycuda and cuda-python raise into one message with the remedy."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, (CudaError, *_find_pycuda_errors())):
            raise
        raise translate_cuda_error(error, doing) from error


def _find_pycuda_errors() -> tuple[type[Exception], ...]:
    """The base of pycuda's errors where it is in use."""
    module = sys.modules.get("pycuda.driver")
    return (module.Error,) if module is not None else ()


def check_call(call: str, result: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values of a cuda-python call, which returns its error first.

    Raises:
        CudaRefusal: the error is not success.
    """
    error, *values = result
    if int(error) != 0:
        raise CudaError(call, str(getattr(error, "name", error)))
    return tuple(values)


def forget_frames(error: BaseException | None) -> None:
    """Drop what the finished frames of an error, and of those behind it, hold on to.

    A traceback keeps local variables alive for as long as someone keeps the error; engines and contexts among them would then be destroyed
    after the GPU's context is gone.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def explain_missing_package(error: ImportError) -> EdgeExitError:
    """Translate a failed import of cuda-python into an error with a remedy."""
    if isinstance(error, ModuleNotFoundError):
        return MissingExtra("cuda-python 12.8 or newer", "tensorrt")
    msg = (
        f"cuda-python is installed but cannot be loaded ({error}): the NVIDIA driver is missing. Install it, or check that nvidia-smi"
        " answers."
    )
    return HardwareMissing(msg)
