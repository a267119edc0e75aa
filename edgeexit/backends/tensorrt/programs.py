"""Engines as programs: staged, fused, straight to the last exit, and in batches."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from edgeexit.backends.base import Array, Batch, BoundStage, Program, StagedProgram
from edgeexit.backends.cuda import Decider, DeciderUnavailable, HostDecider, choose_decider, forget_frames
from edgeexit.backends.cuda.graphs import GraphExec, capture_graph
from edgeexit.backends.tensorrt.device_program import DeviceProgram
from edgeexit.backends.tensorrt.engines import Engines, EngineTensor
from edgeexit.backends.tensorrt.measured_choices import COPIED, choose_input_memory, rank_deciders
from edgeexit.bundle import Manifest


class DeciderWarning(UserWarning):
    """The decision cannot be made in the way that was asked for; the answers are the same, the latency is not."""


class _DeviceResources:
    """Resources of a program: its share of the engines, and its buffers."""

    def __init__(self, engines: Engines, exits: Sequence[tuple[str, str | None]]) -> None:
        self.engines = engines
        self.exits = exits
        self.device = engines.device
        self._closers: list[Callable[[], None]] = [engines.release]
        with self.closing_on_error(), self.device.active("setting up the engines"):
            copied = choose_input_memory(engines, exits) == COPIED
            self.bound = DeviceProgram(engines, exits, copy_inputs=copied)
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
        self._stream = held.bound.stream
        self._active = held.device.active(f"running stage {index + 1}")
        self._decider = decider
        self._index = index
        self.logits = held.bound.results[index].logits
        self.score = held.bound.results[index].score

    def run(self) -> None:
        with self._active:
            self._decider.launch(self._index)
            self._stream.synchronize()


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
            medians = rank_deciders(held.bound)
            wanted = ("graph",) if medians.get("graph", math.inf) < medians["host"] else ()
            decider, reasons = choose_decider(
                held.bound.stream, held.bound.plans, held.bound.memory, held.bound.inputs, wanted
            )
            assert isinstance(decider, HostDecider)
            held.when_closed(decider.close)
        self.decided_by, self.reasons = decider.name, dict(reasons)
        stages = [_EngineStage(held, decider, index) for index in range(len(manifest.stages))]
        super().__init__(held.bound.inputs, stages)

    def clone(self) -> TensorRtStaged:  # noqa: D102 - see base
        return TensorRtStaged(self._held.engines.share(), self._manifest)

    def close(self) -> None:  # noqa: D102 - see base
        self._held.close()


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
                held.bound.stream, held.bound.plans, held.bound.memory, held.bound.inputs, ("device", "graph")
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
        self._made = held.bound.results[0].logits
        self._logits = np.zeros(self._made.shape, np.float32)  # an engine for float16 may give float16
        plan = held.bound.plans[0]
        self._stream = stream = held.bound.stream
        self._active = held.device.active("running the backbone")
        self._launch: Callable[[], None] = lambda: plan.enqueue(stream.handle)
        with held.closing_on_error(), held.device.active("setting up the backbone"):
            plan.enqueue(stream.handle)
            stream.synchronize()
            with suppress(DeciderUnavailable):
                graph: GraphExec = capture_graph(stream, plan.enqueue)
                held.when_closed(graph.close)
                self._launch = graph.launch

    def run(self, thresholds: Sequence[float]) -> int:  # noqa: ARG002, D102 - nothing to decide
        with self._active:
            self._launch()
            self._stream.synchronize()
        self._logits[...] = self._made
        return 1

    def logits(self, exit: int) -> NDArray[np.float32]:  # noqa: ARG002, D102 - see base
        return self._logits

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
        with self._held.device.active("running a batch"):
            for slot in slots:
                if slot.is_input and slot.name in bound.inputs:
                    bound.inputs[slot.name][...] = sample[slot.name]
                elif slot.is_input:
                    bound.write(slot, sample[slot.name])
            bound.plans[index].enqueue(bound.stream.handle)
            bound.stream.synchronize()
            named = {entry.logits: bound.results[index].logits, entry.score: bound.results[index].score}
            outputs = (slot for slot in slots if not slot.is_input)
            return {s.name: named[s.name].copy() if s.name in named else bound.read(s) for s in outputs}

    def close(self) -> None:
        """Give engines and memory back."""
        self._held.close()
