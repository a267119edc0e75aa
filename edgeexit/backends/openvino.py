"""OpenVINO on CPU: staged and fused, infer requests made once, tensors shared between them.

* the LATENCY hint, one stream and a fixed number of threads; arithmetic in float32, because on machines with bfloat16 or float16 units
  OpenVINO would otherwise take those for everything, the criterion too, and the answers would no longer be the network's.
* an output of stage k is the very tensor that is an input of stage k+1. OpenVINO keeps it in plain layout and its convolutions work in
  another, so each boundary costs one reorder: measured, it is more than the whole call floor where the feature map is large.
* its usage reports, which it sends when it is imported, are off; see `import_openvino`.
* OpenVINO has no setting for spinning worker threads; `Settings.spin` changes nothing here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from edgeexit.backends.base import Array, Backend, Batch, Program, Settings, StagedProgram
from edgeexit.backends.host import Bind, HostBackbone, HostFused, HostStaged
from edgeexit.bundle import Bundle, StageEntry
from edgeexit.errors import MissingExtra, ModelError
from edgeexit.graph.model import TensorSpec

MOST_FUSED_EXITS = 12
"""Compiling nested If doubles its time with each level (2026.4: 16 small stages 1 s, 20 half a minute, 24 over seven minutes)."""
_REPORTS = "openvino_telemetry"
_NO_SNIPPETS = {"SNIPPETS_MODE": "DISABLE"}


TELEMETRY = "EDGEEXIT_OPENVINO_TELEMETRY"
"""Environment variable; at 1 OpenVINO is imported with its usage reports."""
_importing = Lock()


def import_openvino() -> Any:
    """The `openvino` package, imported without its usage reports.

    Importing it looks up a host of Google Analytics, sends an event there and keeps a client id in ~/intel. It does not where it finds no
    `openvino_telemetry`, so that is hidden during the import, unless the variable `TELEMETRY` is 1 or the program has imported it before.
    """
    with _importing, _hide_telemetry():
        import openvino
    return openvino


@contextmanager
def _hide_telemetry() -> Iterator[None]:
    if os.environ.get(TELEMETRY) == "1" or _REPORTS in sys.modules:
        yield
        return
    sys.modules[_REPORTS] = None  # type: ignore[assignment]  # the documented way to make an import fail
    try:
        yield
    finally:
        del sys.modules[_REPORTS]


@contextmanager
def _translate_openvino_errors(what: str) -> Iterator[None]:
    """Turn OpenVINO's exceptions, which are RuntimeError, into a ModelError."""
    try:
        yield
    except RuntimeError as error:
        openvino = import_openvino()
        reason = next((line for line in str(error).splitlines() if line.strip()), "no reason given")[:400]
        raise ModelError(f"OpenVINO {openvino.__version__} cannot take {what}: {reason.strip()}") from error


def _compile_model(file: Path, settings: Settings, *, batch_1: bool) -> Any:
    """A model compiled for the CPU."""
    ov = import_openvino()
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(settings.threads),
        "INFERENCE_PRECISION_HINT": "f32",
    }
    with _translate_openvino_errors(str(file)):
        core = ov.Core()
        model = core.read_model(str(file))
        if batch_1:
            model.reshape({port: _fix_batch_at_1(port) for port in model.inputs if port.partial_shape.is_dynamic})
        if _has_dense_layers(model):
            with suppress(RuntimeError):  # a release that does not know the setting
                return core.compile_model(model, "CPU", {**config, **_NO_SNIPPETS})
        return core.compile_model(model, "CPU", config)


def _has_dense_layers(model: Any) -> bool:
    """Whether rows of numbers go through more than one dense layer.

    Compiling two in a row for one thread ends the process in 2026.4.1, where something computed is added to what they give, whatever lies
    between. Without the kernels that it generates for them it does not, and networks with such classifiers are as fast (0.99 to 1.01 on
    three).
    """
    return sum(_is_dense(op) for op in model.get_ops()) > 1


def _is_dense(op: Any) -> bool:
    return bool(op.get_type_name() == "MatMul" and op.get_output_partial_shape(0).rank == 2)


def _fix_batch_at_1(port: Any) -> list[int]:
    """The shape of an input with its free dimension, the batch, at 1."""
    return [1 if dim.is_dynamic else dim.get_length() for dim in port.partial_shape]


def _make_binder(models: Sequence[Any] | Mapping[int, Any]) -> Bind:
    """Infer requests on NumPy buffers without copies, models by place; these are shared between clones, requests and buffers are not."""
    ov = import_openvino()

    def bind(place: int, buffers: Mapping[str, Array]) -> Callable[[], None]:
        model = models[place]
        request = model.create_infer_request()
        tensors = {name: ov.Tensor(array, shared_memory=True) for name, array in buffers.items()}
        for port in (*model.inputs, *model.outputs):
            request.set_tensor(port, tensors[_find_port_name(port, tensors)])
        return _BoundRequest(request, (tensors, buffers)).run

    return bind


class _BoundRequest:
    """A request with its tensors set; it holds no reference to the NumPy buffers behind them, which `alive` are."""

    def __init__(self, request: Any, alive: object) -> None:
        self._request = request
        self._alive = alive

    def run(self) -> None:
        self._request.infer(share_inputs=True, share_outputs=True)


def _find_port_name(port: Any, names: Mapping[str, object]) -> str:
    """A port's name among ours; OpenVINO may give one port several names when it merges nodes."""
    return str(next(name for name in port.get_names() if name in names))


def _make_backbone(model: Any, bundle: Bundle) -> HostBackbone:
    port = model.output(0)
    dtype = str(np.dtype(port.element_type.to_dtype()))
    logits = TensorSpec(str(next(iter(port.get_names()))), dtype, (1, bundle.manifest.classes))
    return HostBackbone(_make_binder([model]), bundle.manifest.inputs, logits)


@dataclass(frozen=True)
class _OpenVinoStages:
    """The stages' compiled models."""

    bundle: Bundle
    models: tuple[Any, ...]


class _OpenVinoBatch(Batch):
    def __init__(self, source: _OpenVinoStages) -> None:
        self._entries = source.bundle.manifest.stages
        self._many = source.bundle.manifest.dynamic_batch
        self._requests = [model.create_infer_request() for model in source.models]

    def run(self, stage: int, tensors: Mapping[str, Array]) -> dict[str, Array]:
        entry, request = self._entries[stage - 1], self._requests[stage - 1]
        feeds = {name: tensors[name] for name in (*entry.inputs, *(b.name for b in entry.boundaries_in))}
        if self._many:
            return _read_outputs(request, entry, feeds)
        count = len(next(iter(feeds.values())))
        rows = [_read_outputs(request, entry, {n: a[i : i + 1] for n, a in feeds.items()}) for i in range(count)]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _read_outputs(request: Any, entry: StageEntry, feeds: Mapping[str, Array]) -> dict[str, Array]:
    request.infer(dict(feeds), share_inputs=True)
    names = dict.fromkeys((entry.logits, entry.score, *(b.name for b in entry.boundaries_out)))
    return {name: request.get_tensor(name).data.copy() for name in names}


class OpenVinoBackend(Backend):
    """OpenVINO's CPU device."""

    name = "openvino"
    shares_stages = True

    def check(self) -> None:  # noqa: D102 - see base
        if find_spec("openvino") is None:
            raise MissingExtra("openvino", "openvino")

    def versions(self) -> dict[str, str]:  # noqa: D102 - see base
        return {"openvino": version("openvino")}

    def explain_unsupported(self, mode: str, exits: int, options: str = "") -> str | None:  # noqa: ARG002, D102 - see base
        if mode != "fused" or exits <= MOST_FUSED_EXITS:
            return None
        return (
            f"OpenVINO takes twice as long to compile it with every exit more; up to {MOST_FUSED_EXITS} exits are fused, and this"
            f" network has {exits}"
        )

    def open_staged(self, bundle: Bundle, settings: Settings) -> StagedProgram:  # noqa: D102 - see base
        return HostStaged(bundle.manifest, _make_binder(_compile_stages(bundle, settings, batch_1=True).models))

    def bind_stages(self, bundle: Bundle, settings: Settings, stages: Collection[int]) -> Bind:  # noqa: D102 - see base
        entries = [entry for entry in bundle.manifest.stages if entry.exit in stages]
        return _make_binder({e.exit - 1: _compile_model(bundle.file(e.file), settings, batch_1=True) for e in entries})

    def open_fused(self, bundle: Bundle, settings: Settings) -> Program:  # noqa: D102 - see base
        model = _compile_model(bundle.file(bundle.manifest.fused), settings, batch_1=True)
        return HostFused(bundle.manifest, _make_binder([model]))

    def open_backbone(self, bundle: Bundle, settings: Settings) -> Program:  # noqa: D102 - see base
        return _make_backbone(_compile_model(bundle.file(bundle.manifest.backbone), settings, batch_1=True), bundle)

    def open_batch(self, bundle: Bundle, settings: Settings) -> Batch:  # noqa: D102 - see base
        return _OpenVinoBatch(_compile_stages(bundle, settings, batch_1=not bundle.manifest.dynamic_batch))


def _compile_stages(bundle: Bundle, settings: Settings, *, batch_1: bool) -> _OpenVinoStages:
    files = [bundle.file(entry.file) for entry in bundle.manifest.stages]
    return _OpenVinoStages(bundle, tuple(_compile_model(file, settings, batch_1=batch_1) for file in files))


BACKEND = OpenVinoBackend()
