"""MNN on CPU: staged and fused, in float32.

Its converter (3.6.1) turns float16 weights into numbers that are not the network's, and ends on quantised layers or gives models that
do not run; its own int8 (`--weightQuantBits`) rounds weights only and computes in float32. So a bundle in another precision is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import version
from importlib.util import find_spec

from edgeexit.backends.base import Backend, Batch, Program, Settings, StagedProgram
from edgeexit.backends.host import Bind, HostBackbone, HostFused, HostStaged
from edgeexit.backends.mnn.batches import MnnBatch
from edgeexit.backends.mnn.conversion import convert_file
from edgeexit.backends.mnn.modules import make_module_binder
from edgeexit.backends.mnn.sessions import make_binder
from edgeexit.bundle import Bundle
from edgeexit.errors import MissingExtra
from edgeexit.graph.fuse import RESULTS, make_threshold_name
from edgeexit.graph.model import TensorSpec
from edgeexit.graph.onnx_files import load_binary
from edgeexit.stage_choices import for_stage


class MnnBackend(Backend):
    """MNN's CPU backend."""

    name = "mnn"
    precisions = ("float32",)
    shares_stages = True

    def check(self) -> None:  # noqa: D102 - see base
        if find_spec("MNN") is None:
            raise MissingExtra("MNN", "mnn")

    def versions(self) -> dict[str, str]:  # noqa: D102 - see base
        return {"mnn": version("MNN")}

    def open_staged(self, bundle: Bundle, settings: Settings) -> StagedProgram:  # noqa: D102 - see base
        self.check_precision(settings.precision)
        files = {entry.exit - 1: convert_file(bundle, entry.file) for entry in bundle.manifest.stages}
        return HostStaged(bundle.manifest, make_binder(files, settings))

    def bind_stages(self, bundle: Bundle, settings: Settings, stages: Collection[int]) -> Bind:  # noqa: D102 - see base
        for stage in stages:
            self.check_precision(for_stage(settings.precision, stage))
        entries = [entry for entry in bundle.manifest.stages if entry.exit in stages]
        return make_binder({e.exit - 1: convert_file(bundle, e.file) for e in entries}, settings)

    def open_fused(self, bundle: Bundle, settings: Settings) -> Program:  # noqa: D102 - see base
        self.check_precision(settings.precision)
        m = bundle.manifest
        file = convert_file(bundle, m.fused, modules=True)
        inputs = [*(s.name for s in m.inputs), *(make_threshold_name(k) for k in range(1, m.exits))]
        return HostFused(m, make_module_binder(file, inputs, RESULTS, settings))

    def open_backbone(self, bundle: Bundle, settings: Settings) -> Program:  # noqa: D102 - see base
        self.check_precision(settings.precision)
        m = bundle.manifest
        name = load_binary(bundle.file(m.backbone)).graph.output[0].name
        logits = TensorSpec(name, "float32", (1, m.classes))
        return HostBackbone(make_binder({0: convert_file(bundle, m.backbone)}, settings), m.inputs, logits)

    def open_batch(self, bundle: Bundle, settings: Settings) -> Batch:  # noqa: D102 - see base
        self.check_precision(settings.precision)
        m = bundle.manifest
        files = [convert_file(bundle, entry.file, batch_1=not m.dynamic_batch) for entry in m.stages]
        return MnnBatch(m, files, settings)


BACKEND = MnnBackend()
