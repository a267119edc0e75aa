"""`cuda.bindings.driver` and `cuda.bindings.nvrtc` as far as edgeexit uses them, of cuda-python 12 or 13."""

from __future__ import annotations

import enum
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tests.support.simulated.gpu import Exec, Gpu, Graph, Op

_BODY_KINDS = {"kernel", "memcpy", "memset", "conditional"}  # cudaConditionalNodeParams: what a body may hold


class CUresult(enum.IntEnum):
    """Errors."""

    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900


class CUstreamCaptureMode(enum.IntEnum):
    """Capture modes."""

    CU_STREAM_CAPTURE_MODE_GLOBAL = 0
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1
    CU_STREAM_CAPTURE_MODE_RELAXED = 2


class CUgraphNodeType(enum.IntEnum):
    """Kinds of node."""

    CU_GRAPH_NODE_TYPE_CONDITIONAL = 13


class CUgraphConditionalNodeType(enum.IntEnum):
    """Kinds of conditional node."""

    CU_GRAPH_COND_TYPE_IF = 0


_OK = CUresult.CUDA_SUCCESS
_BAD = CUresult.CUDA_ERROR_INVALID_VALUE


def driver_module(gpu: Gpu, major: int) -> ModuleType:
    """The driver bindings, on a GPU."""
    module = ModuleType("cuda.bindings.driver")

    def cuDeviceGet(ordinal: int) -> tuple[Any, ...]:
        return (_BAD, None) if gpu.fails("cuDeviceGet") else (_OK, ordinal)

    flags_set = {"flags": 0}

    def cuDevicePrimaryCtxSetFlags(dev: Any, flags: int) -> tuple[Any, ...]:
        flags_set["flags"] = flags
        return (_OK,)

    def cuDevicePrimaryCtxGetState(dev: Any) -> tuple[Any, ...]:
        failed = gpu.fails("cuDevicePrimaryCtxGetState")
        return (_BAD, 0, 0) if failed else (_OK, flags_set["flags"], int(gpu.primary_users > 0))

    def cuDevicePrimaryCtxRetain(dev: Any) -> tuple[Any, ...]:
        gpu.primary_users += 1
        return (_OK, "primary")

    def cuDevicePrimaryCtxRelease(dev: Any) -> tuple[Any, ...]:
        gpu.need(gpu.primary_users > 0, "the primary context is released twice")
        gpu.primary_users -= 1
        return (_OK,)

    def cuCtxPopCurrent() -> tuple[Any, ...]:
        gpu.need(gpu.primary_users > 0, "a context that no longer exists is popped")
        gpu.need(gpu.left_current > 0, "another library's context is popped")
        gpu.left_current -= 1
        return (_OK, "primary")

    def cuCtxGetCurrent() -> tuple[Any, ...]:
        return (_BAD, None) if gpu.fails("cuCtxGetCurrent") else (_OK, "primary")

    def cuStreamBeginCapture(hStream: int, mode: CUstreamCaptureMode) -> tuple[Any, ...]:
        gpu.need(
            mode == CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, "a capture that other threads can break"
        )
        if gpu.fails("cuStreamBeginCapture"):
            return (_BAD,)
        gpu.begin_capture(hStream, None)
        return (_OK,)

    def cuStreamBeginCaptureToGraph(
        hStream: int,
        hGraph: Graph,
        dependencies: Any,
        dependencyData: Any,
        numDependencies: int,
        mode: CUstreamCaptureMode,
    ) -> tuple[Any, ...]:
        gpu.need(
            mode == CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, "a capture that other threads can break"
        )
        gpu.need(numDependencies == len(dependencies or ()), "dependencies and their number differ")
        if gpu.fails("cuStreamBeginCaptureToGraph"):
            return (_BAD,)
        gpu.begin_capture(hStream, hGraph)
        return (_OK,)

    def cuStreamGetCaptureInfo(hStream: int) -> tuple[Any, ...]:
        stream = gpu.stream(hStream)
        gpu.need(stream.capture is not None, "asked for the capture of a stream that captures nothing")
        last = stream.captured[-1:]
        edges = ([None] * len(last),) if major >= 13 else ()
        if gpu.fails("cuStreamGetCaptureInfo"):
            return (_BAD, None, None, None, None, *(None for _ in edges), None)
        return (_OK, 1, 7, stream.capture, last, *edges, len(last))

    def cuStreamEndCapture(hStream: int) -> tuple[Any, ...]:
        graph = gpu.end_capture(hStream)
        if gpu.fails("cuStreamEndCapture"):
            if graph.parent is None and not graph.handles:
                gpu.destroy(graph)  # an invalidated capture gives no graph
            return (CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, None)
        return (_OK, graph)

    def cuGraphCreate(flags: int) -> tuple[Any, ...]:
        gpu.need_context("cuGraphCreate")
        if gpu.fails("cuGraphCreate"):
            return (_BAD, None)
        graph = Graph()
        gpu.graphs.append(graph)
        return (_OK, graph)

    handles = {"next": 100}

    def cuGraphConditionalHandleCreate(hGraph: Graph, ctx: Any, defaultLaunchValue: int, flags: int) -> tuple[Any, ...]:
        gpu.need(flags == 1, "a condition without a default would keep the value of the launch before")
        gpu.need(ctx == "primary", "a condition without its context")
        if gpu.fails("cuGraphConditionalHandleCreate"):
            return (_BAD, None)
        handles["next"] += 1
        hGraph.handles.add(handles["next"])
        return (_OK, handles["next"])

    class CUgraphNodeParams:
        def __init__(self) -> None:
            self.type: Any = None
            self.conditional = SimpleNamespace(handle=None, type=None, size=0, phGraph_out=None, ctx=None)

    def add_node(hGraph: Graph, dependencies: Any, count: int, nodeParams: CUgraphNodeParams) -> tuple[Any, ...]:
        gpu.need(count == len(dependencies), "dependencies and their number differ")
        gpu.need(all(d in hGraph.nodes for d in dependencies), "a dependency of another graph")
        gpu.need(nodeParams.type == CUgraphNodeType.CU_GRAPH_NODE_TYPE_CONDITIONAL, "another kind of node")
        gpu.need(nodeParams.conditional.size == 1, "IF nodes have one body before CUDA 12.8")
        gpu.need(nodeParams.conditional.ctx == "primary", "a conditional node without its context")
        gpu.need(bool(dependencies), "a condition that nothing sets before its node")
        if gpu.fails("cuGraphAddNode"):
            return (_BAD, None)
        body = gpu.conditional(hGraph, int(nodeParams.conditional.handle))
        nodeParams.conditional.phGraph_out = [body]
        return (_OK, hGraph.nodes[-1])

    if major >= 13:

        def cuGraphAddNode(
            hGraph: Graph, dependencies: Any, dependencyData: Any, numDependencies: int, nodeParams: Any
        ) -> tuple[Any, ...]:
            return add_node(hGraph, dependencies, numDependencies, nodeParams)
    else:

        def cuGraphAddNode(hGraph: Graph, dependencies: Any, numDependencies: int, nodeParams: Any) -> tuple[Any, ...]:  # type: ignore[misc]
            return add_node(hGraph, dependencies, numDependencies, nodeParams)

    def cuGraphInstantiate(hGraph: Graph, flags: int) -> tuple[Any, ...]:
        for graph in gpu.graphs:
            if graph.parent is not None and graph.root is hGraph:
                kinds = {op.kind for op in graph.nodes}
                gpu.need(kinds <= _BODY_KINDS, f"a conditional body with {kinds - _BODY_KINDS}")
                if gpu.body_limit in kinds:
                    gpu.calls.append("cuGraphInstantiate refused a body")
                    return (_BAD, None)
        if gpu.fails("cuGraphInstantiate"):
            return (CUresult.CUDA_ERROR_OUT_OF_MEMORY, None)
        return (_OK, gpu.instantiate(hGraph))

    def cuGraphLaunch(hGraphExec: Exec, hStream: int) -> tuple[Any, ...]:
        if gpu.fails("cuGraphLaunch"):
            return (_BAD,)
        gpu.launch(hGraphExec, hStream)
        return (_OK,)

    def cuGraphExecDestroy(hGraphExec: Exec) -> tuple[Any, ...]:
        gpu.need_context("cuGraphExecDestroy")
        gpu.need(not hGraphExec.destroyed, "an instantiated graph is destroyed twice")
        hGraphExec.destroyed = True
        hGraphExec.nodes = ()
        return (_OK,)

    def cuGraphDestroy(hGraph: Graph) -> tuple[Any, ...]:
        gpu.need(not hGraph.destroyed, "a graph is destroyed twice")
        gpu.need(hGraph.parent is None, "the body of a node is destroyed alone")
        gpu.destroy(hGraph)
        return (_OK,)

    def cuModuleLoadData(image: bytes) -> tuple[Any, ...]:
        gpu.need_context("cuModuleLoadData")
        gpu.need(image.endswith(b"\0"), "PTX that does not end with a zero byte")
        if gpu.fails("cuModuleLoadData"):
            return (_BAD, None)
        gpu.modules += 1
        return (_OK, "module")

    def cuModuleGetFunction(hmod: Any, name: bytes) -> tuple[Any, ...]:
        return (_BAD, None) if gpu.fails("cuModuleGetFunction") else (_OK, name)

    def cuModuleUnload(hmod: Any) -> tuple[Any, ...]:
        gpu.need_context("cuModuleUnload")
        gpu.modules -= 1
        return (_OK,)

    def cuLaunchKernel(
        f: bytes,
        gridDimX: int,
        gridDimY: int,
        gridDimZ: int,
        blockDimX: int,
        blockDimY: int,
        blockDimZ: int,
        sharedMemBytes: int,
        hStream: int,
        kernelParams: Any,
        extra: int,
    ) -> tuple[Any, ...]:
        if gpu.fails("cuLaunchKernel"):
            return (_BAD,)
        values, kinds = kernelParams
        gpu.need(len(values) == len(kinds), "a kernel's arguments and their types differ in number")
        if f in gpu.kernels:
            gpu.enqueue(hStream, Op("kernel", *gpu.kernels[f](gpu, values)))
            return (_OK,)
        gpu.need(f == b"edgeexit_decide" and len(values) == 5, f"there is no kernel {f!r} of {len(values)} arguments")
        score, threshold, exit_, number, condition = values
        graph = gpu.stream(hStream).capture
        gpu.need(graph is not None and condition in graph.handles, "a kernel that sets a condition of another graph")

        def run() -> None:
            at = [gpu.at(a, 4).view(np.float32)[0] for a in (score, threshold)]
            unsure = not at[0] >= at[1]
            gpu.at(exit_, 4).view(np.int32)[0] = number + unsure
            gpu.conditions[condition] = int(unsure)

        gpu.enqueue(hStream, Op("kernel", run, ((score, 4), (threshold, 4), (exit_, 4))))
        return (_OK,)

    found = {name: value for name, value in locals().items() if name.startswith("cu") or name == "CUgraphNodeParams"}
    module.__dict__.update(found)
    module.__dict__.update(
        CUresult=CUresult,
        CUstreamCaptureMode=CUstreamCaptureMode,
        CUgraphNodeType=CUgraphNodeType,
        CUgraphConditionalNodeType=CUgraphConditionalNodeType,
        CUgraphNodeParams=CUgraphNodeParams,
    )
    return module


def nvrtc_module(gpu: Gpu) -> ModuleType:
    """The bindings of the run-time compiler."""
    module = ModuleType("cuda.bindings.nvrtc")
    image = b".version 8.4\n\0"

    def nvrtcCreateProgram(
        src: bytes, name: bytes, numHeaders: int, headers: Any, includeNames: Any
    ) -> tuple[Any, ...]:
        if gpu.fails("nvrtcCreateProgram"):
            return (_BAD, None)
        gpu.programs += 1
        return (_OK, "program")

    def nvrtcCompileProgram(prog: Any, numOptions: int, options: list[bytes]) -> tuple[Any, ...]:
        gpu.need(numOptions == len(options), "options and their number differ")
        return (_BAD if gpu.fails("nvrtcCompileProgram") else _OK,)

    def nvrtcGetPTXSize(prog: Any) -> tuple[Any, ...]:
        return (_BAD, 0) if gpu.fails("nvrtcGetPTXSize") else (_OK, len(image))

    def nvrtcGetPTX(prog: Any, ptx: bytes) -> tuple[Any, ...]:
        # The bindings write through the pointer of a bytes object.
        import ctypes

        ctypes.memmove(ctypes.c_char_p(ptx), image, len(image))
        return (_OK,)

    def nvrtcGetProgramLogSize(prog: Any) -> tuple[Any, ...]:
        return (_OK, 8)

    def nvrtcGetProgramLog(prog: Any, log: bytes) -> tuple[Any, ...]:
        return (_OK,)

    def nvrtcDestroyProgram(prog: Any) -> tuple[Any, ...]:
        gpu.programs -= 1
        return (_OK,)

    module.__dict__.update({name: value for name, value in locals().items() if name.startswith("nvrtc")})
    return module
