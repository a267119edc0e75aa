"""Kernels of this benchmark, compiled for the GPU at hand."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from edgeexit.backends.cuda import CudaError, DeciderUnavailable
from edgeexit.backends.cuda.errors import check_call


def compile_kernel(source: bytes, compute_capability: str) -> bytes:
    """PTX of a kernel, for this compute capability (`8.7`) and newer.

    Raises:
        Unavailable: NVRTC is missing or refuses, with its log.
    """
    try:
        from cuda.bindings import nvrtc
    except ImportError as error:
        raise DeciderUnavailable(f"NVRTC is missing ({error}); it comes with: pip install nvidia-cuda-nvrtc") from error
    option = f"--gpu-architecture=compute_{compute_capability.replace('.', '')}".encode()
    try:
        (program,) = check_call("nvrtcCreateProgram", nvrtc.nvrtcCreateProgram(source, b"edgeexit.cu", 0, [], []))
    except (CudaError, RuntimeError) as error:  # cuda-python raises RuntimeError where the library itself is absent
        raise DeciderUnavailable(
            f"NVRTC cannot be used ({error}); it comes with: pip install nvidia-cuda-nvrtc"
        ) from error
    try:
        (result,) = nvrtc.nvrtcCompileProgram(program, 1, [option])
        if int(result):
            raise DeciderUnavailable(
                f"NVRTC cannot compile for compute capability {compute_capability}: {_read_compile_log(nvrtc, program)}"
            )
        (size,) = check_call("nvrtcGetPTXSize", nvrtc.nvrtcGetPTXSize(program))
        image = bytes(size)
        check_call("nvrtcGetPTX", nvrtc.nvrtcGetPTX(program, image))
        return image
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _read_compile_log(nvrtc: Any, program: Any) -> str:
    with suppress(CudaError):
        (size,) = check_call("nvrtcGetProgramLogSize", nvrtc.nvrtcGetProgramLogSize(program))
        text = bytes(size)
        check_call("nvrtcGetProgramLog", nvrtc.nvrtcGetProgramLog(program, text))
        return text.decode(errors="replace").strip(" \0\n")[:300]
    return "no log"
