"""Engines as programs: buffers handed from stage to stage by address, results in one small block per stage.

integrated GPU (Jetson)   inputs and results lie in mapped page-locked memory, which both sides see: nothing is copied
discrete GPU              inputs are copied in by the first stage that reads them; score and logits come back in one copy, because two
                          would be two transfers over the bus for a few bytes
boundary tensors          on the GPU; stage k's output buffer is stage k+1's input buffer
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from edgeexit.backends.base import Array, Batch, BoundStage, Program, StagedProgram
from edgeexit.backends.cuda import (
    ALIGNMENT,
    Decider,
    DeciderChoice,
    DeciderUnavailable,
    DeviceMemory,
    HostDecider,
    PinnedBuffer,
    StagePlan,
    choose_decider,
    compare_deciders,
    forget_frames,
)
from edgeexit.backends.cuda.graphs import GraphExec, capture_graph
from edgeexit.backends.tensorrt.engines import Engines, EngineTensor
from edgeexit.bundle import Manifest
from edgeexit.errors import InternalError


class DeciderWarning(UserWarning):
    """The decision cannot be made in the way that was asked for; the answers are the same, the latency is not."""


@dataclass(frozen=True)
class StageOutputs:
    """One stage's logits [1, classes] and score [1] as the host sees them."""

    logits: NDArray[np.float32]
    score: NDArray[np.float32]


class DeviceProgram:
    """Everything of one program on the device: contexts, buffers, and a StagePlan per stage. The context must be current.

    Attributes:
        inputs: host buffers by name.
        plans: one per engine.
        results: one per engine.
    """

    def __init__(self, engines: Engines, exits: Sequence[tuple[str, str | None]]) -> None:
        """`exits` are the names of each engine's logits and, where it has one, score output."""
        self.engines = engines
        self._device = engines.device
        self._integrated = engines.device.facts.integrated
        self.memory = DeviceMemory(engines.device)
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
        """Room for the model inputs that no earlier stage read; the copies that bring them to a discrete GPU."""
        copies: list[Callable[[int], None]] = []
        for slot in slots:
            if not slot.is_input or slot.name in self._addresses:
                continue
            pinned = self.memory.allocate_pinned(slot.shape, slot.dtype)
            self.inputs[slot.name] = pinned.host
            self._addresses[slot.name] = pinned.address
            if not self._integrated:
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
        device = self._device
        return pinned, where, [lambda _stream: device.copy_out(pinned.host, where)]

    def _copy_in(self, address: int, host: Array) -> Callable[[int], None]:
        return lambda _stream: self._device.copy_in(address, host)

    def write(self, slot: EngineTensor, values: Array) -> None:
        """Put values into a boundary tensor on the GPU, and wait."""
        staging = self._staging(slot)
        staging[...] = values
        self._device.copy_in(self._addresses[slot.name], staging)
        self._device.synchronize()

    def read(self, slot: EngineTensor) -> Array:
        """A copy of a boundary tensor on the GPU."""
        staging = self._staging(slot)
        self._device.copy_out(staging, self._addresses[slot.name])
        self._device.synchronize()
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
            self._device.synchronize()
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


class _DeviceResources:
    """Resources of a program: its share of the engines, and its buffers."""

    def __init__(self, engines: Engines, exits: Sequence[tuple[str, str | None]]) -> None:
        self.engines = engines
        self.exits = exits
        self.device = engines.device
        self._closers: list[Callable[[], None]] = [engines.release]
        with self.closing_on_error(), self.device.active("setting up the engines"):
            self.bound = DeviceProgram(engines, exits)
            self._closers.append(self.bound.close)

    def closing_on_error(self) -> _ClosingOnError:
        return _ClosingOnError(self)

    def when_closed(self, give_back: Callable[[], None]) -> None:
        self._closers.append(give_back)

    def close(self) -> None:
        while len(self._closers) > 1:
            with self.device.active("giving memory back"):
                self._closers.pop()()
        while self._closers:  # the engines, which look after the context themselves: with the last of them it goes
            self._closers.pop()()


class _ClosingOnError:
    def __init__(self, held: _DeviceResources) -> None:
        self._held = held

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        if error is not None:
            forget_frames(error)
            self._held.close()


class _EngineStage(BoundStage):
    def __init__(self, held: _DeviceResources, decider: HostDecider, index: int) -> None:
        self._device = held.device
        self._active = held.device.active(f"running stage {index + 1}")
        self._decider = decider
        self._index = index
        self.logits = held.bound.results[index].logits
        self.score = held.bound.results[index].score

    def run(self) -> None:
        with self._active:
            self._decider.launch(self._index)
            self._device.synchronize()


class TensorRtStaged(StagedProgram):
    """(a) or (b): the host decides; with one captured graph per stage where that was measured to be faster.

    Attributes:
        decided_by: `host` or `graph`.
        reasons: why a faster way is not taken, by its name.
    """

    survives_fork = False  # CUDA cannot be used in a forked process

    def __init__(self, engines: Engines, manifest: Manifest) -> None:
        held = _DeviceResources(engines, [(s.logits, s.score) for s in manifest.stages])
        self._held = held
        self._manifest = manifest
        with held.closing_on_error(), held.device.active("setting up the stages"):
            wanted = ("graph",) if self._fastest() == "graph" else ()
            decider, reasons = choose_decider(
                held.device, held.bound.plans, held.bound.memory, held.bound.inputs, wanted
            )
            assert isinstance(decider, HostDecider)
            held.when_closed(decider.close)
        self.decided_by, self.reasons = decider.name, dict(reasons)
        stages = [_EngineStage(held, decider, index) for index in range(len(manifest.stages))]
        super().__init__(held.bound.inputs, stages)

    def _fastest(self) -> str:
        """Deciders from the fastest, as measured when these engines were first opened on this device."""
        engines = self._held.engines
        known = engines.cache.choice(engines.keys[-1])
        same = {"keys": engines.keys, "wait": engines.device.wait}
        if any(known.get(name) != value for name, value in same.items()) or "host" not in known.get("median_s", {}):
            known = {**same, **asdict(measure_deciders(self._held.bound))}
            engines.cache.keep_choice(engines.keys[-1], known)
        medians = {name: sum(times) for name, times in known["median_s"].items() if name != "device"}
        return str(min(medians, key=lambda name: medians[name]))

    def clone(self) -> TensorRtStaged:  # noqa: D102 - see base
        return TensorRtStaged(self._held.engines.share(), self._manifest)

    def close(self) -> None:  # noqa: D102 - see base
        self._held.close()


def measure_deciders(bound: DeviceProgram) -> DeciderChoice:
    """Every way to decide, proved and timed."""
    return compare_deciders(bound.engines.device, bound.plans, bound.memory, bound.inputs)


class TensorRtFused(Program):
    """(c): one graph with nested conditional nodes; the GPU decides. Falls back to (b), then (a), and says why.

    Attributes:
        decided_by: `device`, `graph` or `host`.
        reasons: why those before it do not work, by name.
    """

    survives_fork = False

    def __init__(self, engines: Engines, manifest: Manifest) -> None:
        held = _DeviceResources(engines, [(s.logits, s.score) for s in manifest.stages])
        self._held = held
        self._manifest = manifest
        self.exits = manifest.exits
        self.inputs = held.bound.inputs
        with held.closing_on_error(), held.device.active("setting up the conditional graph"):
            found, reasons = choose_decider(
                held.device, held.bound.plans, held.bound.memory, held.bound.inputs, ("device", "graph")
            )
            held.when_closed(found.close)
        self._decider: Decider = found
        self._active = held.device.active("running the network")
        self.decided_by, self.reasons = found.name, dict(reasons)
        if reasons:
            why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            warnings.warn(f"decisions are made by the {found.name} ({why}).", DeciderWarning, stacklevel=2)

    def run(self, thresholds: Sequence[float]) -> int:  # noqa: D102 - see base
        with self._active:
            return self._decider.run(thresholds)

    def logits(self, exit: int) -> NDArray[np.float32]:  # noqa: D102 - see base
        return self._held.bound.results[exit - 1].logits

    def score(self, exit: int) -> float:  # noqa: D102 - see base
        return float(self._held.bound.results[exit - 1].score[0])

    def clone(self) -> TensorRtFused:  # noqa: D102 - see base
        return TensorRtFused(self._held.engines.share(), self._manifest)

    def close(self) -> None:  # noqa: D102 - see base
        self._held.close()


class TensorRtBackbone(Program):
    """The network straight to its last exit, as one captured graph where it can be captured: a fair opponent."""

    exits = 1
    survives_fork = False

    def __init__(self, engines: Engines, logits: str) -> None:
        held = _DeviceResources(engines, [(logits, None)])
        self._held = held
        self._name = logits
        self.inputs = held.bound.inputs
        plan = held.bound.plans[0]
        stream = held.device.stream
        self._active = held.device.active("running the backbone")
        self._launch: Callable[[], None] = lambda: plan.enqueue(stream)
        with held.closing_on_error(), held.device.active("setting up the backbone"):
            plan.enqueue(stream)
            held.device.synchronize()
            with suppress(DeciderUnavailable):
                graph: GraphExec = capture_graph(held.device, plan.enqueue)
                held.when_closed(graph.close)
                self._launch = graph.launch

    def run(self, thresholds: Sequence[float]) -> int:  # noqa: ARG002, D102 - nothing to decide
        with self._active:
            self._launch()
            self._held.device.synchronize()
        return 1

    def logits(self, exit: int) -> NDArray[np.float32]:  # noqa: ARG002, D102 - see base
        return np.asarray(self._held.bound.results[0].logits, np.float32)

    def score(self, exit: int) -> float:  # noqa: ARG002, D102 - it has no criterion
        return math.nan

    def clone(self) -> TensorRtBackbone:  # noqa: D102 - see base
        return TensorRtBackbone(self._held.engines.share(), self._name)

    def close(self) -> None:  # noqa: D102 - see base
        self._held.close()


class TensorRtBatch(Batch):
    """Many samples through engines of batch 1: each stage for one sample after the other, boundary tensors by way of the host.

    For throughput this is the wrong tool; it keeps `Runner.batch` right on every backend.
    """

    def __init__(self, engines: Engines, manifest: Manifest) -> None:
        self._manifest = manifest
        self._held = _DeviceResources(engines, [(s.logits, s.score) for s in manifest.stages])

    def run(self, stage: int, tensors: Mapping[str, Array]) -> dict[str, Array]:  # noqa: D102 - see base
        slots = self._held.engines.slots(stage - 1)
        count = len(tensors[next(slot.name for slot in slots if slot.is_input)])
        rows = [self._one(stage - 1, slots, {n: a[i : i + 1] for n, a in tensors.items()}) for i in range(count)]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def _one(self, index: int, slots: Sequence[EngineTensor], sample: Mapping[str, Array]) -> dict[str, Array]:
        bound, entry = self._held.bound, self._manifest.stages[index]
        device = self._held.device
        with device.active("running a batch"):
            for slot in slots:
                if slot.is_input and slot.name in bound.inputs:
                    bound.inputs[slot.name][...] = sample[slot.name]
                elif slot.is_input:
                    bound.write(slot, sample[slot.name])
            bound.plans[index].enqueue(device.stream)
            device.synchronize()
            named = {entry.logits: bound.results[index].logits, entry.score: bound.results[index].score}
            outputs = (slot for slot in slots if not slot.is_input)
            return {s.name: named[s.name].copy() if s.name in named else bound.read(s) for s in outputs}

    def close(self) -> None:
        """Give engines and memory back."""
        self._held.close()
