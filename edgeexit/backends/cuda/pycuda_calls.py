"""The driver's calls by pycuda: memory, streams and the primary context."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from numpy.typing import DTypeLike

from edgeexit.backends.base import Array
from edgeexit.backends.cuda.driver_calls import NON_BLOCKING, Allocation, DeviceFacts, DriverCalls, DriverStream
from edgeexit.backends.cuda.errors import CudaError


class PyCudaCalls(DriverCalls):
    """See `DriverCalls`.

    Raises:
        ImportError: pycuda is not installed, or cannot be loaded.
    """

    name = "pycuda"

    def __init__(self) -> None:
        import pycuda.driver as cuda

        self._cuda = cuda
        self.errors = (cuda.Error, CudaError)
        self._thread: int | None = None

    def count_devices(self) -> int:  # noqa: D102 - see base
        self._cuda.init()
        return int(self._cuda.Device.count())

    def read_facts(self, ordinal: int) -> DeviceFacts:  # noqa: D102 - see base
        device, attribute = self._cuda.Device(ordinal), self._cuda.device_attribute
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
            driver_version=int(self._cuda.get_driver_version()),
        )

    def retain(self, ordinal: int) -> Any:  # noqa: D102 - see base
        from cuda.bindings import driver

        self._thread = threading.get_ident()
        _, self._handle = driver.cuDeviceGet(ordinal)
        return self._cuda.Device(ordinal).retain_primary_context()

    def release(self, context: Any) -> None:
        """Give the primary context back.

        pycuda's `detach` makes the context current to release it and leaves it so; on another thread than the one that retained it, it
        releases nothing. Both is put right here; errors are not looked at, because nothing can be done about them.
        """
        from cuda.bindings import driver

        if threading.get_ident() != self._thread:
            context.detach()
            driver.cuDevicePrimaryCtxRelease(self._handle)
            return
        driver.cuDevicePrimaryCtxRetain(self._handle)  # so that what is taken off the thread's stack still exists
        context.detach()
        driver.cuCtxPopCurrent()
        driver.cuDevicePrimaryCtxRelease(self._handle)

    def push(self, context: Any) -> Callable[[], object]:  # noqa: D102 - see base
        return context.push  # type: ignore[no-any-return, unused-ignore]

    @property
    def pop(self) -> Callable[[], object]:  # noqa: D102 - see base
        return self._cuda.Context.pop  # type: ignore[no-any-return, unused-ignore]

    def make_stream(self) -> DriverStream:  # noqa: D102 - see base
        return _PyCudaStream(self._cuda)

    def allocate(self, size: int) -> Allocation:  # noqa: D102 - see base
        found = self._cuda.mem_alloc(size)
        return Allocation(int(found), found.free)

    def allocate_pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> Allocation:  # noqa: D102 - see base
        flags = self._cuda.host_alloc_flags.DEVICEMAP
        host: Array = self._cuda.pagelocked_empty(shape, dtype, mem_flags=flags)  # type: ignore[arg-type, unused-ignore]
        allocation: Any = host.base
        try:
            return Allocation(int(allocation.get_device_pointer()), allocation.free, host)
        except self._cuda.Error:
            allocation.free()
            raise


class _PyCudaStream(DriverStream):
    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self._stream = cuda.Stream(NON_BLOCKING)
        self.handle = int(self._stream.handle)

    def synchronize(self) -> None:
        self._stream.synchronize()

    def copy_in(self, address: int, host: Array) -> None:
        self._cuda.memcpy_htod_async(address, host, self._stream)

    def copy_out(self, host: Array, address: int) -> None:
        self._cuda.memcpy_dtoh_async(host, address, self._stream)

    def destroy(self) -> None:
        self._stream = None  # pycuda destroys what nothing refers to
