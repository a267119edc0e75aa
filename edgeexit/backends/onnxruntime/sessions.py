"""Sessions of ONNX Runtime: how they are opened, bound and run, every buffer once.

What its defaults would cost, and what is done about it:
* a session's own spinning thread pool burns a core between inferences; with one per stage, three sessions cost several times the CPU
  time of one. So one thread by default, which needs no pool, and no spinning unless asked for (recorded in the settings).
* `run` with NumPy arrays allocates its outputs on each call; bound buffers are written in place.
* a free batch dimension keeps shape arithmetic in the graph; sessions for single samples fix it at 1.
* each session has an arena of its own, so stage 2 computes in memory that stage 1 did not just warm; one arena for all stages of the
  process took the tax off a vision transformer's three stages (619 -> 541 µs, the network in one piece 531).
* int8 on x86-64 without VNNI: see `int32_accumulation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from edgeexit.backends.base import Array, Settings, read_options
from edgeexit.backends.host import Bind, HostBackbone
from edgeexit.backends.onnxruntime.errors import format_runtime_error, list_runtime_exceptions, translate_runtime_errors
from edgeexit.backends.onnxruntime.int8_accumulation import INT32_ACCUMULATION, open_with_int32_accumulation
from edgeexit.backends.onnxruntime.optimizers import list_unsafe_optimizers
from edgeexit.backends.onnxruntime.providers import DENORMAL_AS_ZERO, ON_CPU, ExecutionProvider
from edgeexit.backends.stopping import run_options
from edgeexit.errors import ModelError
from edgeexit.graph.model import BATCH, TensorSpec

if TYPE_CHECKING:
    import onnxruntime as ort

WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
"""The option that says where outside weights lie, for a model given as bytes."""
_ERRORS_ONLY, _FATAL_ONLY = 3, 4  # ONNX Runtime's log severity; its warnings speak of its own optimiser


@cache
def _share_arena() -> None:
    """Give the process an arena that sessions may ask for."""
    import onnxruntime as ort

    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    with suppress(RuntimeError):  # somebody else in the process has registered one: then it is theirs that is shared
        ort.create_and_register_allocator(memory, None)


def make_session_options(
    settings: Settings,
    *,
    batch_1: bool,
    shared_arena: bool = False,
    packed: bool = True,
    quiet: bool = False,
    int32_accumulation: bool = False,
    profile: Path | None = None,
) -> ort.SessionOptions:
    """Options of every session that edgeexit opens; those that run in turn share an arena, for the rest see `open_session`."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    if shared_arena:
        _share_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = (
        _FATAL_ONLY if quiet or int32_accumulation else _ERRORS_ONLY
    )  # int32 accumulation may fail
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(settings.spin)))
    options.add_session_config_entry("session.disable_prepacking", str(int(not packed)))
    options.add_session_config_entry(INT32_ACCUMULATION, str(int(int32_accumulation)))
    if read_options(settings.options).get(DENORMAL_AS_ZERO) == "1":
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    if batch_1:
        options.add_free_dimension_override_by_name(BATCH, 1)
    return options


def open_with_options(
    model: Path | bytes, options: ort.SessionOptions, provider: ExecutionProvider = ON_CPU
) -> ort.InferenceSession:
    """A session with these options, without optimisers that would end the process.

    Raises:
        HardwareMissing: the provider's libraries or its device are missing.
    """
    import onnxruntime as ort

    content = str(model) if isinstance(model, Path) else model
    session = ort.InferenceSession(
        content,
        options,
        providers=provider.list_arguments(),
        disabled_optimizers=list_unsafe_optimizers(model),
        enable_fallback=provider.is_cpu,  # else it would be opened without the provider, and say so on stdout
    )
    provider.check_loaded(session)
    return session


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
    profile: Path | None = None,
) -> ort.InferenceSession:
    """A session on the execution provider that the settings name, which is the CPU's where they name none.

    Args:
        model: the file, or its bytes.
        settings: threads and spinning.
        batch_1: fix the batch at 1.
        folder: where outside weights lie, for a model given as bytes.
        shared_arena: compute in the memory of the process's other sessions that share it.
        optimised: the model is, and is left as it stands.
        packed: copy the weights of matrix products into the order in which their kernels read them.
        quiet: print nothing on stderr, for a model that ONNX Runtime may reject.
        profile: write a profile of its first runs to a file whose name begins so; see `read_placement`.

    Raises:
        HardwareMissing: the provider's libraries or its device are missing.
        ModelError: ONNX Runtime cannot take the model; with its reason.
    """
    import onnxruntime as ort

    provider = ExecutionProvider.from_options(settings.options)

    def open_with(int32_accumulation: bool) -> ort.InferenceSession:
        options = make_session_options(
            settings,
            batch_1=batch_1,
            shared_arena=shared_arena,
            packed=packed,
            quiet=quiet,
            int32_accumulation=int32_accumulation,
            profile=profile,
        )
        if optimised:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if folder is not None:
            options.add_session_config_entry(WEIGHTS_FOLDER, str(folder))
        return open_with_options(model, options, provider)

    name = model if isinstance(model, Path) else "the model"
    with translate_runtime_errors(f"ONNX Runtime {ort.__version__} cannot take {name}"):
        return open_with_int32_accumulation(open_with)


def make_binder(sessions: Sequence[ort.InferenceSession] | Mapping[int, ort.InferenceSession]) -> Bind:
    """Sessions, by their place, bound to NumPy buffers without copies; they are shared between clones, the buffers are not."""
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
        return make_bound_run(session, binding, (inputs, outputs, buffers))

    return bind


def check_ends(session: ort.InferenceSession, file: str, inputs: Iterable[str], outputs: Iterable[str]) -> None:
    """A session takes nothing that the manifest does not name, and gives all that it names.

    Raises:
        ModelError: the model and the manifest are not of one bundle.
    """
    strange = sorted({i.name for i in session.get_inputs()} - set(inputs))
    missing = sorted(set(outputs) ^ {o.name for o in session.get_outputs()})
    if strange or missing:
        msg = f"{file} does not match its manifest (unknown inputs {strange}, outputs {missing}): compile the bundle again."
        raise ModelError(msg)


def make_bound_run(session: ort.InferenceSession, binding: ort.IOBinding, alive: object) -> Callable[[], None]:
    """A function that runs a session with all inputs and outputs bound.

    The session itself is called, with run options that are made once: the method around it spends another 1.4 µs per run on options of
    other devices and on making new ones, 5 % of a small network's stage. There is no public way to it: where a release names its parts
    otherwise, the method is called.

    Args:
        session: the session.
        binding: ONNX Runtime's binding of every input and output.
        alive: what the binding points at and holds no reference to.
    """
    call: Callable[..., None] | None = getattr(getattr(session, "_sess", None), "run_with_iobinding", None)
    handle = getattr(binding, "_iobinding", None)
    if call is None or handle is None:
        call, handle = session.run_with_iobinding, binding
    options = run_options()

    def run(_alive: object = (session, binding, alive)) -> None:
        try:
            call(handle, options)
        except list_runtime_exceptions() as error:  # looked up only when there is one
            raise ModelError(f"ONNX Runtime cannot run the model: {format_runtime_error(error)}") from error

    return run


def make_backbone_program(
    session: ort.InferenceSession, inputs: Sequence[TensorSpec], classes: int, bind: Bind | None = None
) -> HostBackbone:
    """A session with logits and, as second output, perhaps a score, as a Program: the backbone, or a model to compare with.

    `bind` binds it where that is done otherwise than by `make_binder`.
    """
    names = [o.name for o in session.get_outputs()]
    dtype = "float16" if session.get_outputs()[0].type == "tensor(float16)" else "float32"
    logits = TensorSpec(names[0], dtype, (1, classes))
    return HostBackbone(bind or make_binder([session]), inputs, logits, names[1] if len(names) > 1 else None)
