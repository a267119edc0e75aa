"""Three ways to decide whether the next stage runs; the same answers.

                    per stage taken                                          needs
    HostDecider     enqueue, wait, compare                                   nothing
    GraphDecider    one graph launch, wait, compare                          bodies that can be captured
    DeviceDecider   nothing; one launch and one wait per sample              CUDA 12.4, bodies that can be captured

Everything that runs per sample is on one stream, so the order of enqueueing is the order of execution.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeexit.backends.cuda.decide_kernel import DecideKernel
from edgeexit.backends.cuda.device import CudaStream
from edgeexit.backends.cuda.errors import DeciderUnavailable
from edgeexit.backends.cuda.graphs import (
    FIRST_CONDITIONAL,
    ConditionalGraph,
    Enqueue,
    GraphExec,
    capture_graph,
    list_cuda_exceptions,
)
from edgeexit.backends.cuda.memory import DeviceMemory


@dataclass(frozen=True)
class StagePlan:
    """One stage, whatever computes it: TensorRT, torch, a kernel.

    Attributes:
        enqueue: puts all of the stage onto a stream: copies in, the network, copies out.
        score: float32 [1] on the host; holds the inner score when the stream is done.
        score_address: where the GPU sees the score as float32.
    """

    enqueue: Enqueue
    score: NDArray[np.float32]
    score_address: int


class Decider(ABC):
    """Runs the stages of one network on one stream. The device's context must be current in every call.

    Attributes:
        name: `host`, `graph` or `device`.
    """

    name: ClassVar[str]

    def __init__(self, stream: CudaStream, plans: Sequence[StagePlan]) -> None:
        self.stream = stream
        self.plans = tuple(plans)
        self.exits = len(self.plans)

    @abstractmethod
    def run(self, thresholds: Sequence[float]) -> int:
        """Run to the first exit whose score is at least its threshold, wait for it; its number from 1."""

    def close(self) -> None:  # noqa: B027 - what holds no graph has nothing to give back
        """Give graphs back; may be called twice. The stream must be idle."""


class HostDecider(Decider):
    """(a) The host enqueues a stage, waits for it and compares."""

    name = "host"

    def launch(self, stage: int) -> None:
        """Put a stage, from 0, onto the stream."""
        self.plans[stage].enqueue(self.stream.handle)

    def run(self, thresholds: Sequence[float]) -> int:  # noqa: D102 - see base
        for stage, threshold in enumerate(thresholds):
            self.launch(stage)
            self.stream.synchronize()
            if self.plans[stage].score[0] >= threshold:
                return stage + 1
        self.launch(self.exits - 1)
        self.stream.synchronize()
        return self.exits


class GraphDecider(HostDecider):
    """(b) As (a), each stage captured once and launched as one graph.

    Raises:
        Unavailable: a stage cannot be captured, with the reason.
    """

    name = "graph"

    def __init__(self, stream: CudaStream, plans: Sequence[StagePlan]) -> None:
        super().__init__(stream, plans)
        self._graphs: list[GraphExec] = []
        try:
            for plan in self.plans:
                _run_once(stream, plan.enqueue)
                self._graphs.append(capture_graph(stream, plan.enqueue))
        except BaseException:
            self.close()
            raise

    def launch(self, stage: int) -> None:  # noqa: D102 - see base
        self._graphs[stage].launch()

    def close(self) -> None:  # noqa: D102 - see base
        while self._graphs:
            self._graphs.pop().close()


class DeviceDecider(Decider):
    """(c) One graph: stage k+1 lies in the body of an IF node that a kernel behind stage k opens.

    Thresholds lie in the GPU's memory, so new ones need no new capture.

    Raises:
        Unavailable: the driver is older than CUDA 12.4, a stage cannot be captured, or the kernel cannot be loaded; with the reason.
    """

    name = "device"

    def __init__(self, stream: CudaStream, plans: Sequence[StagePlan], memory: DeviceMemory) -> None:
        super().__init__(stream, plans)
        if stream.device.facts.driver_version < FIRST_CONDITIONAL:
            version = stream.device.facts.driver_version
            msg = f"deciding on the GPU needs CUDA 12.4; this driver speaks {version // 1000}.{version % 1000 // 10}"
            raise DeciderUnavailable(msg)
        self._thresholds = memory.allocate_pinned((max(self.exits - 1, 1),), np.float32)
        self._on_device = memory.device(self._thresholds.host.nbytes)
        self._exit = memory.allocate_pinned((1,), np.int32)
        self._set: Sequence[float] | None = None
        self._owned = ExitStack()
        try:
            self._kernel = DecideKernel()
            self._owned.callback(self._kernel.close)
            for plan in self.plans:
                _run_once(stream, plan.enqueue)
            self._graph = self._capture_nested()
            self._owned.callback(self._graph.close)
        except list_cuda_exceptions(stream) as error:
            self._owned.close()
            raise DeciderUnavailable(f"building the conditional graph failed ({error})") from error
        except BaseException:
            self._owned.close()
            raise

    def _capture_nested(self) -> GraphExec:
        graph = ConditionalGraph(self.stream)
        try:
            for stage in range(self.exits - 1):
                graph.add(self._stage_and_decision(stage, graph.handle()))
                graph.descend()
            graph.add(self.plans[-1].enqueue)
        except BaseException:
            graph.abandon()
            raise
        return graph.finish()

    def _stage_and_decision(self, stage: int, condition: int) -> Enqueue:
        plan = self.plans[stage]
        threshold = self._on_device + stage * self._thresholds.host.itemsize

        def enqueue(stream: int) -> None:
            plan.enqueue(stream)
            self._kernel.enqueue(
                stream,
                score=plan.score_address,
                threshold=threshold,
                exit=self._exit.address,
                number=stage + 1,
                condition=condition,
            )

        return enqueue

    def run(self, thresholds: Sequence[float]) -> int:  # noqa: D102 - see base
        if thresholds is not self._set:  # callers pass the same object until they change a threshold
            self._write(thresholds)
        self._graph.launch()
        self.stream.synchronize()
        return int(self._exit.host[0]) if self.exits > 1 else 1

    def _write(self, thresholds: Sequence[float]) -> None:
        self._thresholds.host[: len(thresholds)] = thresholds
        self.stream.copy_in(self._on_device, self._thresholds.host)
        self.stream.synchronize()
        self._set = thresholds

    def close(self) -> None:  # noqa: D102 - see base
        self._owned.close()


def _run_once(stream: CudaStream, enqueue: Enqueue) -> None:
    """Run each stage once: lazy allocation and loading on a first run would fail inside a capture."""
    enqueue(stream.handle)
    stream.synchronize()
