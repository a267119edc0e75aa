"""Facts of a bundle, which `edgeexit inspect` prints, gives as JSON and draws."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from edgeexit.bundle import BackendComparison, Bundle, CalibrationDocument, ModeTiming, VerificationSummary
from edgeexit.criteria import Criterion
from edgeexit.data.preprocess import Preprocess
from edgeexit.data.reference import DataReference
from edgeexit.fallbacks import FALLBACKS, LAST
from edgeexit.graph import TensorSpec
from edgeexit.report.doubts import compute_break_even_share, cut_bytes, find_unprofitable_exits
from edgeexit.util import units
from edgeexit.util.units import format_count, percent

SCHEMA = "edgeexit.inspect/1"


@dataclass(frozen=True)
class TensorFacts:
    """One tensor: name, NumPy dtype, shape (the first dimension may be `"batch"`), size at batch 1."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    bytes: int

    @classmethod
    def from_spec(cls, spec: TensorSpec) -> TensorFacts:
        """From a spec."""
        return cls(spec.name, spec.dtype, spec.shape, spec.bytes_at_1)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class StageFacts:
    """One stage, at batch 1.

    Attributes:
        exit: number of its exit, from 1.
        name: name of the exit.
        file: its ONNX file.
        inputs: inputs of the network that it reads.
        reads: tensors of earlier stages that it reads.
        makes: tensors that later stages read.
        cut_bytes: size of every tensor that is alive between this stage and the next; null for the last.
        macs: multiply-accumulates of this stage; null where a shape is unknown.
        macs_so_far: multiply-accumulates of this and every earlier stage: what leaving here costs on paper.
        parameters: weights that it reads.
        weight_bytes: their size.
        head_macs: multiply-accumulates that only this exit needs; null where unknown.
        break_even: share of the samples that reach this exit which must leave for it to pay, on paper; null for the last.
        output: name of the model's output that became this exit; null in bundles written by older versions.
    """

    exit: int
    name: str
    file: str
    inputs: tuple[str, ...]
    reads: tuple[TensorFacts, ...]
    makes: tuple[TensorFacts, ...]
    cut_bytes: int | None
    macs: int | None
    macs_so_far: int | None
    parameters: int
    weight_bytes: int
    head_macs: int | None
    break_even: float | None
    output: str | None = None


@dataclass(frozen=True)
class CalibrationFacts:
    """One active calibration: its key, target, thresholds in own units, when it was made, name and verdict; null where its document does
    not say.
    """

    key: str
    target: str | None
    thresholds: tuple[float, ...] | None
    created: str | None
    name: str | None = None
    verdict: str | None = None


@dataclass(frozen=True)
class BundleFacts:
    """A bundle.

    Attributes:
        schema: `edgeexit.inspect/1`.
        path: its folder.
        source: file name of the model it was made of.
        source_sha256: SHA-256 of that file.
        opset: operator set of the model.
        created: date and time, UTC.
        tool: name and version of the program that wrote the bundle.
        criterion: name of the exit criterion.
        unit: unit of thresholds.
        precision: precision of weights and arithmetic.
        classes: number of classes.
        dynamic_batch: whether stages take any batch.
        bytes: total size of all its files.
        inputs: inputs of the network.
        stages: stages in order.
        verified: inputs run and largest errors, as the compile found them.
        timings: per device and settings, both modes.
        backends: per device, what `edgeexit compile --backend auto` measured and chose.
        calibrations: the active ones, one per device and settings.
        doubts: exits and cuts that cannot pay, and active calibrations whose target was not met, one sentence each.
        kept: number of calibrations in the history.
        preprocess: how a picture becomes an input; null where it is not known.
        class_names: class names in the order of the outputs; empty where they are not known.
        reference: data that the network is known to do well on; null where none was given.
        fallback: which exit answers an input that left at no early exit: `last` or `most_confident`.
        thresholds: thresholds that the model came with, in the criterion's own unit, used where there is no calibration; empty for none.
        temperatures: what each exit's logits are divided by before the criterion takes them; empty where they are not scaled.
    """

    schema: str
    path: str
    source: str
    source_sha256: str
    opset: int
    created: str
    tool: str
    criterion: str
    unit: str
    precision: str
    classes: int
    dynamic_batch: bool
    bytes: int
    inputs: tuple[TensorFacts, ...]
    stages: tuple[StageFacts, ...]
    verified: VerificationSummary
    timings: dict[str, ModeTiming]
    calibrations: tuple[CalibrationFacts, ...]
    doubts: tuple[str, ...]
    kept: int = 0
    preprocess: Preprocess | None = None
    class_names: tuple[str, ...] = ()
    reference: DataReference | None = None
    fallback: str = LAST
    thresholds: tuple[float, ...] = ()
    temperatures: tuple[float, ...] = ()
    backends: dict[str, BackendComparison] = field(default_factory=dict)

    @property
    def answers_what_is_left(self) -> str:
        """Which exit answers an input that left at no early exit, as text."""
        return FALLBACKS[self.fallback].answered_by

    @property
    def default_thresholds(self) -> str:
        """The thresholds that the model came with, as text."""
        return f"the thresholds that the model came with ({', '.join(map(units.significant, self.thresholds))} {self.unit})"

    def data_lines(self) -> tuple[str, ...]:
        """Facts about the network's data, one sentence each."""
        return format_data_lines(self.preprocess, self.class_names, self.reference)


_MOST_NAMES = 10


def format_data_lines(
    preprocess: Preprocess | None, names: tuple[str, ...], reference: DataReference | None
) -> tuple[str, ...]:
    """Preprocessing, class names and reference as text; what is not known is left out."""
    lines = [f"preprocessing of pictures: {preprocess}"] if preprocess is not None else []
    if names:
        more = f", ... ({len(names)})" if len(names) > _MOST_NAMES else ""
        lines.append(f"classes: {', '.join(names[:_MOST_NAMES])}{more}")
    if reference is not None:
        right = "" if reference.accuracy is None else f", last exit right on {percent(reference.accuracy)}"
        ranges = "; ".join(
            f"{s.name} from {units.significant(s.minimum)} to {units.significant(s.maximum)}" for s in reference.inputs
        )
        lines.append(
            f"reference data ({reference.source}): {reference.data}, {format_count(reference.samples, 'sample')}{right}; {ranges}"
        )
    return tuple(lines)


def collect_bundle_facts(bundle: Bundle) -> BundleFacts:
    """Gather the facts of an opened bundle.

    Raises:
        BundleError: a calibration in it is not a JSON object.
    """
    m = bundle.manifest
    rule = m.rule
    return BundleFacts(
        schema=SCHEMA,
        path=str(bundle.path),
        source=m.source.name,
        source_sha256=m.source.sha256,
        opset=m.source.opset,
        created=m.created,
        tool=m.tool,
        criterion=m.criterion,
        unit=rule.unit,
        precision=m.precision,
        classes=m.classes,
        dynamic_batch=m.dynamic_batch,
        bytes=sum(entry.bytes for entry in m.files.values()),
        inputs=tuple(map(TensorFacts.from_spec, m.inputs)),
        stages=_collect_stages(bundle),
        verified=m.verified,
        timings=m.timings,
        backends=m.backends,
        calibrations=tuple(_collect_calibration(bundle, key, rule) for key in sorted(m.calibrations)),
        kept=len(bundle.history),
        doubts=(*find_unprofitable_exits(m), *_list_unmet(bundle)),
        preprocess=m.preprocess,
        class_names=m.class_names,
        reference=m.reference,
        fallback=m.fallback,
        thresholds=m.thresholds,
        temperatures=m.temperatures,
    )


def _collect_stages(bundle: Bundle) -> tuple[StageFacts, ...]:
    entries = bundle.manifest.stages
    so_far = accumulate((e.macs for e in entries), lambda a, b: None if a is None or b is None else a + b)
    return tuple(
        StageFacts(
            exit=e.exit,
            name=e.name,
            file=e.file,
            inputs=e.inputs,
            reads=tuple(map(TensorFacts.from_spec, e.boundaries_in)),
            makes=tuple(map(TensorFacts.from_spec, e.boundaries_out)),
            cut_bytes=cut_bytes(bundle.manifest, e.exit) if e.exit < len(entries) else None,
            macs=e.macs,
            macs_so_far=total,
            parameters=e.parameters,
            weight_bytes=e.weight_bytes,
            head_macs=e.head_macs,
            break_even=compute_break_even_share(bundle.manifest, e.exit) if e.exit < len(entries) else None,
            output=e.output,
        )
        for e, total in zip(entries, so_far, strict=True)
    )


def _collect_calibration(bundle: Bundle, key: str, rule: Criterion) -> CalibrationFacts:
    document = bundle.read_calibration(key) or CalibrationDocument()
    inner = document.inner_thresholds
    record = bundle.active(key)
    return CalibrationFacts(
        key,
        document.target,
        None if inner is None else tuple(map(rule.own, inner)),
        document.created,
        None if record is None else record.name,
        None if record is None else record.verdict,
    )


def _list_unmet(bundle: Bundle) -> Iterator[str]:
    """Active calibrations whose target was not met when they were measured."""
    for key in sorted(bundle.manifest.calibrations):
        record = bundle.active(key)
        if record is not None and record.verdict in ("not met", "undecided"):
            yield f"calibration {record.name} is active for {key} although its target {record.target} was {record.verdict}"
