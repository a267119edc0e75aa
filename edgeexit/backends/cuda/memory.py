"""Memory for the GPU: allocated at load, given back in one place, in the reverse order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from edgeexit.backends.base import Array
from edgeexit.backends.cuda.device import CudaDevice
from edgeexit.backends.cuda.errors import translate_cuda_errors
from edgeexit.errors import InternalError
from edgeexit.util.units import bytes_

ALIGNMENT = 256
"""Alignment of CUDA allocations, which TensorRT requires, in bytes."""


def align_size(size: int) -> int:
    """The size rounded up, so that what lies behind it in one allocation is aligned too."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class PinnedBuffer:
    """Page-locked memory that both sides see.

    Attributes:
        host: the NumPy view.
        address: where the GPU sees it.
    """

    host: Array
    address: int


class DeviceMemory:
    """Allocations on one device; `close` gives all of them back. The stream must be idle then."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._owned = ExitStack()

    def device(self, size: int) -> int:
        """Memory of the GPU, at least one byte; its address.

        Raises:
            HardwareMissing: out of memory.
        """
        with translate_cuda_errors(f"allocating {bytes_(size)} on the GPU"):
            allocation = self._device.calls.allocate(align_size(max(size, 1)))
        self._owned.callback(allocation.free)
        return _check_alignment(allocation.address)

    def allocate_pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> PinnedBuffer:
        """Page-locked, mapped host memory, zeroed.

        Raises:
            HardwareMissing: out of memory.
        """
        with translate_cuda_errors("allocating page-locked memory"):
            allocation = self._device.calls.allocate_pinned(shape, dtype)
        self._owned.callback(allocation.free)
        assert allocation.host is not None
        allocation.host[...] = np.zeros((), allocation.host.dtype)
        return PinnedBuffer(allocation.host, _check_alignment(allocation.address))

    def when_closed(self, give_back: Callable[[], None]) -> None:
        """Have something given back with the rest, before what was allocated earlier."""
        self._owned.callback(give_back)

    def close(self) -> None:
        """Give everything back; may be called twice."""
        self._owned.close()


def _check_alignment(address: int) -> int:
    if address % ALIGNMENT:
        msg = f"CUDA gave the address {address:#x}, which is not aligned to {ALIGNMENT} bytes. Please report it with the device."
        raise InternalError(msg)
    return address
