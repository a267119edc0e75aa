"""Stages of one hand-written kernel each, of chosen time and score: what lies between stages is seen alone."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu._nvrtc import compile_kernel
from edgeexit.backends.cuda import CudaDevice, DeviceMemory, StagePlan
from edgeexit.backends.cuda.errors import check_call

_SOURCE = b"""
// Waits until `nanoseconds` have passed on the GPU's own clock, then gives the score of this sample and stage, and counts its runs.
extern "C" __global__ void stage(const int *sample, const float *scores, float *score, int *runs, int stages, int stage,
                                 long long nanoseconds)
{
    long long start, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
    do { asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now)); } while (now - start < nanoseconds);
    *score = scores[*sample * stages + stage];
    runs[stage] += 1;
}
"""


class KernelStages:
    """Scripted stages on a device; its context must be current.

    Args:
        device: the GPU.
        memory: gives the buffers back.
        scores: float32 [n, stages] of every sample.
        stage_s: seconds that each stage takes.

    Attributes:
        plans: one per stage.
        runs: int32 [stages], how often each stage ran; read when the stream is idle.
    """

    def __init__(
        self, device: CudaDevice, memory: DeviceMemory, scores: NDArray[np.float32], stage_s: tuple[float, ...]
    ) -> None:
        from cuda.bindings import driver

        image = compile_kernel(_SOURCE, device.facts.compute_capability)
        (module,) = check_call("cuModuleLoadData", driver.cuModuleLoadData(image))
        memory.when_closed(lambda: driver.cuModuleUnload(module) and None)
        (self._function,) = check_call("cuModuleGetFunction", driver.cuModuleGetFunction(module, b"stage"))
        self._device = device
        self._stages = len(stage_s)
        self._sample = memory.allocate_pinned((1,), np.int32)
        self._runs = memory.allocate_pinned((self._stages,), np.int32)
        self._scores = memory.allocate_pinned(scores.shape, np.float32)
        self._scores.host[...] = scores
        self.runs: NDArray[np.int32] = self._runs.host
        self.plans = [self._plan(k, duration, memory) for k, duration in enumerate(stage_s)]

    def choose(self, sample: int) -> None:
        """The sample that the next run is of."""
        self._sample.host[0] = sample

    def _plan(self, stage: int, duration_s: float, memory: DeviceMemory) -> StagePlan:
        score = memory.allocate_pinned((1,), np.float32)
        values = (
            self._sample.address,
            self._scores.address,
            score.address,
            self._runs.address,
            self._stages,
            stage,
            round(duration_s * 1e9),
        )
        kinds = (*[ctypes.c_void_p] * 4, ctypes.c_int, ctypes.c_int, ctypes.c_longlong)

        def enqueue(stream: int) -> None:
            from cuda.bindings import driver

            launched = driver.cuLaunchKernel(self._function, 1, 1, 1, 1, 1, 1, 0, stream, (values, kinds), 0)
            check_call("cuLaunchKernel", launched)

        return StagePlan(enqueue, score.host, score.address)
