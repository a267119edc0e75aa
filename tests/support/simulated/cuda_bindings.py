"""`cuda.bindings.driver` and `cuda.bindings.nvrtc` as far as edgeexit uses them, of cuda-python 12 or 13."""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Callable
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


class CUgraphNodeParams:
    """Parameters of a node, of which a conditional one is known."""

    def __init__(self) -> None:
        self.type: Any = None
        self.conditional = SimpleNamespace(handle=None, type=None, size=0, phGraph_out=None, ctx=None)


class _Driver:
    """The functions of the driver bindings, on a GPU."""

    def __init__(self, gpu: Gpu, major: int) -> None:
        self.gpu = gpu
        self.major = major
        self._context_flags = 0
        self._last_handle = 100

    def functions(self) -> dict[str, Callable[..., Any]]:
        """By name, those of this major version."""
        found = {name: getattr(self, name) for name in dir(self) if name.startswith("cu")}
        return {**found, "cuGraphAddNode": self._add_node_13 if self.major >= 13 else self._add_node_12}

    def _add_node_13(
        self, hGraph: Graph, dependencies: Any, dependencyData: Any, numDependencies: int, nodeParams: Any
    ) -> tuple[Any, ...]:
        return self._add_node(hGraph, dependencies, numDependencies, nodeParams)

    def _add_node_12(self, hGraph: Graph, dependencies: Any, numDependencies: int, nodeParams: Any) -> tuple[Any, ...]:
        return self._add_node(hGraph, dependencies, numDependencies, nodeParams)

    def cuDeviceGet(self, ordinal: int) -> tuple[Any, ...]:
        return (_BAD, None) if self.gpu.fails("cuDeviceGet") else (_OK, ordinal)

    def cuDevicePrimaryCtxSetFlags(self, dev: Any, flags: int) -> tuple[Any, ...]:
        self._context_flags = flags
        return (_OK,)

    def cuDevicePrimaryCtxGetState(self, dev: Any) -> tuple[Any, ...]:
        failed = self.gpu.fails("cuDevicePrimaryCtxGetState")
        return (_BAD, 0, 0) if failed else (_OK, self._context_flags, int(self.gpu.primary_users > 0))

    def cuDevicePrimaryCtxRetain(self, dev: Any) -> tuple[Any, ...]:
        self.gpu.primary_users += 1
        return (_OK, "primary")

    def cuDevicePrimaryCtxRelease(self, dev: Any) -> tuple[Any, ...]:
        self.gpu.need(self.gpu.primary_users > 0, "the primary context is released twice")
        self.gpu.primary_users -= 1
        return (_OK,)

    def cuCtxPopCurrent(self) -> tuple[Any, ...]:
        self.gpu.need(self.gpu.primary_users > 0, "a context that no longer exists is popped")
        self.gpu.need(self.gpu.left_current > 0, "another library's context is popped")
        self.gpu.left_current -= 1
        return (_OK, "primary")

    def cuCtxGetCurrent(self) -> tuple[Any, ...]:
        return (_BAD, None) if self.gpu.fails("cuCtxGetCurrent") else (_OK, "primary")

    def cuStreamBeginCapture(self, hStream: int, mode: CUstreamCaptureMode) -> tuple[Any, ...]:
        self.gpu.need(
            mode == CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, "a capture that other threads can break"
        )
        if self.gpu.fails("cuStreamBeginCapture"):
            return (_BAD,)
        self.gpu.begin_capture(hStream, None)
        return (_OK,)

    def cuStreamBeginCaptureToGraph(
        self,
        hStream: int,
        hGraph: Graph,
        dependencies: Any,
        dependencyData: Any,
        numDependencies: int,
        mode: CUstreamCaptureMode,
    ) -> tuple[Any, ...]:
        self.gpu.need(
            mode == CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, "a capture that other threads can break"
        )
        self.gpu.need(numDependencies == len(dependencies or ()), "dependencies and their number differ")
        if self.gpu.fails("cuStreamBeginCaptureToGraph"):
            return (_BAD,)
        self.gpu.begin_capture(hStream, hGraph)
        return (_OK,)

    def cuStreamGetCaptureInfo(self, hStream: int) -> tuple[Any, ...]:
        stream = self.gpu.stream(hStream)
        self.gpu.need(stream.capture is not None, "asked for the capture of a stream that captures nothing")
        last = stream.captured[-1:]
        edges = ([None] * len(last),) if self.major >= 13 else ()
        if self.gpu.fails("cuStreamGetCaptureInfo"):
            return (_BAD, None, None, None, None, *(None for _ in edges), None)
        return (_OK, 1, 7, stream.capture, last, *edges, len(last))

    def cuStreamEndCapture(self, hStream: int) -> tuple[Any, ...]:
        graph = self.gpu.end_capture(hStream)
        if self.gpu.fails("cuStreamEndCapture"):
            if graph.parent is None and not graph.handles:
                self.gpu.destroy(graph)  # an invalidated capture gives no graph
            return (CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, None)
        return (_OK, graph)

    def cuGraphCreate(self, flags: int) -> tuple[Any, ...]:
        self.gpu.need_context("cuGraphCreate")
        if self.gpu.fails("cuGraphCreate"):
            return (_BAD, None)
        graph = Graph()
        self.gpu.graphs.append(graph)
        return (_OK, graph)

    def cuGraphConditionalHandleCreate(
        self, hGraph: Graph, ctx: Any, defaultLaunchValue: int, flags: int
    ) -> tuple[Any, ...]:
        self.gpu.need(flags == 1, "a condition without a default would keep the value of the launch before")
        self.gpu.need(ctx == "primary", "a condition without its context")
        if self.gpu.fails("cuGraphConditionalHandleCreate"):
            return (_BAD, None)
        self._last_handle += 1
        hGraph.handles.add(self._last_handle)
        return (_OK, self._last_handle)

    def _add_node(self, hGraph: Graph, dependencies: Any, count: int, nodeParams: CUgraphNodeParams) -> tuple[Any, ...]:
        self.gpu.need(count == len(dependencies), "dependencies and their number differ")
        self.gpu.need(all(d in hGraph.nodes for d in dependencies), "a dependency of another graph")
        self.gpu.need(nodeParams.type == CUgraphNodeType.CU_GRAPH_NODE_TYPE_CONDITIONAL, "another kind of node")
        self.gpu.need(nodeParams.conditional.size == 1, "IF nodes have one body before CUDA 12.8")
        self.gpu.need(nodeParams.conditional.ctx == "primary", "a conditional node without its context")
        self.gpu.need(bool(dependencies), "a condition that nothing sets before its node")
        if self.gpu.fails("cuGraphAddNode"):
            return (_BAD, None)
        body = self.gpu.conditional(hGraph, int(nodeParams.conditional.handle))
        nodeParams.conditional.phGraph_out = [body]
        return (_OK, hGraph.nodes[-1])

    def cuGraphInstantiate(self, hGraph: Graph, flags: int) -> tuple[Any, ...]:
        for graph in self.gpu.graphs:
            if graph.parent is not None and graph.root is hGraph:
                kinds = {op.kind for op in graph.nodes}
                self.gpu.need(kinds <= _BODY_KINDS, f"a conditional body with {kinds - _BODY_KINDS}")
                if self.gpu.body_limit in kinds:
                    self.gpu.calls.append("cuGraphInstantiate refused a body")
                    return (_BAD, None)
        if self.gpu.fails("cuGraphInstantiate"):
            return (CUresult.CUDA_ERROR_OUT_OF_MEMORY, None)
        return (_OK, self.gpu.instantiate(hGraph))

    def cuGraphLaunch(self, hGraphExec: Exec, hStream: int) -> tuple[Any, ...]:
        if self.gpu.fails("cuGraphLaunch"):
            return (_BAD,)
        self.gpu.launch(hGraphExec, hStream)
        return (_OK,)

    def cuGraphExecDestroy(self, hGraphExec: Exec) -> tuple[Any, ...]:
        self.gpu.need_context("cuGraphExecDestroy")
        self.gpu.need(not hGraphExec.destroyed, "an instantiated graph is destroyed twice")
        hGraphExec.destroyed = True
        hGraphExec.nodes = ()
        return (_OK,)

    def cuGraphDestroy(self, hGraph: Graph) -> tuple[Any, ...]:
        self.gpu.need(not hGraph.destroyed, "a graph is destroyed twice")
        self.gpu.need(hGraph.parent is None, "the body of a node is destroyed alone")
        self.gpu.destroy(hGraph)
        return (_OK,)

    def cuModuleLoadData(self, image: bytes) -> tuple[Any, ...]:
        self.gpu.need_context("cuModuleLoadData")
        self.gpu.need(image.endswith(b"\0"), "PTX that does not end with a zero byte")
        if self.gpu.fails("cuModuleLoadData"):
            return (_BAD, None)
        self.gpu.modules += 1
        return (_OK, "module")

    def cuModuleGetFunction(self, hmod: Any, name: bytes) -> tuple[Any, ...]:
        return (_BAD, None) if self.gpu.fails("cuModuleGetFunction") else (_OK, name)

    def cuModuleUnload(self, hmod: Any) -> tuple[Any, ...]:
        self.gpu.need_context("cuModuleUnload")
        self.gpu.modules -= 1
        return (_OK,)

    def cuLaunchKernel(
        self,
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
        if self.gpu.fails("cuLaunchKernel"):
            return (_BAD,)
        values, kinds = kernelParams
        self.gpu.need(len(values) == len(kinds), "a kernel's arguments and their types differ in number")
        if f in self.gpu.kernels:
            self.gpu.enqueue(hStream, Op("kernel", *self.gpu.kernels[f](self.gpu, values)))
            return (_OK,)
        self.gpu.need(
            f == b"edgeexit_decide" and len(values) == 5, f"there is no kernel {f!r} of {len(values)} arguments"
        )
        score, threshold, exit_, number, condition = values
        graph = self.gpu.stream(hStream).capture
        self.gpu.need(
            graph is not None and condition in graph.handles, "a kernel that sets a condition of another graph"
        )

        def run() -> None:
            at = [self.gpu.at(a, 4).view(np.float32)[0] for a in (score, threshold)]
            unsure = not at[0] >= at[1]
            self.gpu.at(exit_, 4).view(np.int32)[0] = number + unsure
            self.gpu.conditions[condition] = int(unsure)

        self.gpu.enqueue(hStream, Op("kernel", run, ((score, 4), (threshold, 4), (exit_, 4))))
        return (_OK,)


def driver_module(gpu: Gpu, major: int) -> ModuleType:
    """The driver bindings, on a GPU."""
    module = ModuleType("cuda.bindings.driver")
    module.__dict__.update(_Driver(gpu, major).functions())
    module.__dict__.update(
        CUresult=CUresult,
        CUstreamCaptureMode=CUstreamCaptureMode,
        CUgraphNodeType=CUgraphNodeType,
        CUgraphConditionalNodeType=CUgraphConditionalNodeType,
        CUgraphNodeParams=CUgraphNodeParams,
    )
    return module


_PTX = b".version 8.4\n\0"


class _Compiler:
    """The functions of the run-time compiler's bindings."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu

    def nvrtcCreateProgram(
        self, src: bytes, name: bytes, numHeaders: int, headers: Any, includeNames: Any
    ) -> tuple[Any, ...]:
        if self.gpu.fails("nvrtcCreateProgram"):
            return (_BAD, None)
        self.gpu.programs += 1
        return (_OK, "program")

    def nvrtcCompileProgram(self, prog: Any, numOptions: int, options: list[bytes]) -> tuple[Any, ...]:
        self.gpu.need(numOptions == len(options), "options and their number differ")
        return (_BAD if self.gpu.fails("nvrtcCompileProgram") else _OK,)

    def nvrtcGetPTXSize(self, prog: Any) -> tuple[Any, ...]:
        return (_BAD, 0) if self.gpu.fails("nvrtcGetPTXSize") else (_OK, len(_PTX))

    def nvrtcGetPTX(self, prog: Any, ptx: bytes) -> tuple[Any, ...]:
        # The bindings write through the pointer of a bytes object.
        ctypes.memmove(ctypes.c_char_p(ptx), _PTX, len(_PTX))
        return (_OK,)

    def nvrtcGetProgramLogSize(self, prog: Any) -> tuple[Any, ...]:
        return (_OK, 8)

    def nvrtcGetProgramLog(self, prog: Any, log: bytes) -> tuple[Any, ...]:
        return (_OK,)

    def nvrtcDestroyProgram(self, prog: Any) -> tuple[Any, ...]:
        self.gpu.programs -= 1
        return (_OK,)


def nvrtc_module(gpu: Gpu) -> ModuleType:
    """The bindings of the run-time compiler."""
    module = ModuleType("cuda.bindings.nvrtc")
    compiler = _Compiler(gpu)
    module.__dict__.update({name: getattr(compiler, name) for name in dir(compiler) if name.startswith("nvrtc")})
    return module
