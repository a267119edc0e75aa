"""ONNX Runtime: staged and fused. How its sessions are opened is in `sessions`, how stages are cut for the CPU in `open_optimized_stages`,
and what runs on another execution provider in `provider_programs`.

It packs the weights of matrix products again, and keeps both copies of those inside an `If`: a fused mode that gains nothing by it is
opened unpacked, at 0.95 instead of 1.27 times the memory of the plain network and in the same time (see `should_pack_weights`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import numpy as np

from edgeexit.backends.base import Array, Backend, Batch, Program, Settings, StagedProgram
from edgeexit.backends.host import Bind, HostFused, HostStaged
from edgeexit.backends.onnxruntime.errors import translate_runtime_errors
from edgeexit.backends.onnxruntime.optimized_stages import open_optimized_stages
from edgeexit.backends.onnxruntime.prepacking import should_pack_weights
from edgeexit.backends.onnxruntime.provider_programs import open_backbone_on, open_fused_on, open_staged_on
from edgeexit.backends.onnxruntime.providers import ExecutionProvider
from edgeexit.backends.onnxruntime.sessions import (
    check_ends,
    make_backbone_program,
    make_binder,
    open_session,
)
from edgeexit.backends.self_check import SelfCheck
from edgeexit.backends.stopping import enforce_run_limit, run_options
from edgeexit.bundle import Bundle, StageEntry
from edgeexit.errors import InputError, ModelError
from edgeexit.graph.fuse import RESULTS, make_threshold_name
from edgeexit.graph.layout import insert_layout_pools_in_model
from edgeexit.graph.onnx_files import load_binary
from edgeexit.hardware import read_device_facts

if TYPE_CHECKING:
    import onnxruntime as ort


@dataclass(frozen=True)
class _OrtStages:
    """The stages' sessions."""

    bundle: Bundle
    sessions: tuple[ort.InferenceSession, ...]


_BATCHES: WeakValueDictionary[tuple[Path, tuple[str, ...], Settings], _OrtStages] = WeakValueDictionary()
"""Sessions for batches that are open now."""


class _OrtBatch(Batch):
    def __init__(self, source: _OrtStages) -> None:
        self._source = source

    def run(self, stage: int, tensors: Mapping[str, Array]) -> dict[str, Array]:
        session = self._source.sessions[stage - 1]
        feeds = {i.name: tensors[i.name] for i in session.get_inputs()}
        names = [o.name for o in session.get_outputs()]
        options = run_options()
        with enforce_run_limit(), translate_runtime_errors("ONNX Runtime cannot run the model"):
            if self._source.bundle.manifest.dynamic_batch:
                return dict(zip(names, session.run(names, feeds, options), strict=True))
            count = len(next(iter(feeds.values())))
            rows = [session.run(names, {n: a[i : i + 1] for n, a in feeds.items()}, options) for i in range(count)]
        return {name: np.concatenate([np.atleast_1d(row[j]) for row in rows]) for j, name in enumerate(names)}


class OnnxRuntimeBackend(Backend):
    """ONNX Runtime, on its CPU provider where the options name no other. Always there: it is a base dependency."""

    name = "onnxruntime"
    shares_stages = True

    def computes_float16(self) -> bool:  # noqa: D102 - see base; its CPU kernels for float16 are those of aarch64
        facts = read_device_facts()
        return facts["arch"].lower() in ("aarch64", "arm64") and "asimdhp" in facts.get("isa", "").split()

    def check(self) -> None:  # noqa: D102 - see base
        return

    def check_options(self, options: str) -> None:  # noqa: D102 - see base
        ExecutionProvider.from_options(options).check_offered()

    def explain_unsupported(self, mode: str, exits: int, options: str = "") -> str | None:  # noqa: ARG002, D102 - see base
        return ExecutionProvider.from_options(options).explain_unsupported(mode)

    def versions(self) -> dict[str, str]:  # noqa: D102 - see base
        import onnxruntime as ort  # its distribution may be onnxruntime-gpu, onnxruntime-openvino, ...

        return {"onnxruntime": ort.__version__}

    def open_staged(self, bundle: Bundle, settings: Settings) -> StagedProgram:  # noqa: D102 - see base
        provider = ExecutionProvider.from_options(settings.options)
        if not provider.is_cpu:
            return open_staged_on(provider, bundle, settings)
        try:
            manifest, sessions = open_optimized_stages(bundle, settings)
        except (ModelError, OSError) as error:
            note = f"stages optimised one by one, at a few percent of their time: {error}"
            return HostStaged(
                bundle.manifest, make_binder(_open_stage_sessions(bundle, settings, batch_1=True).sessions), note
            )
        return HostStaged(manifest, make_binder(sessions))

    def bind_stages(self, bundle: Bundle, settings: Settings, stages: Collection[int]) -> Bind:  # noqa: D102 - see base
        if not ExecutionProvider.from_options(settings.options).is_cpu:
            msg = "stages that run beside those of other backends run on the CPU provider of ONNX Runtime: leave the provider out."
            raise InputError(msg)
        entries = [entry for entry in bundle.manifest.stages if entry.exit in stages]
        return make_binder({e.exit - 1: _open_stage_session(bundle, e, settings, batch_1=True) for e in entries})

    def open_fused(self, bundle: Bundle, settings: Settings) -> Program:  # noqa: D102 - see base
        m, provider = bundle.manifest, ExecutionProvider.from_options(settings.options)
        if not provider.is_cpu:
            return open_fused_on(provider, bundle, settings)
        graph = load_binary(bundle.file(m.fused)).graph
        session = open_session(bundle.file(m.fused), settings, batch_1=True, packed=should_pack_weights(graph))
        thresholds = [make_threshold_name(k) for k in range(1, m.exits)]
        check_ends(session, m.fused, [*(s.name for s in m.inputs), *thresholds], RESULTS)
        return HostFused(m, make_binder([session]))

    def open_backbone(self, bundle: Bundle, settings: Settings) -> Program:  # noqa: D102 - see base
        m, provider = bundle.manifest, ExecutionProvider.from_options(settings.options)
        if not provider.is_cpu:
            return open_backbone_on(provider, bundle, settings)
        session = open_session(bundle.file(m.backbone), settings, batch_1=True)
        check_ends(session, m.backbone, [s.name for s in m.inputs], [o.name for o in session.get_outputs()[:1]])
        return make_backbone_program(session, m.inputs, m.classes)

    def open_batch(self, bundle: Bundle, settings: Settings) -> Batch:  # noqa: D102 - see base
        # Files never change and sessions may be called from many threads: clones of a Runner share them.
        key = (bundle.path.resolve(), tuple(entry.file for entry in bundle.manifest.stages), settings)
        source = _BATCHES.get(key)
        if source is None:
            source = _BATCHES[key] = _open_stage_sessions(bundle, settings, batch_1=False)
        return _OrtBatch(source)

    def self_checks(self, bundle: Bundle, settings: Settings) -> Sequence[SelfCheck]:
        """Whether the stages are those of the optimised network, which is quicker; on another provider, whether all of them run there."""
        provider, note = ExecutionProvider.from_options(settings.options), self.open_staged(bundle, settings).note
        if not provider.is_cpu:
            return (SelfCheck(f"every node runs on {provider.name}", None if note else True, note),)
        return (SelfCheck("stages are cut from the optimised network", None if note else True, note),)


def _open_stage_sessions(bundle: Bundle, settings: Settings, *, batch_1: bool) -> _OrtStages:
    entries = bundle.manifest.stages
    return _OrtStages(bundle, tuple(_open_stage_session(bundle, e, settings, batch_1=batch_1) for e in entries))


def _open_stage_session(
    bundle: Bundle, entry: StageEntry, settings: Settings, *, batch_1: bool
) -> ort.InferenceSession:
    model = _select_stage_model(bundle, entry)
    session = open_session(model, settings, batch_1=batch_1, folder=bundle.path, shared_arena=True)
    made = [entry.logits, entry.score, *(t.name for t in entry.boundaries_out)]
    check_ends(session, entry.file, [*entry.inputs, *(t.name for t in entry.boundaries_in)], made)
    return session


def _select_stage_model(bundle: Bundle, entry: StageEntry) -> Path | bytes:
    """The stage's file, or its content where it is better with a bridge to the blocked layout, which only this runtime wants."""
    path = bundle.file(entry.file)
    model = load_binary(path)
    return bytes(model.SerializeToString()) if insert_layout_pools_in_model(model, entry.boundaries_in) else path


BACKEND = OnnxRuntimeBackend()
