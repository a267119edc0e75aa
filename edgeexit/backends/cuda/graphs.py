"""CUDA graphs: capture what goes onto a stream, launch it in one call, nest it under conditional nodes.

Rules that hold everywhere here (CUDA Programming Guide, "CUDA Graphs"): a capture that was begun is ended, also after an error, and the
graph that comes of it is destroyed; nothing is allocated or synchronised on this thread in between; a graph holds the addresses that it was
captured with, so memory outlives its graphs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from edgeexit.backends.cuda.device import CudaStream
from edgeexit.backends.cuda.errors import CudaError, DeciderUnavailable, check_call

Enqueue: TypeAlias = Callable[[int], None]
"""Puts work onto the stream of that handle and returns at once. It must raise when the work cannot be put there."""

FIRST_CONDITIONAL = 12040
"""CUDA 12.4, as drivers number it: the first with conditional IF nodes."""

_DEPENDENCIES = 4  # where cuStreamGetCaptureInfo returns them, in the bindings of CUDA 12 and 13
_ASSIGN_DEFAULT = 1  # CU_GRAPH_COND_ASSIGN_DEFAULT: each launch starts with the default value


class GraphExec:
    """An instantiated graph. `close` it before the memory that it names is given back."""

    def __init__(self, stream: CudaStream, graph: Any) -> None:
        from cuda.bindings import driver

        self._stream = stream.handle
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


def capture_graph(stream: CudaStream, enqueue: Enqueue) -> GraphExec:
    """A graph of what `enqueue` puts onto the stream. It must have run once before: what allocates does so on its first run.

    Raises:
        Unavailable: something of it cannot be captured, with the reason.
    """
    from cuda.bindings import driver

    mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    try:
        check_call("cuStreamBeginCapture", driver.cuStreamBeginCapture(stream.handle, mode))
        graph = _capture_to_end(stream, enqueue)
        return GraphExec(stream, graph)
    except list_cuda_exceptions(stream) as error:
        raise DeciderUnavailable(f"capturing a graph failed ({error})") from error


def list_cuda_exceptions(stream: CudaStream) -> tuple[type[Exception], ...]:
    """Exceptions of a failed CUDA call: pycuda's errors, cuda-python's, and torch's RuntimeError."""
    return (CudaError, *stream.device.calls.errors, RuntimeError)


def _capture_to_end(stream: CudaStream, enqueue: Enqueue) -> Any:
    from cuda.bindings import driver

    try:
        enqueue(stream.handle)
    except BaseException:
        _abandon(stream)
        raise
    (graph,) = check_call("cuStreamEndCapture", driver.cuStreamEndCapture(stream.handle))
    return graph


def _abandon(stream: CudaStream) -> None:
    """End a capture that failed; an invalidated one gives no graph."""
    from cuda.bindings import driver

    error, graph = driver.cuStreamEndCapture(stream.handle)
    if not int(error):
        driver.cuGraphDestroy(graph)


class ConditionalGraph:
    """A graph under construction: work at the top, and below it bodies that run only if a kernel enables them.

        root ── stage 1 ── decide ── IF ┐
                                        └─ body ── stage 2 ── decide ── IF ┐
                                                                           └─ ...

    Only plain IF nodes are used, nested; those with an else branch need CUDA 12.8. Bodies hold kernels, copies and such nodes alone.
    """

    def __init__(self, stream: CudaStream) -> None:
        from cuda.bindings import driver

        self._stream = stream
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

        stream = self._stream.handle
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
        return GraphExec(self._stream, self._root)

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
