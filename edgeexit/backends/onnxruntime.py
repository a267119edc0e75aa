"""ONNX Runtime on CPU: staged and fused, every buffer bound once.

What its defaults would cost, and what is done about it:
* a session's own spinning thread pool burns a core between inferences; with one per stage, three sessions cost several times the CPU
  time of one. So one thread by default, which needs no pool, and no spinning unless asked for (recorded in the settings).
* `run` with NumPy arrays allocates its outputs on each call; bound buffers are written in place.
* a free batch dimension keeps shape arithmetic in the graph; sessions for single samples fix it at 1.
* each session has an arena of its own, so stage 2 computes in memory that stage 1 did not just warm; one arena for all stages of the
  process took the tax off a vision transformer's three stages (619 -> 541 µs, the network in one piece 531).
* a stage optimised alone loses what the whole network has across the cut (see `edgeexit.graph.recut`): the stages for single samples are
  cut, when the bundle is opened, from the network as ONNX Runtime optimised it here.
* it packs the weights of matrix products anew, and keeps both copies of those inside an `If`: a fused form that gains nothing by it is
  opened unpacked, at 0.95 instead of 1.27 times the memory of the plain network and in the same time (see `packing_pays`).
* on x86-64 without VNNI its int8 products add two of them in 16 bits, and what does not fit is cut off: logits by a third off where weights
  use all of their range. Asked for precision it adds them in 32 bits there (its pull request 12088), at the price of speed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgeexit.backends.base import Array, Backend, Batch, Program, Settings, StagedProgram
from edgeexit.backends.checks import Check
from edgeexit.backends.host import Bind, HostFused, HostStaged, HostStraight
from edgeexit.backends.samples import random_inputs
from edgeexit.bundle import Bundle, Manifest, StageEntry
from edgeexit.errors import ModelError
from edgeexit.graph.fuse import RESULTS, threshold_name
from edgeexit.graph.layout import bridge_model, packing_pays
from edgeexit.graph.network import BATCH, TensorSpec, all_tensors, outside_range
from edgeexit.graph.recut import Piece, declare, recut
from edgeexit.graph.weights import point
from edgeexit.units import bytes_

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnxruntime as ort

_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
_LARGEST_RECUT = 1 << 29  # bytes of weights: what is beyond would be written and read again for too long at every load
_CACHE_LINE = 64  # bytes
_FULL_INT8_SUMS = "session.x64quantprecision"
_ERRORS_ONLY, _FATAL_ONLY = 3, 4  # ONNX Runtime's log severity; its warnings speak of its own optimiser


@cache
def _share_one_arena() -> None:
    """Give the process an arena that sessions may ask for."""
    import onnxruntime as ort

    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    with suppress(RuntimeError):  # somebody else in the process has registered one: then it is theirs that is shared
        ort.create_and_register_allocator(memory, None)


def session_options(
    settings: Settings, *, batch_1: bool, shared_arena: bool = False, packed: bool = True
) -> ort.SessionOptions:
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
    options.add_session_config_entry("session.disable_prepacking", str(int(not packed)))
    options.add_session_config_entry(_FULL_INT8_SUMS, "1")
    if batch_1:
        options.add_free_dimension_override_by_name(BATCH, 1)
    return options


def open_session(
    model: Path | bytes,
    settings: Settings,
    *,
    batch_1: bool,
    folder: Path | None = None,
    shared_arena: bool = False,
    optimised: bool = False,
    packed: bool = True,
    quiet: bool = False,
) -> ort.InferenceSession:
    """A session on CPU.

    Args:
        model: the file, or its bytes.
        settings: threads and spinning.
        batch_1: fix the batch at 1.
        folder: where outside weights lie, for a model given as bytes.
        shared_arena: compute in the memory of the process's other sessions that share it.
        optimised: the model is, and is left as it stands.
        packed: copy the weights of matrix products into the order in which their kernels read them.
        quiet: say nothing on stderr, for a model that may well be refused.

    Raises:
        ModelError: ONNX Runtime cannot take the model; with its reason.
    """
    import onnxruntime as ort

    options = session_options(settings, batch_1=batch_1, shared_arena=shared_arena, packed=packed)
    if quiet:
        options.log_severity_level = _FATAL_ONLY
    if optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if folder is not None:
        options.add_session_config_entry(_WEIGHTS_FOLDER, str(folder))
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
    return (*own, RuntimeError, MemoryError, UnicodeDecodeError)  # its own messages may quote what is no text


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Turn ONNX Runtime's exceptions into a ModelError."""
    try:
        yield
    except _refusal_kinds() as error:
        raise ModelError(f"{what}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:400]


def _binder(sessions: Sequence[ort.InferenceSession]) -> Bind:
    """Sessions bound to NumPy buffers without copies; they are shared between clones, the buffers are not."""
    import onnxruntime as ort

    def bind(place: int, buffers: Mapping[str, Array]) -> Callable[[], None]:
        session = sessions[place]
        binding = session.io_binding()
        inputs = {i.name: ort.OrtValue.ortvalue_from_numpy(buffers[i.name]) for i in session.get_inputs()}
        outputs = {o.name: ort.OrtValue.ortvalue_from_numpy(buffers[o.name]) for o in session.get_outputs()}
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in outputs.items():
            binding.bind_ortvalue_output(name, value)
        return bound(session, binding, (inputs, outputs, buffers))

    return bind


def _check_ends(session: ort.InferenceSession, file: str, inputs: Iterable[str], outputs: Iterable[str]) -> None:
    """A session takes nothing that the manifest does not name, and gives all that it names.

    Raises:
        ModelError: the model and the manifest are not of one bundle.
    """
    strange = sorted({i.name for i in session.get_inputs()} - set(inputs))
    missing = sorted(set(outputs) ^ {o.name for o in session.get_outputs()})
    if strange or missing:
        msg = f"{file} does not fit its manifest (inputs {strange}, outputs {missing}): compile the bundle again."
        raise ModelError(msg)


def bound(session: ort.InferenceSession, binding: ort.IOBinding, alive: object) -> Callable[[], None]:
    """What runs a session with everything bound.

    The session itself is called, with run options that are made once: the method around it spends another 1.4 µs per run on options of
    other devices and on making new ones, 5 % of a small network's stage. There is no public way to it: where a release names its parts
    otherwise, the method is called.

    Args:
        session: the session.
        binding: of every input and output.
        alive: what the binding points at and holds no reference to.
    """
    import onnxruntime as ort

    call: Callable[..., None] | None = getattr(getattr(session, "_sess", None), "run_with_iobinding", None)
    handle = getattr(binding, "_iobinding", None)
    if call is None or handle is None:
        call, handle = session.run_with_iobinding, binding
    options = ort.RunOptions()

    def run(_alive: object = (session, binding, alive)) -> None:
        try:
            call(handle, options)
        except _refusal_kinds() as error:  # looked up only when there is one
            raise ModelError(f"ONNX Runtime cannot run the model: {_first_line(error)}") from error

    return run


def straight_program(session: ort.InferenceSession, inputs: Sequence[TensorSpec], classes: int) -> HostStraight:
    """A session with logits and, as second output, perhaps a score, as a Program: the backbone, or a model to compare with."""
    names = [o.name for o in session.get_outputs()]
    dtype = "float16" if session.get_outputs()[0].type == "tensor(float16)" else "float32"
    logits = TensorSpec(names[0], dtype, (1, classes))
    return HostStraight(_binder([session]), inputs, logits, names[1] if len(names) > 1 else None)


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
        with refusals("ONNX Runtime cannot run the model"):
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
        try:
            manifest, sessions = _recut_stages(bundle, settings)
        except (ModelError, OSError) as error:
            note = f"stages optimised one by one, at a few percent of their time: {error}"
            return HostStaged(bundle.manifest, _binder(_stage_sessions(bundle, settings, batch_1=True).sessions), note)
        return HostStaged(manifest, _binder(sessions))

    def open_fused(self, bundle: Bundle, settings: Settings) -> Program:  # noqa: D102 - see base
        m = bundle.manifest
        graph = onnx.load(str(bundle.file(m.fused)), load_external_data=False).graph
        session = open_session(bundle.file(m.fused), settings, batch_1=True, packed=packing_pays(graph))
        thresholds = [threshold_name(k) for k in range(1, m.exits)]
        _check_ends(session, m.fused, [*(s.name for s in m.inputs), *thresholds], RESULTS)
        return HostFused(m, _binder([session]))

    def open_backbone(self, bundle: Bundle, settings: Settings) -> Program:  # noqa: D102 - see base
        m = bundle.manifest
        session = open_session(bundle.file(m.backbone), settings, batch_1=True)
        _check_ends(session, m.backbone, [s.name for s in m.inputs], [o.name for o in session.get_outputs()[:1]])
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


def _recut_stages(bundle: Bundle, settings: Settings) -> tuple[Manifest, list[ort.InferenceSession]]:
    """Sessions of the stages of the optimised network, and the manifest with the boundary tensors that they have.

    Raises:
        ModelError: it has too many weights, or cannot be cut where the exits are.
        OSError: there is no room for the weights among the temporary files.
    """
    m = bundle.manifest
    weights = sum(entry.weight_bytes for entry in m.stages)
    if weights > _LARGEST_RECUT:
        msg = f"its weights are {bytes_(weights)}, and {bytes_(_LARGEST_RECUT)} are the most to optimise at every load"
        raise ModelError(msg)
    with TemporaryDirectory(prefix="edgeexit-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        pieces = recut(_optimised(bundle, settings, folder), [(e.logits, e.score) for e in m.stages])
        _align_weights([piece.model for piece in pieces], folder)
        return _open_pieces(m, pieces, settings, folder)


def _optimised(bundle: Bundle, settings: Settings, folder: Path) -> onnx.ModelProto:
    """The whole network as ONNX Runtime optimises it on this machine, its weights in `folder`."""
    import onnxruntime as ort

    model = onnx.load(str(bundle.file(bundle.manifest.model)), load_external_data=False)
    del model.graph.output[:]
    for name in (n for e in bundle.manifest.stages for n in (e.logits, e.score)):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    options = session_options(settings, batch_1=True, packed=False)  # it is opened to be written, not to run
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "optimised.bin")
    options.add_session_config_entry(_WEIGHTS_FOLDER, str(bundle.path))
    with refusals("ONNX Runtime cannot optimise the network in one piece"):
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(options.optimized_model_filepath, load_external_data=False)


def _align_weights(models: Sequence[onnx.ModelProto], folder: Path) -> None:
    """Weights on cache lines, where ONNX Runtime maps and uses them as they lie; it writes them without gaps."""
    outside = [t for m in models for t in all_tensors(m.graph) if t.data_location == TensorProto.EXTERNAL]
    if not outside:
        return
    places: dict[int, int] = {}
    with (folder / "optimised.bin").open("rb") as source, (folder / "weights.bin").open("wb") as stream:
        for tensor in outside:
            offset, length = outside_range(tensor)
            if offset not in places:
                stream.write(b"\0" * (-stream.tell() % _CACHE_LINE))
                places[offset] = stream.tell()
                source.seek(offset)
                stream.write(source.read(length or 0))
            point(tensor, "weights.bin", places[offset], length or 0)


def _open_pieces(
    manifest: Manifest, pieces: Sequence[Piece], settings: Settings, folder: Path
) -> tuple[Manifest, list[ort.InferenceSession]]:
    tensors = dict(random_inputs(manifest.inputs, 0))  # not zeros, which a loop may never leave
    sessions, entries = [], []
    for piece, entry in zip(pieces, manifest.stages, strict=True):
        declare(piece.model, {name: tensors[name] for name in piece.reads})
        content = bytes(piece.model.SerializeToString())
        session = open_session(content, settings, batch_1=True, folder=folder, shared_arena=True, optimised=True)
        made = list(dict.fromkeys((entry.logits, entry.score, *piece.makes)))
        _check_ends(session, entry.file, [*entry.inputs, *piece.reads], made)
        with refusals("ONNX Runtime cannot run the optimised stages"):
            values = session.run(made, {i.name: tensors[i.name] for i in session.get_inputs()})
        tensors |= dict(zip(made, values, strict=True))
        reads, makes = (_specs(names, tensors) for names in (piece.reads, piece.makes))
        entries.append(replace(entry, boundaries_in=reads, boundaries_out=makes))
        sessions.append(session)
    return replace(manifest, stages=tuple(entries)), sessions


def _specs(names: Iterable[str], tensors: Mapping[str, Array]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(n, str(tensors[n].dtype), tensors[n].shape) for n in names)


def _stage_sessions(bundle: Bundle, settings: Settings, *, batch_1: bool) -> _Source:
    sessions = []
    for entry in bundle.manifest.stages:
        model = _stage_model(bundle, entry)
        session = open_session(model, settings, batch_1=batch_1, folder=bundle.path, shared_arena=True)
        made = [entry.logits, entry.score, *(t.name for t in entry.boundaries_out)]
        _check_ends(session, entry.file, [*entry.inputs, *(t.name for t in entry.boundaries_in)], made)
        sessions.append(session)
    return _Source(bundle, tuple(sessions))


def _stage_model(bundle: Bundle, entry: StageEntry) -> Path | bytes:
    """The stage's file, or its content where it is better with a bridge to the blocked layout, which only this runtime wants."""
    path = bundle.file(entry.file)
    model = onnx.load(str(path), load_external_data=False)
    return bytes(model.SerializeToString()) if bridge_model(model, entry.boundaries_in) else path


BACKEND = OnnxRuntimeBackend()
