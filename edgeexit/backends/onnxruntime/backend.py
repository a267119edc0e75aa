"""ONNX Runtime on CPU: staged and fused. How its sessions are opened is in `sessions`, how stages are cut in `recut_stages`.

It packs the weights of matrix products anew, and keeps both copies of those inside an `If`: a fused form that gains nothing by it is
opened unpacked, at 0.95 instead of 1.27 times the memory of the plain network and in the same time (see `packing_pays`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import numpy as np

from edgeexit.backends.base import Array, Backend, Batch, Program, Settings, StagedProgram
from edgeexit.backends.host import HostFused, HostStaged
from edgeexit.backends.onnxruntime.errors import refusals
from edgeexit.backends.onnxruntime.optimized_stages import recut_stages
from edgeexit.backends.onnxruntime.prepacking import packing_pays
from edgeexit.backends.onnxruntime.sessions import (
    binder,
    check_ends,
    check_session_settings,
    open_session,
    straight_program,
)
from edgeexit.backends.self_check import Check
from edgeexit.backends.stopping import run_options, within_limit
from edgeexit.bundle import Bundle, StageEntry
from edgeexit.errors import ModelError
from edgeexit.graph.fuse import RESULTS, threshold_name
from edgeexit.graph.layout import bridge_model
from edgeexit.graph.onnx_files import load_binary

if TYPE_CHECKING:
    import onnxruntime as ort


@dataclass(frozen=True)
class _Source:
    """The stages' sessions."""

    bundle: Bundle
    sessions: tuple[ort.InferenceSession, ...]


_BATCHES: WeakValueDictionary[tuple[Path, tuple[str, ...], Settings], _Source] = WeakValueDictionary()
"""Sessions for batches that are open now."""


class _Batch(Batch):
    def __init__(self, source: _Source) -> None:
        self._source = source

    def run(self, stage: int, tensors: Mapping[str, Array]) -> dict[str, Array]:
        session = self._source.sessions[stage - 1]
        feeds = {i.name: tensors[i.name] for i in session.get_inputs()}
        names = [o.name for o in session.get_outputs()]
        options = run_options()
        with within_limit(), refusals("ONNX Runtime cannot run the model"):
            if self._source.bundle.manifest.dynamic_batch:
                return dict(zip(names, session.run(names, feeds, options), strict=True))
            count = len(next(iter(feeds.values())))
            rows = [session.run(names, {n: a[i : i + 1] for n, a in feeds.items()}, options) for i in range(count)]
        return {name: np.concatenate([np.atleast_1d(row[j]) for row in rows]) for j, name in enumerate(names)}


class OnnxRuntimeBackend(Backend):
    """ONNX Runtime's CPU provider. Always there: it is a base dependency."""

    name = "onnxruntime"

    def check(self) -> None:  # noqa: D102 - see base
        return

    def check_options(self, options: str) -> None:  # noqa: D102 - see base
        check_session_settings(options)

    def versions(self) -> dict[str, str]:  # noqa: D102 - see base
        import onnxruntime as ort  # its distribution may be onnxruntime-gpu, onnxruntime-openvino, ...

        return {"onnxruntime": ort.__version__}

    def open_staged(self, bundle: Bundle, settings: Settings) -> StagedProgram:  # noqa: D102 - see base
        try:
            manifest, sessions = recut_stages(bundle, settings)
        except (ModelError, OSError) as error:
            note = f"stages optimised one by one, at a few percent of their time: {error}"
            return HostStaged(bundle.manifest, binder(_stage_sessions(bundle, settings, batch_1=True).sessions), note)
        return HostStaged(manifest, binder(sessions))

    def open_fused(self, bundle: Bundle, settings: Settings) -> Program:  # noqa: D102 - see base
        m = bundle.manifest
        graph = load_binary(bundle.file(m.fused)).graph
        session = open_session(bundle.file(m.fused), settings, batch_1=True, packed=packing_pays(graph))
        thresholds = [threshold_name(k) for k in range(1, m.exits)]
        check_ends(session, m.fused, [*(s.name for s in m.inputs), *thresholds], RESULTS)
        return HostFused(m, binder([session]))

    def open_backbone(self, bundle: Bundle, settings: Settings) -> Program:  # noqa: D102 - see base
        m = bundle.manifest
        session = open_session(bundle.file(m.backbone), settings, batch_1=True)
        check_ends(session, m.backbone, [s.name for s in m.inputs], [o.name for o in session.get_outputs()[:1]])
        return straight_program(session, m.inputs, m.classes)

    def open_batch(self, bundle: Bundle, settings: Settings) -> Batch:  # noqa: D102 - see base
        # Files never change and sessions may be called from many threads: clones of a Runner share them.
        key = (bundle.path.resolve(), tuple(entry.file for entry in bundle.manifest.stages), settings)
        source = _BATCHES.get(key)
        if source is None:
            source = _BATCHES[key] = _stage_sessions(bundle, settings, batch_1=False)
        return _Batch(source)

    def self_checks(self, bundle: Bundle, settings: Settings) -> Sequence[Check]:
        """Whether the stages are those of the optimised network, which is quicker."""
        note = self.open_staged(bundle, settings).note
        return (Check("stages are cut from the optimised network", None if note else True, note),)


def _stage_sessions(bundle: Bundle, settings: Settings, *, batch_1: bool) -> _Source:
    sessions = []
    for entry in bundle.manifest.stages:
        model = _stage_model(bundle, entry)
        session = open_session(model, settings, batch_1=batch_1, folder=bundle.path, shared_arena=True)
        made = [entry.logits, entry.score, *(t.name for t in entry.boundaries_out)]
        check_ends(session, entry.file, [*entry.inputs, *(t.name for t in entry.boundaries_in)], made)
        sessions.append(session)
    return _Source(bundle, tuple(sessions))


def _stage_model(bundle: Bundle, entry: StageEntry) -> Path | bytes:
    """The stage's file, or its content where it is better with a bridge to the blocked layout, which only this runtime wants."""
    path = bundle.file(entry.file)
    model = load_binary(path)
    return bytes(model.SerializeToString()) if bridge_model(model, entry.boundaries_in) else path


BACKEND = OnnxRuntimeBackend()
