"""CUDA graphs: capture what goes onto a stream, launch it in one call, nest it under conditional nodes.

Rules that hold everywhere here (CUDA Programming Guide, "CUDA Graphs"): a capture that was begun is ended, also after an error, and the
graph that comes of it is destroyed; nothing is allocated or synchronised on this thread in between; a graph holds the addresses that it was
captured with, so memory outlives its graphs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

from edgeexit.backends.cuda.device import CudaDevice
from edgeexit.backends.cuda.errors import CudaError, DeciderUnavailable, check_call

Enqueue: TypeAlias = Callable[[int], None]
"""Puts work onto the stream of that handle and returns at once. It must raise when the work cannot be put there."""

FIRST_CONDITIONAL = 12040
"""CUDA 12.4, as drivers number it: the first with conditional IF nodes."""

_DEPENDENCIES = 4  # where cuStreamGetCaptureInfo returns them, in the bindings of CUDA 12 and 13
_ASSIGN_DEFAULT = 1  # CU_GRAPH_COND_ASSIGN_DEFAULT: each launch starts with the default value


class GraphExec:
    """An instantiated graph. `close` it before the memory that it names is given back."""

    def __init__(self, device: CudaDevice, graph: Any) -> None:
        from cuda.bindings import driver

        self._stream = device.stream
        self._graph = graph
        self._launch = driver.cuGraphLaunch
        try:
            (self._exec,) = check_call("cuGraphInstantiate", driver.cuGraphInstantiate(graph, 0))
        except CudaError:
            driver.cuGraphDestroy(graph)
            raise

    def launch(self) -> None:
        """Put the whole graph onto the stream."""
        (error,) = self._launch(self._exec, self._stream)
        if error:  # on the path of every inference: no call more than needed
            check_call("cuGraphLaunch", (error,))

    def close(self) -> None:
        """Destroy it; may be called twice."""
        from cuda.bindings import driver

        if self._exec is not None:
            driver.cuGraphExecDestroy(self._exec)
            driver.cuGraphDestroy(self._graph)
            self._exec = None


def capture_graph(device: CudaDevice, enqueue: Enqueue) -> GraphExec:
    """A graph of what `enqueue` puts onto the stream. It must have run once before: what allocates does so on its first run.

    Raises:
        Unavailable: something of it cannot be captured, with the reason.
    """
    from cuda.bindings import driver

    mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    try:
        check_call("cuStreamBeginCapture", driver.cuStreamBeginCapture(device.stream, mode))
        graph = _capture_to_end(device, enqueue)
        return GraphExec(device, graph)
    except list_cuda_exceptions(device) as error:
        raise DeciderUnavailable(f"capturing a graph failed ({error})") from error


def list_cuda_exceptions(device: CudaDevice) -> tuple[type[Exception], ...]:
    """Exceptions of a failed CUDA call: pycuda's errors, cuda-python's, and torch's RuntimeError."""
    return (CudaError, device.cuda.Error, RuntimeError)


def _capture_to_end(device: CudaDevice, enqueue: Enqueue) -> Any:
    from cuda.bindings import driver

    try:
        enqueue(device.stream)
    except BaseException:
        _abandon(device)
        raise
    (graph,) = check_call("cuStreamEndCapture", driver.cuStreamEndCapture(device.stream))
    return graph


def _abandon(device: CudaDevice) -> None:
    """End a capture that failed; an invalidated one gives no graph."""
    from cuda.bindings import driver

    error, graph = driver.cuStreamEndCapture(device.stream)
    if not int(error):
        driver.cuGraphDestroy(graph)


class ConditionalGraph:
    """A graph under construction: work at the top, and below it bodies that run only if a kernel enables them.

        root ── stage 1 ── decide ── IF ┐
                                        └─ body ── stage 2 ── decide ── IF ┐
                                                                           └─ ...

    Only plain IF nodes are used, nested; those with an else branch need CUDA 12.8. Bodies hold kernels, copies and such nodes alone.
    """

    def __init__(self, device: CudaDevice) -> None:
        from cuda.bindings import driver

        self._device = device
        (self._root,) = check_call("cuGraphCreate", driver.cuGraphCreate(0))
        self._open: Any = self._root

    def handle(self) -> int:
        """A condition for the next `descend`, 0 at every launch until a kernel of this level sets it."""
        from cuda.bindings import driver

        (context,) = check_call("cuCtxGetCurrent", driver.cuCtxGetCurrent())
        (self._handle,) = check_call(
            "cuGraphConditionalHandleCreate",
            driver.cuGraphConditionalHandleCreate(self._open, context, 0, _ASSIGN_DEFAULT),
        )
        return int(self._handle)

    def add(self, enqueue: Enqueue) -> None:
        """Capture work into the level that is open; called once per level."""
        from cuda.bindings import driver

        stream = self._device.stream
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        begun = driver.cuStreamBeginCaptureToGraph(stream, self._open, None, None, 0, mode)
        check_call("cuStreamBeginCaptureToGraph", begun)
        try:
            enqueue(stream)
            info = check_call("cuStreamGetCaptureInfo", driver.cuStreamGetCaptureInfo(stream))
            self._last = list(info[_DEPENDENCIES - 1] or [])
        except BaseException:
            driver.cuStreamEndCapture(stream)  # the graph is ours and stays; `abandon` destroys it
            raise
        check_call("cuStreamEndCapture", driver.cuStreamEndCapture(stream))

    def descend(self) -> None:
        """Add the IF node of the last `handle` behind the captured work, and open its body."""
        from cuda.bindings import driver

        parameters = driver.CUgraphNodeParams()
        parameters.type = driver.CUgraphNodeType.CU_GRAPH_NODE_TYPE_CONDITIONAL
        parameters.conditional.handle = self._handle
        parameters.conditional.type = driver.CUgraphConditionalNodeType.CU_GRAPH_COND_TYPE_IF
        parameters.conditional.size = 1
        (context,) = check_call("cuCtxGetCurrent", driver.cuCtxGetCurrent())
        parameters.conditional.ctx = context
        check_call("cuGraphAddNode", _add_node(self._open, self._last, parameters))
        self._open = parameters.conditional.phGraph_out[0]

    def finish(self) -> GraphExec:
        """The graph, ready to launch."""
        return GraphExec(self._device, self._root)

    def abandon(self) -> None:
        """Destroy what was made so far, bodies with it."""
        from cuda.bindings import driver

        driver.cuGraphDestroy(self._root)


def _add_node(graph: Any, after: list[Any], parameters: Any) -> tuple[Any, ...]:
    """`cuGraphAddNode` took no edge data in the bindings of CUDA 12 and takes it in those of CUDA 13."""
    from cuda.bindings import driver

    add: Any = driver.cuGraphAddNode
    edges = (None,) if get_binding_major() >= 13 else ()
    return tuple(add(graph, after, *edges, len(after), parameters))


def get_binding_major() -> int:
    """CUDA's major version that the installed cuda-python speaks."""
    from importlib.metadata import version

    return int(version("cuda-bindings").partition(".")[0])


_SOURCE = b"""
typedef unsigned long long cudaGraphConditionalHandle;
extern "C" __device__ void cudaGraphSetConditional(cudaGraphConditionalHandle handle, unsigned int value);

// One thread. A NaN score never passes the threshold: the comparison is false and the next stage runs.
extern "C" __global__ void edgeexit_decide(const float *score, const float *threshold, int *exit, int number,
                                           cudaGraphConditionalHandle goes_on)
{
    const unsigned int unsure = !(*score >= *threshold);
    *exit = number + (int)unsure;
    cudaGraphSetConditional(goes_on, unsure);
}
"""


class DecideKernel:
    """The kernel that compares a score with its threshold on the GPU, compiled for it when it is first needed.

    Raises:
        Unavailable: no NVRTC, or it cannot compile for this GPU, with its reason.
    """

    def __init__(self, device: CudaDevice) -> None:
        from cuda.bindings import driver

        image = compile_kernel(_SOURCE, device.facts.compute_capability)
        self._module: Any = None
        try:
            (self._module,) = check_call("cuModuleLoadData", driver.cuModuleLoadData(image))
            (self._function,) = check_call(
                "cuModuleGetFunction", driver.cuModuleGetFunction(self._module, b"edgeexit_decide")
            )
        except CudaError as error:
            self.close()
            raise DeciderUnavailable(f"the decision kernel cannot be loaded ({error})") from error

    def enqueue(self, stream: int, *, score: int, threshold: int, exit: int, number: int, condition: int) -> None:
        """Put one decision onto a stream: addresses of score, threshold and the int32 that gets the exit; its number; the condition."""
        from cuda.bindings import driver

        values = (score, threshold, exit, number, condition)
        kinds = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64)
        launched = driver.cuLaunchKernel(self._function, 1, 1, 1, 1, 1, 1, 0, stream, (values, kinds), 0)
        check_call("cuLaunchKernel", launched)

    def close(self) -> None:
        """Unload it; may be called twice."""
        from cuda.bindings import driver

        if self._module is not None:
            driver.cuModuleUnload(self._module)
            self._module = None


def compile_kernel(source: bytes, compute_capability: str) -> bytes:
    """PTX of a kernel, for this compute capability (`8.7`) and newer.

    Raises:
        Unavailable: NVRTC is missing or refuses, with its log.
    """
    try:
        from cuda.bindings import nvrtc
    except ImportError as error:
        raise DeciderUnavailable(f"NVRTC is missing ({error}); it comes with: pip install nvidia-cuda-nvrtc") from error
    option = f"--gpu-architecture=compute_{compute_capability.replace('.', '')}".encode()
    try:
        (program,) = check_call("nvrtcCreateProgram", nvrtc.nvrtcCreateProgram(source, b"edgeexit.cu", 0, [], []))
    except (CudaError, RuntimeError) as error:  # cuda-python raises RuntimeError where the library itself is absent
        raise DeciderUnavailable(
            f"NVRTC cannot be used ({error}); it comes with: pip install nvidia-cuda-nvrtc"
        ) from error
    try:
        (result,) = nvrtc.nvrtcCompileProgram(program, 1, [option])
        if int(result):
            raise DeciderUnavailable(
                f"NVRTC cannot compile for compute capability {compute_capability}: {_read_compile_log(nvrtc, program)}"
            )
        (size,) = check_call("nvrtcGetPTXSize", nvrtc.nvrtcGetPTXSize(program))
        image = bytes(size)
        check_call("nvrtcGetPTX", nvrtc.nvrtcGetPTX(program, image))
        return image
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _read_compile_log(nvrtc: Any, program: Any) -> str:
    with suppress(CudaError):
        (size,) = check_call("nvrtcGetProgramLogSize", nvrtc.nvrtcGetProgramLogSize(program))
        text = bytes(size)
        check_call("nvrtcGetProgramLog", nvrtc.nvrtcGetProgramLog(program, text))
        return text.decode(errors="replace").strip(" \0\n")[:300]
    return "no log"
