"""`tensorrt` 10.3 or 11.4 as far as edgeexit uses it, on a simulated GPU."""

from __future__ import annotations

import enum
from types import ModuleType
from typing import Any

from tests.support.simulated.gpu import Gpu, bind
from tests.support.simulated.tensorrt_builder import (
    Builder,
    BuilderConfig,
    ILogger,
    IProgressMonitor,
    Network,
    OnnxParser,
    ParserError,
    Tensor,
    TimingCache,
)
from tests.support.simulated.tensorrt_enums import (
    ENUMERATIONS,
    Severity,
)
from tests.support.simulated.tensorrt_runtime import Engine, ExecutionContext, Runtime


class Machine:
    """A GPU with one version of TensorRT: what its classes share, and those classes bound to it."""

    def __init__(self, gpu: Gpu, version: str, refuses: str | None) -> None:
        self.gpu = gpu
        self.version = version
        self.refuses = refuses
        self.major = int(version.split(".", maxsplit=1)[0])
        gone = ["CUBLAS", "CUBLAS_LT", "CUDNN"] if self.major < 11 else []
        sources = [*gone, "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"]
        flags = ["TF32", "GPU_FALLBACK", *(["FP16"] if self.major < 11 else [])]
        self.tactic_sources = enum.IntEnum("TacticSource", sources, start=0)  # type: ignore[misc]
        self.flags: Any = enum.Enum("BuilderFlag", flags)  # type: ignore[misc]
        self.kinds: dict[str, Any] = {kind.__name__: bind(kind, _machine=self) for kind in _BOUND}

    def count(self, name: str, by: int) -> None:
        """Count objects of TensorRT that are alive."""
        self.gpu.trt_objects[name] = self.gpu.trt_objects.get(name, 0) + by

    def say(self, logger: Any, call: str, otherwise: str = "") -> None:
        """Log what the test wants a failing call to say."""
        if self.gpu.says.get(call, otherwise):
            logger.log(Severity.ERROR, self.gpu.says.get(call, otherwise))


_BOUND = (BuilderConfig, OnnxParser, Builder, Engine, ExecutionContext, Runtime)
_FREE = (ILogger, IProgressMonitor, TimingCache, Tensor, Network, ParserError)


def tensorrt_module(gpu: Gpu, version: str = "10.3.0", refuses: str | None = None) -> ModuleType:
    """The module, on a GPU.

    Args:
        gpu: the machine.
        version: what it says it is; flags are there as in that version.
        refuses: an ONNX operator that the parser does not know.
    """
    module, machine = ModuleType("tensorrt"), Machine(gpu, version, refuses)
    module.__dict__.update({kind.__name__: kind for kind in (*_FREE, *ENUMERATIONS)}, **machine.kinds)
    module.__dict__.update(
        __version__=version,
        BuilderFlag=machine.flags,
        TacticSource=machine.tactic_sources,
        ICudaEngine=machine.kinds["Engine"],
        IExecutionContext=machine.kinds["ExecutionContext"],
        IBuilderConfig=machine.kinds["BuilderConfig"],
        INetworkDefinition=Network,
        ITimingCache=TimingCache,
    )
    return module
