"""CUDA for stages of any kind: memory, a stream per program, captured graphs, and three ways to decide whether the next stage runs.

    StagePlan      what one stage enqueues on a stream, and where its score lies; nothing here knows what computes it
      │
      ├─ (a) HostDecider     enqueue, wait, compare one float, enqueue
      ├─ (b) GraphDecider    the same with one captured graph per stage: one launch instead of many
      └─ (c) DeviceDecider   one graph of nested conditional nodes; a tiny kernel compares, the host waits once

    CudaDevice ── primary context (shared with torch and TensorRT), spin or blocking wait
    CudaStream ── one per program: a capture on one disturbs nothing that runs on another
    DeviceMemory ── device and page-locked memory, everything given back in the reverse order

pycuda gives memory, streams and the context; it has no graph API, so graphs and the kernel use cuda-python on the same context. Where
pycuda is not installed, because it needs a compiler, cuda-python does its part too.
"""

from edgeexit.backends.cuda.choice import DeciderChoice, choose_decider, compare_deciders
from edgeexit.backends.cuda.deciders import Decider, DeviceDecider, GraphDecider, HostDecider, StagePlan
from edgeexit.backends.cuda.device import CudaDevice, CudaStream
from edgeexit.backends.cuda.driver_calls import DeviceFacts
from edgeexit.backends.cuda.errors import CudaError, DeciderUnavailable, forget_frames, translate_cuda_errors
from edgeexit.backends.cuda.memory import ALIGNMENT, DeviceMemory, PinnedBuffer

__all__ = [
    "ALIGNMENT",
    "CudaDevice",
    "CudaError",
    "CudaStream",
    "Decider",
    "DeciderChoice",
    "DeciderUnavailable",
    "DeviceDecider",
    "DeviceFacts",
    "DeviceMemory",
    "GraphDecider",
    "HostDecider",
    "PinnedBuffer",
    "StagePlan",
    "choose_decider",
    "compare_deciders",
    "forget_frames",
    "translate_cuda_errors",
]
