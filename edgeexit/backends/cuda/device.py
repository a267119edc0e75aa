"""One GPU: its facts, its primary context with the way to wait set explicitly, and streams on it.

The primary context is the one that torch, TensorRT and the CUDA runtime use. `pycuda.autoinit` would make a private one beside it, in which
their addresses and streams mean nothing; so it is never imported.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from edgeexit.backends.base import Array
from edgeexit.backends.cuda.cuda_python_calls import CudaPythonCalls
from edgeexit.backends.cuda.driver_calls import DriverCalls, DriverStream
from edgeexit.backends.cuda.errors import (
    check_call,
    explain_missing_package,
    translate_cuda_error,
    translate_cuda_errors,
)
from edgeexit.backends.cuda.pycuda_calls import PyCudaCalls
from edgeexit.errors import HardwareMissing

_SPIN, _BLOCKING, _WAIT_MASK = 1, 4, 7  # CU_CTX_SCHED_SPIN, _BLOCKING_SYNC, _MASK (cuda.h)
_WAITS = {0: "auto", _SPIN: "spin", 2: "yield", _BLOCKING: "blocking"}


class ActiveContext:
    """See `CudaDevice.active`. A class, because it is entered for every inference."""

    def __init__(self, calls: DriverCalls, context: Any, doing: str) -> None:
        self._push = calls.push(context)
        self._pop = calls.pop
        self._kinds = calls.errors
        self._doing = doing

    def __enter__(self) -> None:
        try:
            self._push()
        except self._kinds as error:
            raise translate_cuda_error(error, self._doing) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pop()
        if isinstance(error, self._kinds):
            raise translate_cuda_error(error, self._doing) from error


class CudaDevice:
    """A GPU with its primary context retained.

    Args:
        spin: burn a core while waiting for the GPU (lowest latency) or sleep until it is done. CUDA's own choice depends on the power mode
            on Jetson, so one of the two is always set; `wait` says which one is in force (another library may have set it first).
        ordinal: index of the GPU.

    Raises:
        MissingExtra: cuda-python is not installed.
        HardwareMissing: no driver, a driver that is too old, no GPU.
    """

    def __init__(self, *, spin: bool, ordinal: int = 0) -> None:
        self.calls = open_driver_calls()
        with translate_cuda_errors("opening the GPU"):
            count = self.calls.count_devices()
            if count <= ordinal:
                msg = f"there is no GPU number {ordinal}; CUDA sees {count}. Check CUDA_VISIBLE_DEVICES."
                raise HardwareMissing(msg)
            self.facts = self.calls.read_facts(ordinal)
            self.wait = _set_wait(ordinal, spin=spin)
            self._context = self.calls.retain(ordinal)
        self._open = True

    def active(self, doing: str) -> ActiveContext:
        """A reusable context manager: the primary context is current on this thread, and CUDA's refusals say what was being done."""
        return ActiveContext(self.calls, self._context, doing)

    def close(self) -> None:
        """Give the context back, after everything that was made in it; may be called twice."""
        if self._open:
            self._open = False
            self.calls.release(self._context)


class CudaStream:
    """A stream of one program. While one captures, others run: a capture is of a stream (CUDA Programming Guide, "Stream capture").

    Args:
        device: its GPU, whose context must be current; also in every call.
    """

    def __init__(self, device: CudaDevice) -> None:
        self.device = device
        self._stream: DriverStream | None = device.calls.make_stream()
        self.handle = self._stream.handle

    def synchronize(self) -> None:
        """Wait until everything on the stream is done."""
        assert self._stream is not None
        self._stream.synchronize()

    def copy_in(self, address: int, host: Array) -> None:
        """Enqueue a copy from page-locked memory to the GPU; the array must not change until the stream is done."""
        assert self._stream is not None
        self._stream.copy_in(address, host)

    def copy_out(self, host: Array, address: int) -> None:
        """Enqueue a copy from the GPU into page-locked memory."""
        assert self._stream is not None
        self._stream.copy_out(host, address)

    def close(self) -> None:
        """Give it back; it must be idle. May be called twice."""
        if self._stream is not None:
            self._stream.destroy()
            self._stream = None


def open_driver_calls() -> DriverCalls:
    """The driver by pycuda where it can be imported, by cuda-python else, which also makes the graphs.

    Raises:
        MissingExtra: cuda-python is not installed.
        HardwareMissing: it cannot be loaded.
    """
    try:
        by_cuda_python = CudaPythonCalls()
    except ImportError as error:
        raise explain_missing_package(error) from error
    try:
        return PyCudaCalls()
    except (
        ImportError
    ):  # not installed, or built for another CUDA or NumPy than is here: what it does, cuda-python does too
        return by_cuda_python


def _set_wait(ordinal: int, *, spin: bool) -> str:
    from cuda.bindings import driver

    (device,) = check_call("cuDeviceGet", driver.cuDeviceGet(ordinal))
    # Refused only by drivers older than CUDA 11 when the context is active already; then the flags in force are read back.
    driver.cuDevicePrimaryCtxSetFlags(device, _SPIN if spin else _BLOCKING)
    flags, _active = check_call("cuDevicePrimaryCtxGetState", driver.cuDevicePrimaryCtxGetState(device))
    return _WAITS.get(int(flags) & _WAIT_MASK, "auto")
