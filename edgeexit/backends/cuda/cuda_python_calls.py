"""The driver's calls by cuda-python alone, which has wheels for aarch64: no compiler is needed on a board."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from edgeexit.backends.base import Array
from edgeexit.backends.cuda.driver_calls import NON_BLOCKING, Allocation, DeviceFacts, DriverCalls, DriverStream
from edgeexit.backends.cuda.errors import CudaError, check_call

_DEVICEMAP = 2  # CU_MEMHOSTALLOC_DEVICEMAP (cuda.h)
_LONGEST_NAME = 256


class CudaPythonCalls(DriverCalls):
    """See `DriverCalls`.

    Raises:
        ImportError: cuda-python is not installed, or older than 12.8.
    """

    name = "cuda-python"
    errors = (CudaError,)

    def __init__(self) -> None:
        from cuda.bindings import driver

        self._driver = driver

    def count_devices(self) -> int:  # noqa: D102 - see base
        try:
            check_call("cuInit", self._driver.cuInit(0))
        except RuntimeError as error:  # cuda-python looks for libcuda.so.1 at its first call
            raise CudaError("cuInit", f"not_initialized, {error}") from error
        (count,) = check_call("cuDeviceGetCount", self._driver.cuDeviceGetCount())
        return int(count)

    def _get_device(self, ordinal: int) -> Any:
        (device,) = check_call("cuDeviceGet", self._driver.cuDeviceGet(ordinal))
        return device

    def read_facts(self, ordinal: int) -> DeviceFacts:  # noqa: D102 - see base
        device = self._get_device(ordinal)
        (name,) = check_call("cuDeviceGetName", self._driver.cuDeviceGetName(_LONGEST_NAME, device))
        (memory,) = check_call("cuDeviceTotalMem", self._driver.cuDeviceTotalMem(device))
        (version,) = check_call("cuDriverGetVersion", self._driver.cuDriverGetVersion())

        def read(attribute: str) -> int:
            kind = getattr(self._driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{attribute}")
            (value,) = check_call("cuDeviceGetAttribute", self._driver.cuDeviceGetAttribute(kind, device))
            return int(value)

        return DeviceFacts(
            name=bytes(name).partition(b"\0")[0].decode(errors="replace"),
            compute_capability=f"{read('COMPUTE_CAPABILITY_MAJOR')}.{read('COMPUTE_CAPABILITY_MINOR')}",
            multiprocessors=read("MULTIPROCESSOR_COUNT"),
            bus_width_bits=read("GLOBAL_MEMORY_BUS_WIDTH"),
            l2_bytes=read("L2_CACHE_SIZE"),
            shared_bytes_per_multiprocessor=read("MAX_SHARED_MEMORY_PER_MULTIPROCESSOR"),
            memory_bytes=int(memory),
            integrated=bool(read("INTEGRATED")),
            ecc=bool(read("ECC_ENABLED")),
            driver_version=int(version),
        )

    def retain(self, ordinal: int) -> Any:  # noqa: D102 - see base
        self._device = self._get_device(ordinal)
        (context,) = check_call("cuDevicePrimaryCtxRetain", self._driver.cuDevicePrimaryCtxRetain(self._device))
        return context

    def release(self, context: Any) -> None:  # noqa: ARG002, D102 - a device has one primary context
        self._driver.cuDevicePrimaryCtxRelease(self._device)

    def push(self, context: Any) -> Callable[[], object]:  # noqa: D102 - see base
        call = self._driver.cuCtxPushCurrent

        def push_context() -> None:
            (error,) = call(context)
            if error:  # on the path of every inference: no call more than needed
                check_call("cuCtxPushCurrent", (error,))

        return push_context

    @property
    def pop(self) -> Callable[[], object]:  # noqa: D102 - see base
        return self._driver.cuCtxPopCurrent  # type: ignore[no-any-return, unused-ignore]

    def make_stream(self) -> DriverStream:  # noqa: D102 - see base
        return _CudaPythonStream(self._driver)

    def allocate(self, size: int) -> Allocation:  # noqa: D102 - see base
        (address,) = check_call("cuMemAlloc", self._driver.cuMemAlloc(size))
        return Allocation(int(address), lambda: self._free("cuMemFree", address))

    def allocate_pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> Allocation:  # noqa: D102 - see base
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        (found,) = check_call("cuMemHostAlloc", self._driver.cuMemHostAlloc(max(size, 1), _DEVICEMAP))
        where = int(found)
        try:
            (address,) = check_call("cuMemHostGetDevicePointer", self._driver.cuMemHostGetDevicePointer(where, 0))
        except CudaError:
            self._free("cuMemFreeHost", where)
            raise
        host = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(where)).view(kind).reshape(shape)
        return Allocation(int(address), lambda: self._free("cuMemFreeHost", where), host)

    def _free(self, call: str, where: Any) -> None:
        check_call(call, getattr(self._driver, call)(where))


class _CudaPythonStream(DriverStream):
    def __init__(self, driver: Any) -> None:
        self._driver = driver
        (self._stream,) = check_call("cuStreamCreate", driver.cuStreamCreate(NON_BLOCKING))
        self.handle = int(self._stream)

    def synchronize(self) -> None:
        (error,) = self._driver.cuStreamSynchronize(self._stream)
        if error:  # on the path of every inference
            check_call("cuStreamSynchronize", (error,))

    def copy_in(self, address: int, host: Array) -> None:
        where = host.__array_interface__["data"][0]
        check_call("cuMemcpyHtoDAsync", self._driver.cuMemcpyHtoDAsync(address, where, host.nbytes, self._stream))

    def copy_out(self, host: Array, address: int) -> None:
        where = host.__array_interface__["data"][0]
        check_call("cuMemcpyDtoHAsync", self._driver.cuMemcpyDtoHAsync(where, address, host.nbytes, self._stream))

    def destroy(self) -> None:
        self._driver.cuStreamDestroy(self._stream)
