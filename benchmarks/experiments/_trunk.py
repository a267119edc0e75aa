"""The trunk of a network up to one of its branches, without any head: what the authors' clock of BranchyNet ran over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx

from edgeexit.backends.base import Settings
from edgeexit.backends.onnxruntime.sessions import open_session
from edgeexit.bundle.manifest import StageEntry
from edgeexit.graph.dataflow import Flow
from edgeexit.graph.model import read_model
from edgeexit.graph.split import build_submodel
from edgeexit.runtime import Runner


class Passed(NamedTuple):
    """The trunk gives no answer; it got as far as this exit's branch."""

    exit: int


class Trunk:
    """One session from the input to the tensors that leave stage `exit` for later stages, buffers bound as the Runner binds them."""

    def __init__(self, runner: Runner, exit: int) -> None:
        import onnxruntime as ort

        settings = Settings(threads=runner.settings.threads, spin=runner.settings.spin)
        source = runner.bundle.file(runner.bundle.manifest.model)
        model = _trunk_model(source, runner.bundle.manifest.stages, exit)
        self._session = open_session(model.SerializeToString(), settings, batch_1=True, folder=source.parent)
        manifest = runner.bundle.manifest
        [spec] = manifest.inputs
        self._input = np.zeros(spec.shape_at_1, spec.dtype)
        self._value = ort.OrtValue.ortvalue_from_numpy(self._input)
        self._binding = self._session.io_binding()
        self._binding.bind_ortvalue_input(spec.name, self._value)
        for output in self._session.get_outputs():
            self._binding.bind_output(output.name)
        self._answer = Passed(exit)

    def __call__(self, x: Any) -> Passed:
        """Run the trunk."""
        self._input[...] = x
        self._session.run_with_iobinding(self._binding)
        return self._answer


def _trunk_model(source: Path, stages: Sequence[StageEntry], exit: int) -> onnx.ModelProto:
    """The part of the network that makes what stages after `exit` read."""
    net = read_model(source)
    later = {spec.name for stage in stages[exit:] for spec in stage.boundaries_in}
    wanted = {spec.name: spec for stage in stages[:exit] for spec in stage.boundaries_out if spec.name in later}
    nodes = Flow.from_graph(net.proto.graph, [s.name for s in net.inputs]).ancestors(wanted)
    return build_submodel(net, f"trunk {exit}", sorted(nodes), net.inputs, list(wanted.values()))
