"""OpenVINO on CPU: staged and fused, infer requests made once, tensors shared between them.

* the LATENCY hint, one stream and a fixed number of threads; arithmetic in float32, because on machines with bfloat16 or float16 units
  OpenVINO would otherwise take those for everything, the criterion too, and the answers would no longer be the network's.
* an output of stage k is the very tensor that is an input of stage k+1. OpenVINO keeps it in plain layout and its convolutions work in
  another, so each boundary costs one reorder: measured, it is more than the whole call floor where the feature map is large.
* OpenVINO has no setting for spinning worker threads; `Settings.spin` changes nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.backends.base import Array, Backend, Batch, BoundStage, Program, Settings, StagedProgram
from edgeexit.bundle import Bundle, StageEntry
from edgeexit.errors import MissingExtra, ModelError
from edgeexit.graph.fuse import RESULTS, threshold_name
from edgeexit.graph.network import TensorSpec


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    """Turn OpenVINO's exceptions, which are RuntimeError, into a ModelError."""
    try:
        yield
    except RuntimeError as error:
        import openvino

        reason = next((line for line in str(error).splitlines() if line.strip()), "no reason given")[:400]
        raise ModelError(f"OpenVINO {openvino.__version__} cannot take {what}: {reason.strip()}") from error


def _compiled(file: Path, settings: Settings, *, batch_1: bool) -> Any:
    """A model compiled for the CPU."""
    import openvino as ov

    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(settings.threads),
        "INFERENCE_PRECISION_HINT": "f32",
    }
    with _refusals(str(file)):
        core = ov.Core()
        model = core.read_model(str(file))
        if batch_1:
            model.reshape({port: _at_1(port) for port in model.inputs if port.partial_shape.is_dynamic})
        return core.compile_model(model, "CPU", config)


def _at_1(port: Any) -> list[int]:
    """The shape of an input with its free dimension, the batch, at 1."""
    return [1 if dim.is_dynamic else dim.get_length() for dim in port.partial_shape]


class _Bound:
    """One infer request with its tensors set; `tensors` holds those that are there and takes those that it makes."""

    def __init__(self, model: Any, tensors: Mapping[str, Any]) -> None:
        self._request = model.create_infer_request()
        self._alive = tensors  # the request holds no reference to the NumPy buffers behind its tensors
        for port in model.inputs:
            self._request.set_tensor(port, tensors[_known(port, tensors)])
        for port in model.outputs:
            self._request.set_tensor(port, tensors[_known(port, tensors)])

    def run(self) -> None:
        self._request.infer(share_inputs=True, share_outputs=True)


def _known(port: Any, names: Mapping[str, object]) -> str:
    """A port's name among ours; OpenVINO may give one port several names when it merges nodes."""
    return str(next(name for name in port.get_names() if name in names))


def _tensor(array: Array) -> Any:
    """OpenVINO's view of a NumPy buffer; no copy."""
    import openvino as ov

    return ov.Tensor(array, shared_memory=True)


class _Stage(BoundStage):
    def __init__(self, bound: _Bound, logits: NDArray[np.float32], score: NDArray[np.float32]) -> None:
        self._bound = bound
        self.logits = logits
        self.score = score

    def run(self) -> None:
        self._bound.run()


@dataclass(frozen=True)
class _Source:
    """Compiled models are shared between clones; requests and buffers are not."""

    bundle: Bundle
    models: tuple[Any, ...]


class _Staged(StagedProgram):
    def __init__(self, source: _Source) -> None:
        self._source = source
        manifest = source.bundle.manifest
        inputs = _buffers(manifest.inputs)
        tensors = {name: _tensor(buffer) for name, buffer in inputs.items()}
        stages = []
        for entry, model in zip(manifest.stages, source.models, strict=True):
            logits = np.zeros((1, manifest.classes), np.float32)
            score = np.zeros(1, np.float32)
            made = {name: _tensor(buffer) for name, buffer in _buffers(entry.boundaries_out).items()}
            made |= {entry.logits: _tensor(logits), entry.score: _tensor(score)}
            tensors |= made
            stages.append(_Stage(_Bound(model, dict(tensors)), logits, score))
        super().__init__(inputs, stages)

    def clone(self) -> _Staged:
        return _Staged(self._source)


def _buffers(specs: Sequence[TensorSpec]) -> dict[str, Array]:
    return {s.name: np.zeros(s.shape_at_1, s.dtype) for s in specs}


class _Fused(Program):
    def __init__(self, source: _Source) -> None:
        self._source = source
        manifest = source.bundle.manifest
        self.exits = manifest.exits
        self.inputs = _buffers(manifest.inputs)
        self._thresholds = [np.zeros((), np.float32) for _ in range(self.exits - 1)]
        self._set: Sequence[float] | None = None
        self._results: dict[str, Array] = {
            "logits": np.zeros((1, manifest.classes), np.float32),
            "exit": np.zeros((), np.int64),
            "score": np.zeros((), np.float32),
        }
        named = {threshold_name(k): t for k, t in enumerate(self._thresholds, 1)}
        everything = {**self.inputs, **named, **{name: self._results[name] for name in RESULTS}}
        self._run: Callable[[], None] = _Bound(source.models[0], {n: _tensor(a) for n, a in everything.items()}).run

    def run(self, thresholds: Sequence[float]) -> int:
        if thresholds is not self._set:  # callers pass the same object until they change a threshold
            for buffer, value in zip(self._thresholds, thresholds, strict=True):
                buffer[...] = value
            self._set = thresholds
        self._run()
        return int(self._results["exit"])

    def logits(self, exit: int) -> NDArray[np.float32]:  # noqa: ARG002 - only one exit's result exists
        return self._results["logits"]

    def score(self, exit: int) -> float:  # noqa: ARG002 - only one exit's result exists
        return float(self._results["score"])

    def clone(self) -> _Fused:
        return _Fused(self._source)


class _Straight(Program):
    exits = 1

    def __init__(self, source: _Source) -> None:
        self._source = source
        manifest = source.bundle.manifest
        self.inputs = _buffers(manifest.inputs)
        port = source.models[0].output(0)
        self._logits = np.zeros((1, manifest.classes), port.element_type.to_dtype())
        everything = {**self.inputs, next(iter(port.get_names())): self._logits}
        self._run = _Bound(source.models[0], {name: _tensor(a) for name, a in everything.items()}).run

    def run(self, thresholds: Sequence[float]) -> int:  # noqa: ARG002 - nothing to decide
        self._run()
        return 1

    def logits(self, exit: int) -> NDArray[np.float32]:  # noqa: ARG002 - see base
        return np.asarray(self._logits, np.float32)

    def score(self, exit: int) -> float:  # noqa: ARG002 - it has no criterion
        return float("nan")

    def clone(self) -> _Straight:
        return _Straight(self._source)


class _Batch(Batch):
    def __init__(self, source: _Source) -> None:
        self._entries = source.bundle.manifest.stages
        self._many = source.bundle.manifest.dynamic_batch
        self._requests = [model.create_infer_request() for model in source.models]

    def run(self, stage: int, tensors: Mapping[str, Array]) -> dict[str, Array]:
        entry, request = self._entries[stage - 1], self._requests[stage - 1]
        feeds = {name: tensors[name] for name in (*entry.inputs, *(b.name for b in entry.boundaries_in))}
        if self._many:
            return _answers(request, entry, feeds)
        count = len(next(iter(feeds.values())))
        rows = [_answers(request, entry, {n: a[i : i + 1] for n, a in feeds.items()}) for i in range(count)]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _answers(request: Any, entry: StageEntry, feeds: Mapping[str, Array]) -> dict[str, Array]:
    request.infer(dict(feeds), share_inputs=True)
    names = dict.fromkeys((entry.logits, entry.score, *(b.name for b in entry.boundaries_out)))
    return {name: request.get_tensor(name).data.copy() for name in names}


class OpenVinoBackend(Backend):
    """OpenVINO's CPU device."""

    name = "openvino"

    def check(self) -> None:  # noqa: D102 - see base
        if find_spec("openvino") is None:
            raise MissingExtra("openvino", "openvino")

    def versions(self) -> dict[str, str]:  # noqa: D102 - see base
        return {"openvino": version("openvino")}

    def open_staged(self, bundle: Bundle, settings: Settings) -> StagedProgram:  # noqa: D102 - see base
        return _Staged(_stages(bundle, settings, batch_1=True))

    def open_fused(self, bundle: Bundle, settings: Settings) -> Program:  # noqa: D102 - see base
        return _Fused(_Source(bundle, (_compiled(bundle.file(bundle.manifest.fused), settings, batch_1=True),)))

    def open_backbone(self, bundle: Bundle, settings: Settings) -> Program:  # noqa: D102 - see base
        return _Straight(_Source(bundle, (_compiled(bundle.file(bundle.manifest.backbone), settings, batch_1=True),)))

    def open_batch(self, bundle: Bundle, settings: Settings) -> Batch:  # noqa: D102 - see base
        return _Batch(_stages(bundle, settings, batch_1=not bundle.manifest.dynamic_batch))


def _stages(bundle: Bundle, settings: Settings, *, batch_1: bool) -> _Source:
    files = [bundle.file(entry.file) for entry in bundle.manifest.stages]
    return _Source(bundle, tuple(_compiled(file, settings, batch_1=batch_1) for file in files))


BACKEND = OpenVinoBackend()
