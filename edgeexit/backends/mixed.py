"""A backend for each stage of a bundle: engines of several runtimes on the same host buffers, so that nothing is copied between stages.

Stages are opened from their own files. One backend alone may have something better, as ONNX Runtime cuts its stages from the network that
it optimised in one piece; so a mix has to be timed against each single backend as it runs by itself, which `compile --backend auto` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgeexit.backends.base import Array, Backend, Batch, Program, Settings, StagedProgram
from edgeexit.backends.host import Bind, HostStaged, make_aligned_array, make_buffers
from edgeexit.bundle import Bundle, Manifest
from edgeexit.errors import InputError
from edgeexit.stage_choices import for_stage, join_stage_names

_FUSED = "its stages run in several backends, and one conditional graph runs in one"


class MixedBackend(Backend):
    """One backend a stage.

    Args:
        backends: those of the stages, in order.

    Raises:
        InputError: one of them does not share the stages of a bundle, or they quantise in different forms.
    """

    def __init__(self, backends: Sequence[Backend]) -> None:
        self.backends = tuple(backends)
        self.name = join_stage_names([b.name for b in backends])
        self.quantized_outputs = all(b.quantized_outputs for b in backends)
        alone = sorted({b.name for b in backends if not b.shares_stages})
        if alone:
            msg = (
                f"backend {alone[0]} runs all stages of a bundle or none: it cannot be mixed with others ({self.name})."
            )
            raise InputError(msg)

    def check(self) -> None:  # noqa: D102 - see base
        for backend in self._distinct.values():
            backend.check()

    @property
    def _distinct(self) -> dict[str, Backend]:
        return {b.name: b for b in self.backends}

    def check_options(self, options: str) -> None:  # noqa: D102 - see base
        if options:
            msg = f"options belong to one backend, and the stages run in several ({self.name}): leave {options!r} out."
            raise InputError(msg)

    def check_precision(self, precision: str) -> None:  # noqa: D102 - see base
        for stage, backend in enumerate(self.backends, 1):
            backend.check_precision(for_stage(precision, stage))

    def versions(self) -> dict[str, str]:  # noqa: D102 - see base
        return {name: version for b in self._distinct.values() for name, version in b.versions().items()}

    def explain_unsupported(self, mode: str, exits: int, options: str = "") -> str | None:  # noqa: ARG002, D102 - see base
        return _FUSED if mode == "fused" else None

    def open_staged(self, bundle: Bundle, settings: Settings) -> StagedProgram:  # noqa: D102 - see base
        return HostStaged(bundle.manifest, self._open_stages(bundle, settings))

    def _open_stages(self, bundle: Bundle, settings: Settings) -> Bind:
        """Every stage opened in its backend."""
        if len(self.backends) != bundle.manifest.exits:
            msg = f"{self.name} names {len(self.backends)} stages, and {bundle.path} has {bundle.manifest.exits}."
            raise InputError(msg)
        bound = {}
        for name, backend in self._distinct.items():
            stages = [k for k, one in enumerate(self.backends, 1) if one.name == name]
            bound[name] = backend.bind_stages(bundle, replace(settings, backend=name), stages)

        def bind(place: int, buffers: Mapping[str, Array]) -> Callable[[], None]:
            return bound[self.backends[place].name](place, buffers)

        return bind

    def open_fused(self, bundle: Bundle, settings: Settings) -> Program:  # noqa: ARG002, D102 - see base
        msg = f"{bundle.path} does not run in mode fused: {_FUSED}. Use mode staged."
        raise InputError(msg)

    def open_backbone(self, bundle: Bundle, settings: Settings) -> Program:
        """In the backend of the last stage: it is one network, and most of its work is usually there."""
        last = self.backends[-1]
        return last.open_backbone(bundle, replace(settings, backend=last.name))

    def open_batch(self, bundle: Bundle, settings: Settings) -> Batch:
        """Sample by sample: no backend has to take the stages of another, in a precision that it may not run."""
        return _RowBatch(bundle.manifest, self._open_stages(bundle, settings))


class _RowBatch(Batch):
    """Bound stages run once for each sample."""

    def __init__(self, manifest: Manifest, bind: Bind) -> None:
        self._stages = []
        for place, entry in enumerate(manifest.stages):
            own = [spec for spec in manifest.inputs if spec.name in entry.inputs]
            reads = make_buffers([*own, *entry.boundaries_in])
            makes = make_buffers(entry.boundaries_out)
            makes[entry.logits] = make_aligned_array((1, manifest.classes), np.float32)
            makes[entry.score] = make_aligned_array((1,), np.float32)
            self._stages.append((reads, makes, bind(place, {**reads, **makes})))

    def run(self, stage: int, tensors: Mapping[str, Array]) -> dict[str, Array]:
        reads, makes, run = self._stages[stage - 1]
        rows: dict[str, list[Array]] = {name: [] for name in makes}
        for i in range(len(next(iter(tensors.values())))):
            for name, buffer in reads.items():
                buffer[...] = tensors[name][i : i + 1]
            run()
            for name, buffer in makes.items():
                rows[name].append(buffer.copy())
        return {name: np.concatenate(made) for name, made in rows.items()}
