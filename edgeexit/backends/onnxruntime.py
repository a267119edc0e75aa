"""ONNX Runtime on CPU: staged and fused, every buffer bound once.

What its defaults would cost, and what is done about it:
* a session's own spinning thread pool burns a core between inferences; with one per stage, three sessions cost several times the CPU
  time of one. So one thread by default, which needs no pool, and no spinning unless asked for (recorded in the settings).
* `run` with NumPy arrays allocates its outputs on each call; bound buffers are written in place.
* a free batch dimension keeps shape arithmetic in the graph; sessions for single samples fix it at 1.
* each session has an arena of its own, so stage 2 computes in memory that stage 1 did not just warm; one arena for all stages of the
  process took the tax off a vision transformer's three stages (619 -> 541 µs, the network in one piece 531).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from edgeexit.backends.base import Array, Backend, Batch, BoundStage, Program, Settings, StagedProgram
from edgeexit.bundle import Bundle
from edgeexit.errors import ModelError
from edgeexit.graph.fuse import RESULTS, threshold_name
from edgeexit.graph.network import BATCH, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnxruntime as ort

_ERRORS_ONLY = 3  # ONNX Runtime's log severity; its warnings speak of its own optimiser


@cache
def _share_one_arena() -> None:
    """Give the process an arena that sessions may ask for."""
    import onnxruntime as ort

    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    with suppress(RuntimeError):  # somebody else in the process has registered one: then it is theirs that is shared
        ort.create_and_register_allocator(memory, None)


def session_options(settings: Settings, *, batch_1: bool, shared_arena: bool = False) -> ort.SessionOptions:
    """Options of every session that edgeexit opens; those that run in turn share an arena."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    if shared_arena:
        _share_one_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(settings.spin)))
    if batch_1:
        options.add_free_dimension_override_by_name(BATCH, 1)
    return options


def open_session(
    model: Path | bytes, settings: Settings, *, batch_1: bool, folder: Path | None = None, shared_arena: bool = False
) -> ort.InferenceSession:
    """A session on CPU.

    Args:
        model: the file, or its bytes.
        settings: threads and spinning.
        batch_1: fix the batch at 1.
        folder: where outside weights lie, for a model given as bytes.
        shared_arena: compute in the memory of the process's other sessions that share it.

    Raises:
        ModelError: ONNX Runtime cannot take the model; with its reason.
    """
    import onnxruntime as ort

    options = session_options(settings, batch_1=batch_1, shared_arena=shared_arena)
    if folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    name = model if isinstance(model, Path) else "the model"
    with refusals(f"ONNX Runtime {ort.__version__} cannot take {name}"):
        return ort.InferenceSession(
            str(model) if isinstance(model, Path) else model, options, providers=["CPUExecutionProvider"]
        )


@cache
def _refusal_kinds() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises; some derive from RuntimeError, some from Exception alone."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NoSuchFile,
        state.NotImplemented,
        state.RuntimeException,
    )
    return (*own, RuntimeError, MemoryError)


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Turn ONNX Runtime's exceptions into a ModelError."""
    try:
        yield
    except _refusal_kinds() as error:
        raise ModelError(f"{what}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:400]


def _on_cpu(array: Array) -> ort.OrtValue:
    """ONNX Runtime's view of a NumPy buffer; no copy."""
    import onnxruntime as ort

    return ort.OrtValue.ortvalue_from_numpy(array)


def _boundary(spec: TensorSpec) -> ort.OrtValue:
    import onnxruntime as ort

    element = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return ort.OrtValue.ortvalue_from_shape_and_type(list(spec.shape_at_1), element, "cpu")


def _input_buffers(specs: Sequence[TensorSpec]) -> dict[str, Array]:
    return {s.name: np.zeros(s.shape_at_1, s.dtype) for s in specs}


class _Bound:
    """A session with inputs and outputs bound."""

    def __init__(
        self, session: ort.InferenceSession, inputs: Mapping[str, ort.OrtValue], outputs: Mapping[str, ort.OrtValue]
    ) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._alive = (inputs, outputs)  # the binding holds no reference to what it points at
        taken = {i.name for i in session.get_inputs()}
        for name, value in inputs.items():
            if name in taken:
                self._binding.bind_ortvalue_input(name, value)
        for name, value in outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def run(self) -> None:
        try:
            self._session.run_with_iobinding(self._binding)
        except _refusal_kinds() as error:  # looked up only when there is one
            raise ModelError(f"ONNX Runtime cannot run the model: {_first_line(error)}") from error


class _Stage(BoundStage):
    def __init__(self, bound: _Bound, logits: NDArray[np.float32], score: NDArray[np.float32]) -> None:
        self._bound = bound
        self.logits = logits
        self.score = score

    def run(self) -> None:
        self._bound.run()


@dataclass(frozen=True)
class _Source:
    """Sessions are shared between clones; buffers are not."""

    bundle: Bundle
    sessions: tuple[ort.InferenceSession, ...]


class _Staged(StagedProgram):
    def __init__(self, source: _Source) -> None:
        self._source = source
        manifest = source.bundle.manifest
        inputs = _input_buffers(manifest.inputs)
        tensors = {name: _on_cpu(buffer) for name, buffer in inputs.items()}
        stages = []
        for entry, session in zip(manifest.stages, source.sessions, strict=True):
            logits = np.zeros((1, manifest.classes), np.float32)
            score = np.zeros(1, np.float32)
            # An exit's logits may also feed a later head: then both names are one buffer.
            made = {spec.name: _boundary(spec) for spec in entry.boundaries_out}
            made |= {entry.logits: _on_cpu(logits), entry.score: _on_cpu(score)}
            tensors |= made
            stages.append(_Stage(_Bound(session, tensors, made), logits, score))
        super().__init__(inputs, stages)

    def clone(self) -> _Staged:
        return _Staged(self._source)


class _Fused(Program):
    def __init__(self, source: _Source) -> None:
        self._source = source
        manifest = source.bundle.manifest
        self.exits = manifest.exits
        self.inputs = _input_buffers(manifest.inputs)
        self._thresholds = [np.zeros((), np.float32) for _ in range(self.exits - 1)]
        self._set: Sequence[float] | None = None
        self._logits = np.zeros((1, manifest.classes), np.float32)
        self._exit = np.zeros((), np.int64)
        self._score = np.zeros((), np.float32)
        thresholds = {threshold_name(k): t for k, t in enumerate(self._thresholds, 1)}
        results: dict[str, Array] = dict(zip(RESULTS, (self._logits, self._exit, self._score), strict=True))
        bound = _Bound(
            source.sessions[0],
            {name: _on_cpu(a) for name, a in {**self.inputs, **thresholds}.items()},
            {name: _on_cpu(a) for name, a in results.items()},
        )
        self._run = bound.run

    def run(self, thresholds: Sequence[float]) -> int:
        if thresholds is not self._set:  # callers pass the same object until they change a threshold
            for buffer, value in zip(self._thresholds, thresholds, strict=True):
                buffer[...] = value
            self._set = thresholds
        self._run()
        return int(self._exit)

    def logits(self, exit: int) -> NDArray[np.float32]:  # noqa: ARG002 - only one exit's result exists
        return self._logits

    def score(self, exit: int) -> float:  # noqa: ARG002 - only one exit's result exists
        return float(self._score)

    def clone(self) -> _Fused:
        return _Fused(self._source)


class StraightProgram(Program):
    """A network with one output, run straight: the backbone, or a model of its own to compare with.

    Args:
        session: its session; outputs are logits and, if there is a second one, a score.
        inputs: its inputs.
        classes: width of the logits.
    """

    exits = 1

    def __init__(self, session: ort.InferenceSession, inputs: Sequence[TensorSpec], classes: int) -> None:
        self._made_of = (session, inputs, classes)
        self.inputs = _input_buffers(inputs)
        first = session.get_outputs()[0]
        self._logits = np.zeros((1, classes), np.float16 if first.type == "tensor(float16)" else np.float32)
        self._score = np.full(1, np.nan, np.float32)
        names = [o.name for o in session.get_outputs()]
        results: list[Array] = [self._logits, self._score]
        outputs = {name: _on_cpu(buffer) for name, buffer in zip(names, results, strict=False)}
        self._run = _Bound(session, {n: _on_cpu(a) for n, a in self.inputs.items()}, outputs).run

    def run(self, thresholds: Sequence[float]) -> int:  # noqa: ARG002, D102 - nothing to decide
        self._run()
        return 1

    def logits(self, exit: int) -> NDArray[np.float32]:  # noqa: ARG002, D102 - see base
        return np.asarray(self._logits, np.float32)

    def score(self, exit: int) -> float:  # noqa: ARG002, D102 - see base
        return float(self._score[0])

    def clone(self) -> StraightProgram:  # noqa: D102 - see base
        return StraightProgram(*self._made_of)


class _Batch(Batch):
    def __init__(self, source: _Source) -> None:
        self._source = source

    def run(self, stage: int, tensors: Mapping[str, Array]) -> dict[str, Array]:
        session = self._source.sessions[stage - 1]
        feeds = {i.name: tensors[i.name] for i in session.get_inputs()}
        names = [o.name for o in session.get_outputs()]
        if self._source.bundle.manifest.dynamic_batch:
            return dict(zip(names, session.run(names, feeds), strict=True))
        count = len(next(iter(feeds.values())))
        rows = [session.run(names, {n: a[i : i + 1] for n, a in feeds.items()}) for i in range(count)]
        return {name: np.concatenate([np.atleast_1d(row[j]) for row in rows]) for j, name in enumerate(names)}


class OnnxRuntimeBackend(Backend):
    """ONNX Runtime's CPU provider. Always there: it is a base dependency."""

    name = "onnxruntime"

    def check(self) -> None:  # noqa: D102 - see base
        return

    def versions(self) -> dict[str, str]:  # noqa: D102 - see base
        return {"onnxruntime": version("onnxruntime")}

    def open_staged(self, bundle: Bundle, settings: Settings) -> StagedProgram:  # noqa: D102 - see base
        return _Staged(_stage_sessions(bundle, settings, batch_1=True))

    def open_fused(self, bundle: Bundle, settings: Settings) -> Program:  # noqa: D102 - see base
        session = open_session(bundle.file(bundle.manifest.fused), settings, batch_1=True)
        return _Fused(_Source(bundle, (session,)))

    def open_backbone(self, bundle: Bundle, settings: Settings) -> Program:  # noqa: D102 - see base
        session = open_session(bundle.file(bundle.manifest.backbone), settings, batch_1=True)
        return StraightProgram(session, bundle.manifest.inputs, bundle.manifest.classes)

    def open_batch(self, bundle: Bundle, settings: Settings) -> Batch:  # noqa: D102 - see base
        return _Batch(_stage_sessions(bundle, settings, batch_1=False))


def _stage_sessions(bundle: Bundle, settings: Settings, *, batch_1: bool) -> _Source:
    files = (bundle.file(s.file) for s in bundle.manifest.stages)
    return _Source(bundle, tuple(open_session(file, settings, batch_1=batch_1, shared_arena=True) for file in files))


BACKEND = OnnxRuntimeBackend()
