"""One GPU: its facts, and its primary context with the way to wait set explicitly.

The primary context is the one that torch, TensorRT and the CUDA runtime use. `pycuda.autoinit` would make a private one beside it, in which
their addresses and streams mean nothing; so it is never imported.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import astuple, dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edgeexit.backends.base import Array
from edgeexit.backends.cuda.errors import (
    CudaError,
    check_call,
    explain_missing_package,
    translate_cuda_error,
    translate_cuda_errors,
)
from edgeexit.errors import HardwareMissing

if TYPE_CHECKING:
    import pycuda.driver

_SPIN, _BLOCKING, _WAIT_MASK = 1, 4, 7  # CU_CTX_SCHED_SPIN, _BLOCKING_SYNC, _MASK (cuda.h)
_WAITS = {0: "auto", _SPIN: "spin", 2: "yield", _BLOCKING: "blocking"}
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: no hidden synchronisation with the legacy default stream


@dataclass(frozen=True)
class DeviceFacts:
    """Facts that decide whether an engine built on one GPU may run on another.

    The device's name is not enough: modules of one name differ in SM count, bus width and memory. Plans that TensorRT built were seen to
    depend on these.
    """

    name: str
    compute_capability: str
    multiprocessors: int
    bus_width_bits: int
    l2_bytes: int
    shared_bytes_per_multiprocessor: int
    memory_bytes: int
    integrated: bool
    ecc: bool
    driver_version: int

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits over all of them."""
        return hashlib.sha256(repr(astuple(self)).encode()).hexdigest()[:16]


class ActiveContext:
    """See `CudaDevice.active`. A class, because it is entered for every inference."""

    def __init__(self, cuda: Any, context: Any, doing: str) -> None:
        self._push = context.push
        self._pop = cuda.Context.pop
        self._kinds = (cuda.Error, CudaError)
        self._doing = doing

    def __enter__(self) -> None:
        self._push()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pop()
        if isinstance(error, self._kinds):
            raise translate_cuda_error(error, self._doing) from error


class CudaDevice:
    """A GPU with its primary context retained and its own stream.

    Args:
        spin: burn a core while waiting for the GPU (lowest latency) or sleep until it is done. CUDA's own choice depends on the power mode
            on Jetson, so one of the two is always set; `wait` says which one is in force (another library may have set it first).
        ordinal: index of the GPU.

    Raises:
        MissingExtra: pycuda or cuda-python is not installed.
        HardwareMissing: no driver, a driver that is too old, no GPU.
    """

    def __init__(self, *, spin: bool, ordinal: int = 0) -> None:
        try:
            import pycuda.driver as cuda
            from cuda.bindings import driver  # noqa: F401 - that it is there is checked with the rest
        except ImportError as error:
            raise explain_missing_package(error) from error
        self.cuda = cuda
        with translate_cuda_errors("opening the GPU"):
            cuda.init()
            if cuda.Device.count() <= ordinal:
                msg = f"there is no GPU number {ordinal}; CUDA sees {cuda.Device.count()}. Check CUDA_VISIBLE_DEVICES."
                raise HardwareMissing(msg)
            self._device = cuda.Device(ordinal)
            self.facts = _read_facts(self._device)
            self.wait = self._set_wait(ordinal, spin=spin)
            self._context = self._device.retain_primary_context()
        self._thread = threading.get_ident()
        self._open = True
        try:
            with self.active("making a stream"):
                self._stream: pycuda.driver.Stream | None = cuda.Stream(_NON_BLOCKING)
                self.stream = int(self._stream.handle)
        except BaseException:
            self._release()
            raise

    def _set_wait(self, ordinal: int, *, spin: bool) -> str:
        from cuda.bindings import driver

        (device,) = check_call("cuDeviceGet", driver.cuDeviceGet(ordinal))
        self._handle = device
        # Refused only by drivers older than CUDA 11 when the context is active already; then the flags in force are read back.
        driver.cuDevicePrimaryCtxSetFlags(device, _SPIN if spin else _BLOCKING)
        flags, _active = check_call("cuDevicePrimaryCtxGetState", driver.cuDevicePrimaryCtxGetState(device))
        return _WAITS.get(int(flags) & _WAIT_MASK, "auto")

    def active(self, doing: str) -> ActiveContext:
        """A reusable context manager: the primary context is current on this thread, and CUDA's refusals say what was being done."""
        return ActiveContext(self.cuda, self._context, doing)

    def synchronize(self) -> None:
        """Wait until everything on the stream is done."""
        assert self._stream is not None
        self._stream.synchronize()

    def copy_in(self, address: int, host: Array) -> None:
        """Enqueue a copy from page-locked memory to the GPU; the array must not change until the stream is done."""
        self.cuda.memcpy_htod_async(address, host, self._stream)

    def copy_out(self, host: Array, address: int) -> None:
        """Enqueue a copy from the GPU into page-locked memory."""
        self.cuda.memcpy_dtoh_async(host, address, self._stream)

    def close(self) -> None:
        """Give the stream and the context back; may be called twice."""
        if self._open:
            self._open = False
            with self.active("closing the GPU"):
                self._stream = None  # pycuda destroys it, for which its context must be there
            self._release()

    def _release(self) -> None:
        """Give the primary context back.

        pycuda's `detach` makes the context current to release it and leaves it so; on another thread than the one that retained it, it
        releases nothing. Both is put right here; errors are not looked at, because nothing can be done about them.
        """
        from cuda.bindings import driver

        if threading.get_ident() != self._thread:
            self._context.detach()
            driver.cuDevicePrimaryCtxRelease(self._handle)
            return
        driver.cuDevicePrimaryCtxRetain(self._handle)  # so that what is taken off the thread's stack still exists
        self._context.detach()
        driver.cuCtxPopCurrent()
        driver.cuDevicePrimaryCtxRelease(self._handle)


def _read_facts(device: pycuda.driver.Device) -> DeviceFacts:
    import pycuda.driver as cuda

    attribute = cuda.device_attribute
    major, minor = device.compute_capability()
    return DeviceFacts(
        name=str(device.name()),
        compute_capability=f"{major}.{minor}",
        multiprocessors=int(device.get_attribute(attribute.MULTIPROCESSOR_COUNT)),
        bus_width_bits=int(device.get_attribute(attribute.GLOBAL_MEMORY_BUS_WIDTH)),
        l2_bytes=int(device.get_attribute(attribute.L2_CACHE_SIZE)),
        shared_bytes_per_multiprocessor=int(device.get_attribute(attribute.MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)),
        memory_bytes=int(device.total_memory()),
        integrated=bool(device.get_attribute(attribute.INTEGRATED)),
        ecc=bool(device.get_attribute(attribute.ECC_ENABLED)),
        driver_version=int(cuda.get_driver_version()),
    )
