"""`cuda.bindings.driver` and `cuda.bindings.nvrtc` as far as edgeexit uses them, of cuda-python 12 or 13."""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tests.support.simulated.gpu import Block, Exec, Gpu, Graph, Op
from tests.support.simulated.ptx import Kernel

_BODY_KINDS = {"kernel", "memcpy", "memset", "conditional"}  # cudaConditionalNodeParams: what a body may hold


class CUresult(enum.IntEnum):
    """Errors."""

    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_NO_DEVICE = 100
    CUDA_ERROR_LAUNCH_FAILED = 719
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


class CUdevice_attribute(enum.IntEnum):
    """Facts of a device, numbered as in cuda.h."""

    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16
    CU_DEVICE_ATTRIBUTE_INTEGRATED = 18
    CU_DEVICE_ATTRIBUTE_ECC_ENABLED = 32
    CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH = 37
    CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE = 38
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76
    CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR = 81


_OK = CUresult.CUDA_SUCCESS
_BAD = CUresult.CUDA_ERROR_INVALID_VALUE


class CUgraphNodeParams:
    """Parameters of a node, of which a conditional one is known."""

    def __init__(self) -> None:
        self.type: Any = None
        self.conditional = SimpleNamespace(handle=None, type=None, size=0, phGraph_out=None, ctx=None)


class _Memory:
    """Functions for devices, the primary context, memory and streams, which pycuda has too."""

    gpu: Gpu

    def cuInit(self, Flags: int) -> tuple[Any, ...]:
        return (CUresult.CUDA_ERROR_NO_DEVICE if self.gpu.fails("cuInit") else _OK,)

    def cuDriverGetVersion(self) -> tuple[Any, ...]:
        return (_OK, self.gpu.driver)

    def cuDeviceGetCount(self) -> tuple[Any, ...]:
        return (_BAD, 0) if self.gpu.fails("cuDeviceGetCount") else (_OK, 1)

    def cuDeviceGetName(self, length: int, dev: Any) -> tuple[Any, ...]:
        return (_OK, b"Simulated GPU".ljust(length, b"\0"))

    def cuDeviceTotalMem(self, dev: Any) -> tuple[Any, ...]:
        return (_OK, self.gpu.memory_bytes)

    def cuDeviceGetAttribute(self, attrib: CUdevice_attribute, dev: Any) -> tuple[Any, ...]:
        kinds = CUdevice_attribute
        known = {
            kinds.CU_DEVICE_ATTRIBUTE_INTEGRATED: int(self.gpu.integrated),
            kinds.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: 8,
            kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: 8,
            kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: 7,
        }
        return (_OK, known.get(attrib, 128))

    def cuCtxPushCurrent(self, ctx: Any) -> tuple[Any, ...]:
        self.gpu.need(self.gpu.primary_users > 0, "a released context is made current")
        self.gpu.context_stack += 1
        return (_OK,)

    def cuMemAlloc(self, bytesize: int) -> tuple[Any, ...]:
        self.gpu.need_context("cuMemAlloc")
        self.gpu.need(bytesize > 0, "an allocation of no bytes")
        if self.gpu.fails("cuMemAlloc"):
            return (CUresult.CUDA_ERROR_OUT_OF_MEMORY, None)
        return (_OK, self.gpu.allocate(bytesize, pinned=False).address)

    def cuMemFree(self, dptr: int) -> tuple[Any, ...]:
        self.gpu.free(next(b for b in self.gpu.blocks if b.address == dptr))
        return (_OK,)

    def cuMemHostAlloc(self, bytesize: int, Flags: int) -> tuple[Any, ...]:
        self.gpu.need_context("cuMemHostAlloc")
        self.gpu.need(Flags & 2 == 2, "page-locked memory that the GPU is to see is not mapped")
        if self.gpu.fails("cuMemHostAlloc"):
            return (CUresult.CUDA_ERROR_OUT_OF_MEMORY, 0)
        return (_OK, self._where(self.gpu.allocate(bytesize, pinned=True)))

    @staticmethod
    def _where(block: Block) -> int:
        return int(block.data.__array_interface__["data"][0])

    def _pinned(self, p: int) -> Block:
        return next(b for b in self.gpu.blocks if b.pinned and not b.freed and self._where(b) == p)

    def cuMemHostGetDevicePointer(self, p: int, Flags: int) -> tuple[Any, ...]:
        failed = self.gpu.fails("cuMemHostGetDevicePointer")
        return (_BAD, None) if failed else (_OK, self._pinned(p).alias)

    def cuMemFreeHost(self, p: int) -> tuple[Any, ...]:
        self.gpu.free(self._pinned(p))
        return (_OK,)

    def _copy(self, where: int, address: int, size: int, stream: int, *, into_gpu: bool) -> None:
        host = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(where))
        block = self.gpu.pinned_block(host)

        def run() -> None:
            self.gpu.need(not block.freed, "a copy from page-locked memory that was freed")
            there = self.gpu.at(address, size)
            (there if into_gpu else host)[...] = host if into_gpu else there

        self.gpu.at(address, size)
        self.gpu.enqueue(stream, Op("memcpy", run, ((address, size), (block.alias, size))))

    def cuMemcpyHtoDAsync(self, dstDevice: int, srcHost: int, ByteCount: int, hStream: int) -> tuple[Any, ...]:
        if self.gpu.fails("cuMemcpyHtoDAsync"):
            return (_BAD,)
        self._copy(srcHost, dstDevice, ByteCount, hStream, into_gpu=True)
        return (_OK,)

    def cuMemcpyDtoHAsync(self, dstHost: int, srcDevice: int, ByteCount: int, hStream: int) -> tuple[Any, ...]:
        if self.gpu.fails("cuMemcpyDtoHAsync"):
            return (_BAD,)
        self._copy(dstHost, srcDevice, ByteCount, hStream, into_gpu=False)
        return (_OK,)

    def cuStreamCreate(self, Flags: int) -> tuple[Any, ...]:
        self.gpu.need_context("making a stream")
        self.gpu.need(Flags == 1, "a stream that synchronises with the legacy default stream")
        return (_BAD, None) if self.gpu.fails("cuStreamCreate") else (_OK, self.gpu.new_stream().handle)

    def cuStreamSynchronize(self, hStream: int) -> tuple[Any, ...]:
        if self.gpu.fails("cuStreamSynchronize"):
            return (CUresult.CUDA_ERROR_LAUNCH_FAILED,)
        self.gpu.synchronize(hStream)
        return (_OK,)

    def cuStreamDestroy(self, hStream: int) -> tuple[Any, ...]:
        stream = self.gpu.stream(hStream)
        self.gpu.need(not stream.pending, "a stream is destroyed with work in flight")
        stream.destroyed = True
        return (_OK,)


class _Driver(_Memory):
    """The functions of the driver bindings, on a GPU.

    Args:
        gpu: the machine.
        major: CUDA's major version.
        with_pycuda: whether pycuda keeps contexts beside these calls.
    """

    def __init__(self, gpu: Gpu, major: int, *, with_pycuda: bool) -> None:
        self.gpu = gpu
        self.major = major
        self._with_pycuda = with_pycuda
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
        if not self._with_pycuda and self.gpu.fails("cuDevicePrimaryCtxRetain"):
            return (CUresult.CUDA_ERROR_OUT_OF_MEMORY, None)
        self.gpu.primary_users += 1
        return (_OK, "primary")

    def cuDevicePrimaryCtxRelease(self, dev: Any) -> tuple[Any, ...]:
        self.gpu.need(self.gpu.primary_users > 0, "the primary context is released twice")
        self.gpu.primary_users -= 1
        return (_OK,)

    def cuCtxPopCurrent(self) -> tuple[Any, ...]:
        self.gpu.need(self.gpu.primary_users > 0, "a context that no longer exists is popped")
        if self._with_pycuda:  # which pops its own; only what its `detach` leaves current is popped here
            self.gpu.need(self.gpu.left_current > 0, "another library's context is popped")
            self.gpu.left_current -= 1
        else:
            self.gpu.need(self.gpu.context_stack > 0, "a context is popped that was not pushed")
            self.gpu.context_stack -= 1
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
        return (_OK, image)

    def cuModuleGetFunction(self, hmod: bytes, name: bytes) -> tuple[Any, ...]:
        if self.gpu.fails("cuModuleGetFunction"):
            return (_BAD, None)
        return (_OK, name if name in self.gpu.kernels else Kernel(hmod, name))

    def cuModuleUnload(self, hmod: Any) -> tuple[Any, ...]:
        self.gpu.need_context("cuModuleUnload")
        self.gpu.modules -= 1
        return (_OK,)

    def cuLaunchKernel(
        self,
        f: Any,
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
        assert isinstance(f, Kernel)
        self.gpu.need(len(values) == len(f.parameters), "a kernel is launched with another number of arguments")
        given = dict(zip(f.parameters, values, strict=True))
        graph = self.gpu.stream(hStream).capture
        self.gpu.need(
            graph is not None and given["condition"] in graph.handles, "a kernel that sets a condition of another graph"
        )
        touches = tuple((given[name], 4) for name in ("score", "threshold", "exit"))
        self.gpu.enqueue(hStream, Op("kernel", lambda: f.run(given, self.gpu.at, self.gpu.conditions), touches))
        return (_OK,)


def driver_module(gpu: Gpu, major: int, *, with_pycuda: bool = True) -> ModuleType:
    """The driver bindings, on a GPU."""
    module = ModuleType("cuda.bindings.driver")
    module.__dict__.update(_Driver(gpu, major, with_pycuda=with_pycuda).functions())
    module.__dict__.update(
        CUresult=CUresult,
        CUdevice_attribute=CUdevice_attribute,
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
