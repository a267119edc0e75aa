"""`pycuda.driver` as far as edgeexit uses it: names, arguments and errors as in pycuda 2026.1."""

from __future__ import annotations

import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tests.support.simulated.gpu import Block, Gpu, Op


class Error(Exception):
    """Base of pycuda's errors."""


class MemoryError(Error):  # noqa: A001 - pycuda's name
    """Out of memory."""


class LogicError(Error):
    """A call was refused."""


class LaunchError(Error):
    """A kernel failed."""


class _HostArray(np.ndarray):
    """An array whose `base` is its allocation, as pycuda's are."""

    allocation: Any = None

    @property
    def base(self) -> Any:
        return self.allocation


def pycuda_driver(gpu: Gpu) -> ModuleType:
    """The module, on a GPU."""
    module = ModuleType("pycuda.driver")

    def refuse(call: str, kind: type[Error] = LogicError, what: str = "invalid argument") -> None:
        if gpu.fails(call):
            raise kind(f"{call} failed: {what}")

    def init(flags: int = 0) -> None:
        refuse("cuInit", what="no CUDA-capable device is detected")

    def get_driver_version() -> int:
        return gpu.driver

    class DeviceAllocation:
        def __init__(self, block: Block) -> None:
            self._block = block

        def __int__(self) -> int:
            return self._block.address

        def free(self) -> None:
            gpu.free(self._block)

    class HostAllocation:
        def __init__(self, block: Block) -> None:
            self._block = block

        def free(self) -> None:
            gpu.free(self._block)

        def get_device_pointer(self) -> int:
            refuse("cuMemHostGetDevicePointer")
            return self._block.alias

    def mem_alloc(size: int) -> DeviceAllocation:
        gpu.need_context("mem_alloc")
        gpu.need(size > 0, "an allocation of no bytes")
        refuse("cuMemAlloc", MemoryError, "out of memory")
        return DeviceAllocation(gpu.allocate(size, pinned=False))

    def pagelocked_empty(shape: Any, dtype: DTypeLike, order: str = "C", mem_flags: int = 0) -> NDArray[Any]:
        gpu.need_context("pagelocked_empty")
        gpu.need(mem_flags & 2 == 2, "page-locked memory that the GPU is to see is not mapped")
        refuse("cuMemHostAlloc", MemoryError, "out of memory")
        size = max(int(np.prod(shape)) * np.dtype(dtype).itemsize, 1)
        block = gpu.allocate(size, pinned=True)
        array: Any = (
            block.data[: int(np.prod(shape)) * np.dtype(dtype).itemsize].view(dtype).reshape(shape).view(_HostArray)
        )
        array.allocation = HostAllocation(block)
        return np.asanyarray(array)

    def copy(host: NDArray[Any], address: int, stream: Any, *, into_gpu: bool, call: str) -> None:
        refuse(call)
        gpu.need(stream is not None, f"{call} on the legacy default stream")
        block = gpu.pinned_block(host)
        gpu.need(bool(host.flags.c_contiguous), f"{call} of an array with gaps")
        flat = np.frombuffer(host.data, np.uint8) if host.ndim else host.reshape(1).view(np.uint8)

        def run() -> None:
            gpu.need(not block.freed, "a copy from page-locked memory that was freed")
            there = gpu.at(address, flat.nbytes)
            (there if into_gpu else flat)[...] = flat if into_gpu else there

        gpu.at(address, flat.nbytes)
        gpu.enqueue(stream.handle, Op("memcpy", run, ((address, flat.nbytes), (block.alias, flat.nbytes))))

    def memcpy_htod_async(dest: int, src: NDArray[Any], stream: Any = None) -> None:
        copy(src, dest, stream, into_gpu=True, call="cuMemcpyHtoDAsync")

    def memcpy_dtoh_async(dest: NDArray[Any], src: int, stream: Any = None) -> None:
        copy(dest, src, stream, into_gpu=False, call="cuMemcpyDtoHAsync")

    class Stream:
        def __init__(self, flags: int = 0) -> None:
            gpu.need_context("making a stream")
            gpu.need(flags == 1, "a stream that synchronises with the legacy default stream")
            refuse("cuStreamCreate")
            self._stream = gpu.new_stream()

        @property
        def handle(self) -> int:
            return self._stream.handle

        def synchronize(self) -> None:
            refuse("cuStreamSynchronize", LaunchError, "unspecified launch failure")
            gpu.synchronize(self.handle)

        def __del__(self) -> None:
            if hasattr(self, "_stream"):
                gpu.need(not self._stream.pending, "a stream is destroyed with work in flight")
                self._stream.destroyed = True

    class Context:
        def __init__(self) -> None:
            self._thread = threading.get_ident()
            self._valid = True

        def push(self) -> None:
            gpu.need(gpu.primary_users > 0, "a released context is made current")
            gpu.context_stack += 1

        @staticmethod
        def pop() -> None:
            gpu.need(gpu.context_stack > 0, "a context is popped that was not pushed")
            gpu.context_stack -= 1

        def detach(self) -> None:
            gpu.need(gpu.context_stack == 0, "the primary context is released while it is current")
            gpu.need(self._valid, "a context is detached twice")
            self._valid = False
            if threading.get_ident() == self._thread:  # elsewhere pycuda does nothing, silently
                gpu.need(gpu.primary_users > 0, "the primary context is released twice")
                gpu.left_current += 1
                gpu.primary_users -= 1

    class Device:
        def __init__(self, number: int) -> None:
            gpu.need(number == 0, "there is one GPU")

        @staticmethod
        def count() -> int:
            refuse("cuDeviceGetCount")
            return 1

        def name(self) -> str:
            return "Simulated GPU"

        def compute_capability(self) -> tuple[int, int]:
            return (8, 7)

        def total_memory(self) -> int:
            return gpu.memory_bytes

        def get_attribute(self, attribute: str) -> int:
            return int({"INTEGRATED": gpu.integrated, "MULTIPROCESSOR_COUNT": 8}.get(attribute, 128))

        def retain_primary_context(self) -> Context:
            refuse("cuDevicePrimaryCtxRetain", MemoryError, "out of memory")
            gpu.primary_users += 1
            return Context()

    names = (
        "MULTIPROCESSOR_COUNT",
        "GLOBAL_MEMORY_BUS_WIDTH",
        "L2_CACHE_SIZE",
        "MAX_SHARED_MEMORY_PER_MULTIPROCESSOR",
        "INTEGRATED",
        "ECC_ENABLED",
    )
    module.__dict__.update(
        Error=Error,
        MemoryError=MemoryError,
        LogicError=LogicError,
        LaunchError=LaunchError,
        init=init,
        get_driver_version=get_driver_version,
        mem_alloc=mem_alloc,
        pagelocked_empty=pagelocked_empty,
        memcpy_htod_async=memcpy_htod_async,
        memcpy_dtoh_async=memcpy_dtoh_async,
        Stream=Stream,
        Context=Context,
        Device=Device,
        DeviceAllocation=DeviceAllocation,
        HostAllocation=HostAllocation,
        device_attribute=SimpleNamespace(**{name: name for name in names}),
        host_alloc_flags=SimpleNamespace(PORTABLE=1, DEVICEMAP=2, WRITECOMBINED=4),
    )
    return module
