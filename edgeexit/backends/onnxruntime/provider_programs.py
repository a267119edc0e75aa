"""Bundles on another execution provider than the CPU's: stages as they are in the bundle, each session proved to run there.

Where the provider's tensors lie in memory of a device, boundary tensors stay there: an output of one stage is bound to the very OrtValue
that is an input of the next. Inputs are copied in by the first stage that reads them, logits and score come back, and nothing else does.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeexit.backends.base import Array, Program, Settings, StagedProgram
from edgeexit.backends.example_inputs import make_random_inputs
from edgeexit.backends.host import Bind, HostBackbone, HostFused, HostStaged
from edgeexit.backends.onnxruntime.errors import translate_runtime_errors
from edgeexit.backends.onnxruntime.providers import (
    ExecutionProvider,
    NodePlacement,
    ProviderWarning,
    explain_placement,
    read_placement,
)
from edgeexit.backends.onnxruntime.sessions import (
    check_ends,
    make_backbone_program,
    make_binder,
    make_bound_run,
    open_session,
)
from edgeexit.bundle import Bundle, Manifest
from edgeexit.graph.fuse import RESULTS, make_threshold_name
from edgeexit.util.scratch import make_scratch_folder

if TYPE_CHECKING:
    import onnxruntime as ort


@dataclass(frozen=True)
class _PlacedSession:
    """A session, and where its nodes ran."""

    session: ort.InferenceSession
    placement: NodePlacement


def open_staged_on(provider: ExecutionProvider, bundle: Bundle, settings: Settings) -> StagedProgram:
    """One session per stage on a provider; the program's note says how many nodes it left to the CPU.

    Raises:
        HardwareMissing: its libraries or its device are missing.
    """
    m, opened = bundle.manifest, list[_PlacedSession]()
    for entry in m.stages:
        reads = [*(s for s in m.inputs if s.name in entry.inputs), *entry.boundaries_in]
        placed = _open_placed(bundle.file(entry.file), provider, settings, make_random_inputs(reads, 0))
        made = [entry.logits, entry.score, *(t.name for t in entry.boundaries_out)]
        check_ends(placed.session, entry.file, [s.name for s in reads], made)
        opened.append(placed)
    bind = _make_provider_binder(provider, [one.session for one in opened], m)
    return HostStaged(m, bind, _warn_of_fallbacks(provider, opened))


def open_fused_on(provider: ExecutionProvider, bundle: Bundle, settings: Settings) -> Program:
    """The fused graph on a provider; errors as of `open_staged_on`."""
    m = bundle.manifest
    never = {make_threshold_name(k): np.array(np.inf, np.float32) for k in range(1, m.exits)}  # so that every node runs
    placed = _open_placed(bundle.file(m.fused), provider, settings, {**make_random_inputs(m.inputs, 0), **never})
    check_ends(placed.session, m.fused, [*(s.name for s in m.inputs), *never], RESULTS)
    program = HostFused(m, _make_provider_binder(provider, [placed.session]))
    program.note = _warn_of_fallbacks(provider, [placed])
    return program


def open_backbone_on(provider: ExecutionProvider, bundle: Bundle, settings: Settings) -> HostBackbone:
    """The network straight to its last exit on a provider; errors as of `open_staged_on`."""
    m = bundle.manifest
    placed = _open_placed(bundle.file(m.backbone), provider, settings, make_random_inputs(m.inputs, 0))
    program = make_backbone_program(
        placed.session, m.inputs, m.classes, _make_provider_binder(provider, [placed.session])
    )
    program.note = _warn_of_fallbacks(provider, [placed])
    return program


def _open_placed(
    model: Path, provider: ExecutionProvider, settings: Settings, feeds: Mapping[str, Array]
) -> _PlacedSession:
    with make_scratch_folder() as folder:
        session = open_session(model, settings, batch_1=True, profile=folder / "nodes")
        with translate_runtime_errors("ONNX Runtime cannot run the model"):
            return _PlacedSession(session, read_placement(session, feeds, provider))


def _warn_of_fallbacks(provider: ExecutionProvider, opened: Sequence[_PlacedSession]) -> str:
    text = explain_placement([one.placement for one in opened], provider)
    if text:
        warnings.warn(f"{text}.", ProviderWarning, stacklevel=2)
    return text


def _make_provider_binder(
    provider: ExecutionProvider, sessions: Sequence[ort.InferenceSession], manifest: Manifest | None = None
) -> Bind:
    """`manifest` where there is a session per stage."""
    if provider.device is None:
        return make_binder(sessions)
    stages = () if manifest is None else manifest.stages
    handed_on = {tensor.name for entry in stages for tensor in entry.boundaries_in}
    results = {name for entry in stages for name in (entry.logits, entry.score)}
    return _make_device_binder(sessions, (provider.device, provider.device_id), handed_on, handed_on & results)


def _make_device_binder(
    sessions: Sequence[ort.InferenceSession], device: tuple[str, int], handed_on: set[str], fetched: set[str]
) -> Bind:
    """Sessions bound to OrtValues on a device, and to NumPy buffers where host and device meet.

    ONNX Runtime copies a host tensor that is bound as an input once, when it is bound; inputs are therefore values on the device that
    each run updates. An output bound to host memory is copied there by every run.

    Args:
        sessions: bound in their order, from the first one anew for each program.
        device: its name in ONNX Runtime, and its number.
        handed_on: names of the tensors that one session makes and another reads.
        fetched: those of them that the host reads, too.
    """
    import onnxruntime as ort

    values: dict[str, ort.OrtValue] = {}

    def make_value(array: Array) -> ort.OrtValue:
        return ort.OrtValue.ortvalue_from_shape_and_type(list(array.shape), array.dtype.type, *device)

    def bind(place: int, buffers: Mapping[str, Array]) -> Callable[[], None]:
        if place == 0:
            values.clear()
        session = sessions[place]
        binding, reads = session.io_binding(), [i.name for i in session.get_inputs()]
        written = [name for name in reads if name not in values]  # by the host: nothing before has made or read them
        makes = {o.name: o.name in handed_on for o in session.get_outputs()}
        values.update(
            {name: make_value(buffers[name]) for name in (*written, *(n for n, stays in makes.items() if stays))}
        )
        ends = {n: values[n] if stays else ort.OrtValue.ortvalue_from_numpy(buffers[n]) for n, stays in makes.items()}
        for name in reads:
            binding.bind_ortvalue_input(name, values[name])
        for name, value in ends.items():
            binding.bind_ortvalue_output(name, value)
        run = make_bound_run(session, binding, (ends, [values[name] for name in reads], buffers))
        copies_in = [(values[name], buffers[name]) for name in written]
        copies_out = [(buffers[name], values[name]) for name in makes if name in fetched]
        return _surround_with_copies(run, binding, copies_in, copies_out)

    return bind


def _surround_with_copies(
    run: Callable[[], None],
    binding: ort.IOBinding,
    copies_in: Sequence[tuple[ort.OrtValue, Array]],
    copies_out: Sequence[tuple[Array, ort.OrtValue]],
) -> Callable[[], None]:
    """A run with the copies that the host asks for before and after it."""

    def run_with_copies() -> None:
        for value, array in copies_in:
            value.update_inplace(array)
        if copies_in:
            binding.synchronize_inputs()
        run()
        for array, value in copies_out:
            array[...] = value.numpy()

    return run_with_copies
