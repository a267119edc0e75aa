"""`pycuda.driver` as far as edgeexit uses it: names, arguments and errors as in pycuda 2026.1."""

from __future__ import annotations

import threading
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tests.support.simulated.gpu import Block, Gpu, Op, bind


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


class _OnDriver:
    """What belongs to one simulated driver: each has copies of these classes, bound to it."""

    _driver: ClassVar[_Driver]


class DeviceAllocation(_OnDriver):
    """Memory of the GPU."""

    def __init__(self, block: Block) -> None:
        self._block = block

    def __int__(self) -> int:
        return self._block.address

    def free(self) -> None:
        self._driver.gpu.free(self._block)


class HostAllocation(_OnDriver):
    """Page-locked memory of the host."""

    def __init__(self, block: Block) -> None:
        self._block = block

    def free(self) -> None:
        self._driver.gpu.free(self._block)

    def get_device_pointer(self) -> int:
        self._driver.refuse("cuMemHostGetDevicePointer")
        return self._block.alias


class Stream(_OnDriver):
    """A stream."""

    def __init__(self, flags: int = 0) -> None:
        self._driver.gpu.need_context("making a stream")
        self._driver.gpu.need(flags == 1, "a stream that synchronises with the legacy default stream")
        self._driver.refuse("cuStreamCreate")
        self._stream = self._driver.gpu.new_stream()

    @property
    def handle(self) -> int:
        return self._stream.handle

    def synchronize(self) -> None:
        self._driver.refuse("cuStreamSynchronize", LaunchError, "unspecified launch failure")
        self._driver.gpu.synchronize(self.handle)

    def __del__(self) -> None:
        if hasattr(self, "_stream"):
            self._driver.gpu.need(not self._stream.pending, "a stream is destroyed with work in flight")
            self._stream.destroyed = True


class Context(_OnDriver):
    """The primary context, made current by the thread that retained it."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._valid = True

    def push(self) -> None:
        self._driver.gpu.need(self._driver.gpu.primary_users > 0, "a released context is made current")
        self._driver.gpu.context_stack += 1

    @classmethod
    def pop(cls) -> None:
        gpu = cls._driver.gpu
        gpu.need(gpu.context_stack > 0, "a context is popped that was not pushed")
        gpu.context_stack -= 1

    def detach(self) -> None:
        self._driver.gpu.need(
            self._driver.gpu.context_stack == 0, "the primary context is released while it is current"
        )
        self._driver.gpu.need(self._valid, "a context is detached twice")
        self._valid = False
        if threading.get_ident() == self._thread:  # elsewhere pycuda does nothing, silently
            self._driver.gpu.need(self._driver.gpu.primary_users > 0, "the primary context is released twice")
            self._driver.gpu.left_current += 1
            self._driver.gpu.primary_users -= 1


class Device(_OnDriver):
    """The one GPU."""

    def __init__(self, number: int) -> None:
        self._driver.gpu.need(number == 0, "there is one GPU")

    @classmethod
    def count(cls) -> int:
        cls._driver.refuse("cuDeviceGetCount")
        return 1

    def name(self) -> str:
        return "Simulated GPU"

    def compute_capability(self) -> tuple[int, int]:
        return (8, 7)

    def total_memory(self) -> int:
        return self._driver.gpu.memory_bytes

    def get_attribute(self, attribute: str) -> int:
        return int({"INTEGRATED": self._driver.gpu.integrated, "MULTIPROCESSOR_COUNT": 8}.get(attribute, 128))

    def retain_primary_context(self) -> Any:
        self._driver.refuse("cuDevicePrimaryCtxRetain", MemoryError, "out of memory")
        self._driver.gpu.primary_users += 1
        return self._driver.kinds["Context"]()


_KINDS = (DeviceAllocation, HostAllocation, Stream, Context, Device)
_ATTRIBUTES = (
    "MULTIPROCESSOR_COUNT",
    "GLOBAL_MEMORY_BUS_WIDTH",
    "L2_CACHE_SIZE",
    "MAX_SHARED_MEMORY_PER_MULTIPROCESSOR",
    "INTEGRATED",
    "ECC_ENABLED",
)


class _Driver:
    """The functions of the module, on a GPU, and its classes bound to it."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.kinds: dict[str, Any] = {kind.__name__: bind(kind, _driver=self) for kind in _KINDS}

    def refuse(self, call: str, kind: type[Error] = LogicError, what: str = "invalid argument") -> None:
        if self.gpu.fails(call):
            raise kind(f"{call} failed: {what}")

    def init(self, flags: int = 0) -> None:
        self.refuse("cuInit", what="no CUDA-capable device is detected")

    def get_driver_version(self) -> int:
        return self.gpu.driver

    def mem_alloc(self, size: int) -> Any:
        self.gpu.need_context("mem_alloc")
        self.gpu.need(size > 0, "an allocation of no bytes")
        self.refuse("cuMemAlloc", MemoryError, "out of memory")
        return self.kinds["DeviceAllocation"](self.gpu.allocate(size, pinned=False))

    def pagelocked_empty(self, shape: Any, dtype: DTypeLike, order: str = "C", mem_flags: int = 0) -> NDArray[Any]:
        self.gpu.need_context("pagelocked_empty")
        self.gpu.need(mem_flags & 2 == 2, "page-locked memory that the GPU is to see is not mapped")
        self.refuse("cuMemHostAlloc", MemoryError, "out of memory")
        size = max(int(np.prod(shape)) * np.dtype(dtype).itemsize, 1)
        block = self.gpu.allocate(size, pinned=True)
        array: Any = (
            block.data[: int(np.prod(shape)) * np.dtype(dtype).itemsize].view(dtype).reshape(shape).view(_HostArray)
        )
        array.allocation = self.kinds["HostAllocation"](block)
        return np.asanyarray(array)

    def _copy(self, host: NDArray[Any], address: int, stream: Any, *, into_gpu: bool, call: str) -> None:
        self.refuse(call)
        self.gpu.need(stream is not None, f"{call} on the legacy default stream")
        block = self.gpu.pinned_block(host)
        self.gpu.need(bool(host.flags.c_contiguous), f"{call} of an array with gaps")
        flat = np.frombuffer(host.data, np.uint8) if host.ndim else host.reshape(1).view(np.uint8)

        def run() -> None:
            self.gpu.need(not block.freed, "a copy from page-locked memory that was freed")
            there = self.gpu.at(address, flat.nbytes)
            (there if into_gpu else flat)[...] = flat if into_gpu else there

        self.gpu.at(address, flat.nbytes)
        self.gpu.enqueue(stream.handle, Op("memcpy", run, ((address, flat.nbytes), (block.alias, flat.nbytes))))

    def memcpy_htod_async(self, dest: int, src: NDArray[Any], stream: Any = None) -> None:
        self._copy(src, dest, stream, into_gpu=True, call="cuMemcpyHtoDAsync")

    def memcpy_dtoh_async(self, dest: NDArray[Any], src: int, stream: Any = None) -> None:
        self._copy(dest, src, stream, into_gpu=False, call="cuMemcpyDtoHAsync")


def pycuda_driver(gpu: Gpu) -> ModuleType:
    """The module, on a GPU."""
    module, driver = ModuleType("pycuda.driver"), _Driver(gpu)
    functions = (
        driver.init,
        driver.get_driver_version,
        driver.mem_alloc,
        driver.pagelocked_empty,
        driver.memcpy_htod_async,
        driver.memcpy_dtoh_async,
    )
    module.__dict__.update(driver.kinds)
    module.__dict__.update({function.__name__: function for function in functions})
    module.__dict__.update({error.__name__: error for error in (Error, MemoryError, LogicError, LaunchError)})
    module.__dict__.update(
        device_attribute=SimpleNamespace(**{name: name for name in _ATTRIBUTES}),
        host_alloc_flags=SimpleNamespace(PORTABLE=1, DEVICEMAP=2, WRITECOMBINED=4),
    )
    return module
