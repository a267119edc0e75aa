"""The stages of a bundle as models of a server, with engines for as many requests at a time as there are workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from queue import SimpleQueue

import numpy as np

from edgeexit.backends import Batch, Settings, find_backend
from edgeexit.backends.base import Array
from edgeexit.bundle import Bundle, Manifest, StageEntry
from edgeexit.graph.model import TensorSpec
from edgeexit.runtime.remote.stages import list_stage_outputs
from edgeexit.serving.names import check_model_name
from edgeexit.serving.server.messages import (
    BadRequest,
    InferRequest,
    decode_request,
    encode_response,
    find_largest_request,
)


@dataclass(frozen=True)
class StageModel:
    """A stage as a model. It takes what the stage reads, or the network's own inputs, from which the stages before it are run too.

    Attributes:
        name: the model's name.
        manifest: of its bundle.
        stage: the stage.
        max_batch: most samples in a request.
    """

    name: str
    manifest: Manifest
    stage: StageEntry
    max_batch: int

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of what the stage reads."""
        return (*self.stage.inputs, *(spec.name for spec in self.stage.boundaries_in))

    @cached_property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Every tensor that a request may bring."""
        own = {spec.name: spec for spec in (*self.stage.boundaries_in, *self.manifest.inputs)}
        return tuple(own.values())

    @cached_property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What it answers."""
        return tuple(list_stage_outputs(self.manifest, self.stage))

    @cached_property
    def largest_request(self) -> int:
        """Most bytes that a request may have."""
        return find_largest_request(self.inputs, self.max_batch)

    def answer(self, batch: Batch, body: bytes, header_length: int | None) -> tuple[bytes, int | None]:
        """The answer to a request; as `encode_response`.

        Raises:
            BadRequest: it is not of the protocol, or not for this model.
        """
        request = decode_request(body, header_length, self.inputs, self.max_batch)
        made = self._run(batch, request)
        return encode_response(self.name, request, {spec.name: made[spec.name] for spec in self.outputs})

    def _run(self, batch: Batch, request: InferRequest) -> dict[str, Array]:
        tensors = dict(request.tensors)
        if set(self.reads) <= set(tensors):
            return batch.run(self.stage.exit, tensors)
        if not {spec.name for spec in self.manifest.inputs} <= set(tensors):
            msg = f"{self.name} needs {', '.join(self.reads)}, or the network's own inputs; the request has {', '.join(tensors)}"
            raise BadRequest(msg)
        for stage in range(1, self.stage.exit + 1):
            tensors |= batch.run(stage, tensors)
        return tensors


@dataclass(frozen=True)
class ServedBundle:
    """A bundle's stages as models.

    Attributes:
        name: first part of the models' names.
        models: the models by name.
        engines: one set of engines for each worker; a worker takes one out and puts it back.
    """

    name: str
    models: dict[str, StageModel]
    engines: SimpleQueue[Batch]

    @classmethod
    def open(
        cls, bundle: Bundle, settings: Settings, stages: Sequence[int], *, name: str, workers: int, max_batch: int
    ) -> ServedBundle:
        """Open a bundle's engines, and run each once.

        Args:
            bundle: the bundle.
            settings: what runs it.
            stages: numbers of the stages that become models, from 1.
            name: first part of the models' names.
            workers: how many sets of engines there are.
            max_batch: most samples in a request; 1 where the network's batch is fixed.

        Raises:
            InputError: a name that is no part of a URL.
        """
        check_model_name(name)
        manifest = bundle.manifest
        largest = max_batch if manifest.dynamic_batch else 1
        models = [StageModel(f"{name}-stage-{k}", manifest, manifest.stages[k - 1], largest) for k in stages]
        served = cls(name, {model.name: model for model in models}, SimpleQueue())
        for _ in range(workers):
            batch = find_backend(settings.backend).open_batch(bundle, settings)
            _warm_up(batch, manifest)
            served.engines.put(batch)
        return served

    def answer(self, model: StageModel, body: bytes, header_length: int | None) -> tuple[bytes, int | None]:
        """The answer to a request, from whichever engines are free. For threads: no more than there are workers."""
        batch = self.engines.get()
        try:
            return model.answer(batch, body, header_length)
        finally:
            self.engines.put(batch)

    def close(self) -> None:
        """Close the engines; nothing may be under way."""
        while not self.engines.empty():
            self.engines.get().close()


def _warm_up(batch: Batch, manifest: Manifest) -> None:
    """Run every stage once on zeros: the first run allocates."""
    tensors: dict[str, Array] = {spec.name: np.zeros(spec.shape_at_1, spec.dtype) for spec in manifest.inputs}
    for stage in manifest.stages:
        tensors |= batch.run(stage.exit, tensors)
