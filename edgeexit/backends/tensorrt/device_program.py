"""One program's memory on the device: buffers handed from stage to stage by address, results in one small block per stage.

integrated GPU (Jetson)   results lie in mapped page-locked memory, which both sides see; inputs too, or are copied, whichever was faster
discrete GPU              inputs are copied in by the first stage that reads them; score and logits come back in one copy, because two
                          would be two transfers over the bus for a few bytes
boundary tensors          on the GPU; stage k's output buffer is stage k+1's input buffer
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeexit.backends.base import Array
from edgeexit.backends.cuda import ALIGNMENT, CudaStream, DeviceMemory, PinnedBuffer, StagePlan
from edgeexit.backends.tensorrt.engines import Engines, EngineTensor
from edgeexit.errors import InternalError


@dataclass(frozen=True)
class StageOutputs:
    """One stage's logits [1, classes] and score [1] as the host sees them."""

    logits: NDArray[np.float32]
    score: NDArray[np.float32]


class DeviceProgram:
    """Everything of one program on the device: a stream, contexts, buffers, and a StagePlan per stage. The context must be current.

    Attributes:
        stream: its own, so that nothing of another program, such as a capture, is in its way.
        inputs: host buffers by name.
        plans: one per engine.
        results: one per engine.
    """

    def __init__(self, engines: Engines, exits: Sequence[tuple[str, str | None]], *, copy_inputs: bool) -> None:
        """Make everything.

        Args:
            engines: engines to run.
            exits: names of each engine's logits and, where it has one, score output.
            copy_inputs: copy inputs to memory of the GPU; otherwise it reads them where the host writes them.
        """
        self.engines = engines
        self._copy_inputs = copy_inputs
        self._integrated = engines.device.facts.integrated
        self.stream = CudaStream(engines.device)
        self.memory = DeviceMemory(engines.device)
        self.memory.when_closed(self.stream.close)
        self.inputs: dict[str, Array] = {}
        self.plans: list[StagePlan] = []
        self.results: list[StageOutputs] = []
        self._addresses: dict[str, int] = {}
        self._stagings: dict[str, Array] = {}
        try:
            contexts = engines.contexts(self.memory)
            for index, (context, (logits, score)) in enumerate(zip(contexts, exits, strict=True)):
                slots = engines.slots(index)
                copies_in = self._place_inputs(slots)
                out, plan_score, score_address = self._place_outputs(slots, logits, score)
                context.bind((slot.name, self._addresses[slot.name]) for slot in slots)
                self.plans.append(StagePlan(_chain_steps(*copies_in, context.enqueue, *out), plan_score, score_address))
        except BaseException:
            self.memory.close()
            raise

    def _place_inputs(self, slots: Sequence[EngineTensor]) -> list[Callable[[int], None]]:
        """Room for the model inputs that no earlier stage read; the copies that bring them to the GPU."""
        copies: list[Callable[[int], None]] = []
        for slot in slots:
            if not slot.is_input or slot.name in self._addresses:
                continue
            pinned = self.memory.allocate_pinned(slot.shape, slot.dtype)
            self.inputs[slot.name] = pinned.host
            self._addresses[slot.name] = pinned.address
            if self._copy_inputs:
                self._addresses[slot.name] = self.memory.device(pinned.host.nbytes)
                copies.append(self._copy_in(self._addresses[slot.name], pinned.host))
        return copies

    def _place_outputs(
        self, slots: Sequence[EngineTensor], logits: str, score: str | None
    ) -> tuple[list[Callable[[int], None]], NDArray[np.float32], int]:
        """Room for what the stage makes: boundaries on the GPU, results where the host sees them."""
        outputs = {slot.name: slot for slot in slots if not slot.is_input}
        for name in outputs.keys() - {logits, score}:
            self._addresses[name] = self.memory.device(_count_bytes(outputs[name]))
        _check_types(outputs, score)
        first = 0 if score is None else ALIGNMENT
        size = first + _count_bytes(outputs[logits])
        block, where, copies = self._block(size)
        self._addresses[logits] = where + first
        if score is not None:
            self._addresses[score] = where
        values = block.host[first:size].view(outputs[logits].dtype).reshape(1, -1)
        host_score = block.host[:4].view(np.float32) if score is not None else np.full(1, np.nan, np.float32)
        self.results.append(StageOutputs(values, host_score))
        return copies, host_score, where

    def _block(self, size: int) -> tuple[PinnedBuffer, int, list[Callable[[int], None]]]:
        pinned = self.memory.allocate_pinned((size,), np.uint8)
        if self._integrated:
            return pinned, pinned.address, []
        where = self.memory.device(size)
        stream = self.stream
        return pinned, where, [lambda _stream: stream.copy_out(pinned.host, where)]

    def _copy_in(self, address: int, host: Array) -> Callable[[int], None]:
        stream = self.stream
        return lambda _stream: stream.copy_in(address, host)

    def write(self, slot: EngineTensor, values: Array) -> None:
        """Put values into a boundary tensor on the GPU, and wait."""
        staging = self._staging(slot)
        staging[...] = values
        self.stream.copy_in(self._addresses[slot.name], staging)
        self.stream.synchronize()

    def read(self, slot: EngineTensor) -> Array:
        """A copy of a boundary tensor on the GPU."""
        staging = self._staging(slot)
        self.stream.copy_out(staging, self._addresses[slot.name])
        self.stream.synchronize()
        return np.array(staging)

    def _staging(self, slot: EngineTensor) -> Array:
        if slot.name not in self._stagings:
            self._stagings[slot.name] = self.memory.allocate_pinned(slot.shape, slot.dtype).host
        return self._stagings[slot.name]

    def close(self) -> None:
        """Give everything back once the stream is idle."""
        with suppress(
            Exception
        ):  # a stream that failed cannot be waited for, and its memory is to be given back all the same
            self.stream.synchronize()
        self.memory.close()


def _chain_steps(*steps: Callable[[int], None]) -> Callable[[int], None]:
    if len(steps) == 1:
        return steps[0]

    def enqueue(stream: int) -> None:
        for step in steps:
            step(stream)

    return enqueue


def _count_bytes(slot: EngineTensor) -> int:
    return math.prod(slot.shape) * np.dtype(slot.dtype).itemsize


def _check_types(outputs: Mapping[str, EngineTensor], score: str | None) -> None:
    if score is not None and outputs[score].dtype != "float32":
        msg = f"the score {score!r} came out of TensorRT as {outputs[score].dtype}, not float32. Please report it with the model."
        raise InternalError(msg)
