"""What edgeexit asks of the CUDA driver, whichever Python package makes the calls: pycuda or cuda-python."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any, ClassVar

from numpy.typing import DTypeLike

from edgeexit.backends.base import Array

NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING (cuda.h): no hidden synchronisation with the legacy default stream."""


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


@dataclass(frozen=True)
class Allocation:
    """Memory with its address on the GPU, and what gives it back; `host` is the NumPy view of page-locked memory."""

    address: int
    free: Callable[[], None]
    host: Array | None = None


class DriverStream(ABC):
    """One queue of work.

    Attributes:
        handle: CUDA's handle, as a number.
    """

    handle: int

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until everything on it is done."""

    @abstractmethod
    def copy_in(self, address: int, host: Array) -> None:
        """Enqueue a copy from page-locked memory to the GPU; the array must not change until the stream is done."""

    @abstractmethod
    def copy_out(self, host: Array, address: int) -> None:
        """Enqueue a copy from the GPU into page-locked memory."""

    @abstractmethod
    def destroy(self) -> None:
        """Give it back; its context must be current."""


class DriverCalls(ABC):
    """The calls of one Python package. Those below `retain` need a current context.

    Attributes:
        name: the package.
        errors: what its calls raise.
    """

    name: ClassVar[str]
    errors: tuple[type[Exception], ...]

    @abstractmethod
    def count_devices(self) -> int:
        """Start CUDA; the number of GPUs that this process sees."""

    @abstractmethod
    def read_facts(self, ordinal: int) -> DeviceFacts:
        """Facts of a GPU."""

    @abstractmethod
    def retain(self, ordinal: int) -> Any:
        """The GPU's primary context, which lives until it is released."""

    @abstractmethod
    def release(self, context: Any) -> None:
        """Release the primary context, from whichever thread."""

    @abstractmethod
    def push(self, context: Any) -> Callable[[], object]:
        """What makes a context current on the thread that calls it."""

    @property
    @abstractmethod
    def pop(self) -> Callable[[], object]:
        """What takes the current context off."""

    @abstractmethod
    def make_stream(self) -> DriverStream:
        """A stream that does not wait for the legacy default stream."""

    @abstractmethod
    def allocate(self, size: int) -> Allocation:
        """Memory of the GPU, in bytes."""

    @abstractmethod
    def allocate_pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> Allocation:
        """Page-locked host memory that the GPU sees at an address."""
