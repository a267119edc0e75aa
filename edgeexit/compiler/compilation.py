"""From a model to a bundle: find the exits, append the criterion, split, fuse, verify against the original, time both modes, commit."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.backends import Settings
from edgeexit.backends.base import Array
from edgeexit.backends.build_progress import report_builds_to
from edgeexit.backends.example_inputs import Values, make_inputs
from edgeexit.backends.stopping import allow_run_limit, limit_graph_runs
from edgeexit.bundle import (
    Bundle,
    Manifest,
    ModeTiming,
    PreferredSettings,
    SourceModel,
    check_replaceable,
    replace_bundle,
)
from edgeexit.bundle.history import carry_over_calibrations
from edgeexit.bundle.store import compute_sha256
from edgeexit.choices import DEFAULT_BACKEND
from edgeexit.compiler.backend_choice import BackendChooser, ChosenBackend
from edgeexit.compiler.backend_timing import BackendTimer
from edgeexit.compiler.bundle_parts import SplitNetwork, write_parts
from edgeexit.compiler.engine_choice import RequestedEngines
from edgeexit.compiler.exit_rule import RequestedRule
from edgeexit.compiler.mode_timing import SECONDS, time_forms
from edgeexit.compiler.output_kinds import OutputWarning, check_outputs, mark_output_kinds
from edgeexit.compiler.precision import convert_stages
from edgeexit.compiler.probe import (
    add_output_shapes,
    add_run_shapes,
    replace_constant_branches,
    settle_batch,
)
from edgeexit.compiler.subnormals import warn_about_subnormals
from edgeexit.compiler.temperatures import read_temperatures, resolve_temperatures
from edgeexit.compiler.training_mode import refuse_training_mode
from edgeexit.compiler.verification import verify
from edgeexit.compiler.verification_references import Original
from edgeexit.data import Dataset, ModelInfo, make_dataset, read_class_names, read_preprocess
from edgeexit.data.classes import check_class_count
from edgeexit.data.model import infer_preprocess
from edgeexit.data.reference import DataRecord, DataReference
from edgeexit.errors import InputError
from edgeexit.graph import (
    Network,
    add_scores,
    count_costs,
    find_exits,
    read_model,
    split,
)
from edgeexit.graph.expected_data import make_input_specs, read_model_data_record, read_model_info
from edgeexit.hardware import find_device_key
from edgeexit.runtime.inputs import Inputs, check_many
from edgeexit.runtime.reference import measure_reference
from edgeexit.stage_choices import PerStage, is_mixed
from edgeexit.util.arguments import as_names, as_path, as_seconds, check_progress
from edgeexit.util.progress import Progress, show_in_notebooks
from edgeexit.util.timestamps import make_timestamp

_TIMED_INPUTS = 8
_ALIKE = (
    "the multiply-accumulates of this network cannot be counted: {} weighs all exits alike, not by the cost of reaching them. Compile the"
    " model as it was before a runtime optimised it, where there is one."
)


def compile_model(
    model: Path | str,
    output: Path | str,
    *,
    criterion: str | None = None,
    fallback: str | None = None,
    exits: Sequence[str] | None = None,
    scores: Sequence[str] | None = None,
    temperatures: object = None,
    backend: PerStage = DEFAULT_BACKEND,
    precision: PerStage | None = None,
    threads: int = 1,
    options: str = "",
    inputs: Any = None,
    labels: Any = None,
    preprocess: object = None,
    class_names: object = None,
    data_name: str = "inputs",
    seconds: float = SECONDS,
    progress: Progress = show_in_notebooks,
) -> Bundle:
    """Compile a multi-exit ONNX model into a bundle.

    Args:
        model: the ONNX file; its outputs include every exit's logits.
        output: folder of the bundle, conventionally `<name>.eexit`; a bundle that is there is replaced at the end, in one step.
        criterion: name of the exit criterion; None takes the one that the model's metadata name, else `entropy`.
        fallback: which exit answers an input that no early exit was confident about: `last`, or `most_confident`, the exit with the highest
            score, as in Shallow-Deep Networks; None takes the one that the model's metadata name, else `last`.
        exits: names of the logits outputs in order; None finds them.
        scores: names of the exits' own score outputs, for criterion `learned`; None takes those that `edgeexit.export` wrote down.
        temperatures: what the logits of each exit, the last included, are divided by before the criterion takes them; `"fit"` fits them on
            `inputs` and `labels`, which should not be samples that later judge. Answers stay those of the network.
        backend: backend that the bundle is verified and timed with, or one for each stage (`onnxruntime,2=openvino`, or `{2: "openvino"}`),
            which `load` then takes on this device. `auto` times every stage in every backend that is installed, and keeps the fastest mix
            where it is faster than the fastest single backend beyond noise.
        precision: `float32`, `float16` or `int8` (with ranges from `inputs`), or one for each stage (`float32,2=int8`, or `{2: "int8"}`;
            `heads` are the layers of early heads); None keeps the model's own.
        threads: worker threads for the timing.
        options: options of the backend, see `load`.
        inputs: real inputs [n, ...] to verify with, beside random ones; their statistics are recorded in the bundle.
        labels: labels of the inputs; the accuracy of the last exit on them is then recorded, and calibration data are held against it.
        preprocess: how a picture becomes an input, see `edgeexit.data.read_preprocess`; None takes what the model's metadata says.
        class_names: class names in the order of the outputs, see `edgeexit.data.read_class_names`; None takes what the metadata says.
        data_name: name of the inputs, recorded in the bundle.
        seconds: time to spend on timing both modes; 0 skips it. Backend `auto` takes four times as long.
        progress: called with what is being done; by default a line that counts in a notebook, and nothing elsewhere.

    Raises:
        ModelError: the model cannot be taken, or is of no use in the precision asked for, with the reason.
        BundleError: the bundle cannot be written.
        InputError: an argument of another kind, or no such criterion, fallback, backend or precision.
        InternalError: the split network does not give the answers and scores of the file as it was given; nothing is written then.

    Example:
        >>> import edgeexit
        >>> bundle = edgeexit.compile("lenet-digits.onnx", "new.eexit", criterion="entropy", seconds=0)
        >>> bundle.manifest.exits, bundle.manifest.criterion
        (2, 'entropy')
    """
    source, folder = as_path("model", model), as_path("output", output)
    exits, scores = as_names("exits", exits), as_names("scores", scores)
    seconds = as_seconds("seconds", seconds)
    check_progress(progress)
    rule = RequestedRule.from_names(criterion, fallback)
    heat = read_temperatures(temperatures)
    engines = RequestedEngines.read(backend, precision, options, seconds)
    settings = Settings(threads=threads, options=options)
    check_replaceable(folder)
    data = _prepare_data(source, inputs, labels, data_name)
    inputs = None if data is None else data.inputs
    given = DataRecord(
        None if preprocess is None else read_preprocess(preprocess),
        () if class_names is None else read_class_names(class_names),
    )
    with allow_run_limit():
        labels = None if data is None else data.labels
        parts = _take_apart(
            source, rule, exits, scores, progress, engines=engines, inputs=inputs, temperatures=heat, labels=labels
        )
    how = {
        "exits": _join_names(exits),
        "scores": _join_names(scores),
        **engines.describe(len(parts.exits), parts.own_precision),
    }
    with replace_bundle(folder) as change, report_builds_to(progress), allow_run_limit():
        limit_graph_runs(parts.net.proto.graph)
        progress("writing the stages", 0, 1)
        manifest = write_parts(change, parts, SourceModel(source.name, compute_sha256(source), parts.net.opset, how))
        manifest = _add_data_record(
            manifest, given.merge(read_model_data_record(parts.net.proto, str(source))), change.old
        )
        progress("writing the stages", 1, 1)
        draft = Bundle(folder, manifest)
        converted = parts.precision != parts.own_precision
        original = Original(
            source, parts.net, parts.exits, converted, partial(_read_rewritten, source, parts.examples), parts.examples
        )
        settings = replace(settings, backend=parts.backend, precision=manifest.precision)
        check = partial(verify, draft, original=original, given=inputs, progress=progress)
        if engines.automatic:
            timer = BackendTimer(draft, settings, _make_timed_inputs(parts), progress)
            chosen = BackendChooser(timer, check, seconds).choose()
            settings, verified, manifest = chosen.settings, chosen.verified, _record_choice(manifest, chosen)
        else:
            verified = check(settings)
        timings = _measure_timings(draft, settings, parts, seconds, progress)
        manifest = replace(
            manifest,
            verified=verified,
            reference=_reference(draft, settings, data, progress),
            timings=timings,
            preferred=_prefer(settings, timings, automatic=engines.automatic),
        )
        return change.install(carry_over_calibrations(manifest, change.old))


def _record_choice(manifest: Manifest, chosen: ChosenBackend) -> Manifest:
    return replace(manifest, backends={find_device_key(backend=chosen.settings.backend): chosen.comparison})


def _prefer(settings: Settings, timings: Mapping[str, ModeTiming], *, automatic: bool) -> dict[str, PreferredSettings]:
    """Settings for this device where backends were mixed or chosen here, so that nobody has to name them to load the bundle."""
    if not is_mixed(settings.backend) and (not automatic or settings.backend == DEFAULT_BACKEND):
        return {}
    mode = next((timing.faster for timing in timings.values()), "staged")
    return {find_device_key(backend=settings.backend): PreferredSettings(settings.backend, mode, settings.threads)}


def _reference(draft: Bundle, settings: Settings, data: Dataset | None, progress: Progress) -> DataReference | None:
    """Reference of the given data, else that of the model or of the earlier bundle."""
    measured = None if data is None else measure_reference(draft, settings, data, progress)
    return measured or draft.manifest.reference


def _prepare_data(source: Path, inputs: Any, labels: Any, name: str) -> Dataset | None:
    """The user's inputs for the verification, converted to the model's inputs."""
    if inputs is None:
        if labels is not None:
            msg = "labels were given without inputs: give both."
            raise InputError(msg)
        return None
    return make_dataset(name, inputs, labels, read_model_info(read_model(source), str(source)))


def _add_data_record(manifest: Manifest, record: DataRecord, old: Manifest | None) -> Manifest:
    """The manifest with what is known of the network's data; of a bundle of the same file before, where nothing newer says it.

    Raises:
        InputError: the preprocessing or the class names do not fit the network.
    """
    if old is not None and old.source.sha256 == manifest.source.sha256:
        record = record.merge(DataRecord(old.preprocess, old.class_names, old.reference))
    check_class_count(record.class_names, manifest.classes, "the model")
    names, specs = record.class_names, make_input_specs(manifest.inputs)
    how = infer_preprocess(ModelInfo("the model", specs, manifest.classes, names, record.preprocess))
    return replace(manifest, preprocess=how, class_names=names, reference=record.reference)


def _join_names(names: Sequence[str] | None) -> str | None:
    return ",".join(names) if names else None


def _take_apart(
    path: Path,
    requested: RequestedRule,
    exits: Sequence[str] | None,
    scores: Sequence[str] | None,
    progress: Progress,
    *,
    engines: RequestedEngines,
    inputs: Inputs | None,
    temperatures: tuple[float, ...] | str,
    labels: NDArray[np.int64] | None,
) -> SplitNetwork:
    steps = 5
    progress("splitting the network", 0, steps)
    net = _read(path)
    examples = None if inputs is None else check_many(inputs, net.inputs)
    net = _rewrite(net, examples)
    progress("splitting the network", 1, steps)
    found = find_exits(net, exits, scores)
    rule = requested.resolve(net, found)
    refuse_training_mode(net, found)
    found = mark_output_kinds(net, found, rule.criterion, examples)
    warn_about_subnormals(net, examples)
    own = found[-1].dtype
    precision, backend = engines.resolve_precision(len(found), own), engines.resolve_backend(len(found))
    carried: Mapping[str, int] = {}
    if precision is not None:
        outputs = engines.quantized_outputs
        net, found, carried = convert_stages(net, found, precision, examples, quantized_outputs=outputs)
    heat = resolve_temperatures(temperatures, rule.criterion, net, found, examples=examples, labels=labels)
    rule = replace(rule, temperatures=heat)
    net, scored = add_scores(net, found, rule.criterion, rule.fallback, heat)
    progress("splitting the network", 2, steps)
    stages = split(net, scored, carried)
    progress("splitting the network", 3, steps)
    net, specs = settle_batch(net, {name for s in stages for name in s.outputs}, examples)
    if rule.criterion.weighs_costs and any(cost.macs is None for cost in count_costs(net, stages)):
        warnings.warn(_ALIKE.format(rule.criterion.name), OutputWarning, stacklevel=3)
    check_outputs(net, scored, specs)
    progress("splitting the network", steps, steps)
    return SplitNetwork(net, found, rule, precision or own, backend, stages, specs, own, examples)


def _read(path: Path) -> Network:
    net = read_model(path)
    limit_graph_runs(net.proto.graph)
    return net


def _rewrite(net: Network, examples: Values | None) -> Network:
    """The network with the shapes that a run shows, without branches that are never taken."""
    return add_run_shapes(replace_constant_branches(add_output_shapes(net, examples), examples), examples)


def _read_rewritten(path: Path, examples: Values | None) -> Network:
    return _rewrite(_read(path), examples)


def _measure_timings(
    draft: Bundle, settings: Settings, parts: SplitNetwork, seconds: float, progress: Progress
) -> dict[str, ModeTiming]:
    """Timings on this device; none if no time is to be spent on it."""
    if not seconds > 0:
        return {}
    times = time_forms(draft, settings, seconds, progress, inputs=_make_timed_inputs(parts))
    timing = ModeTiming(times.staged_s, times.fused_s, times.faster, make_timestamp(), times.backbone_s)
    return {settings.make_timing_key(find_device_key(backend=settings.runtime)): timing}


def _make_timed_inputs(parts: SplitNetwork) -> Mapping[str, Array]:
    return make_inputs(parts.net.inputs, parts.examples, 0, _TIMED_INPUTS)
