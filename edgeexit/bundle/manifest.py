"""The manifest of a bundle: `manifest.json` as frozen values, schema `edgeexit.bundle/2`.

Schema 2 added the digest of the manifest itself (`seal`) and the history of calibrations. Bundles of schema 1 are read as before, and
become schema 2 when they are next written.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass, field
from typing import Any

from edgeexit.bundle.backend_comparison import BackendComparison
from edgeexit.bundle.traits import CriterionTraits
from edgeexit.criteria import Criterion, criterion
from edgeexit.criteria.temperature import check_temperatures
from edgeexit.data.preprocess import Preprocess
from edgeexit.data.reference import DataReference
from edgeexit.errors import BundleError
from edgeexit.fallbacks import FALLBACKS, LAST
from edgeexit.graph.model import TensorSpec
from edgeexit.util import units
from edgeexit.util.documents import check_schema, dumps, parse_document

VERSION = 2
SCHEMA = f"edgeexit.bundle/{VERSION}"
CALIBRATION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Pattern of calibration names, which become part of file names."""
_MOST_CLASSES = 1 << 24


@dataclass(frozen=True)
class FileEntry:
    """One file: its SHA-256 in hex and its size in bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class SourceModel:
    """The model that was compiled: file name, SHA-256, operator set, and the options of the compile."""

    name: str
    sha256: str
    opset: int
    options: dict[str, str | None]


@dataclass(frozen=True)
class StageEntry:
    """One stage.

    Attributes:
        exit: number of its exit, from 1.
        name: name of the exit.
        file: its ONNX file.
        inputs: names of the model's inputs it reads.
        boundaries_in: tensors it reads that earlier stages made.
        boundaries_out: tensors it makes that later stages read.
        logits: name of its float32 logits output.
        score: name of its float32 inner-score output.
        macs: multiply-accumulates at batch 1; null where a shape is unknown.
        parameters: number of weights it reads.
        weight_bytes: their size.
        head_macs: multiply-accumulates that only this exit needs and no later one; null where unknown.
        output: name of the model's output that became this exit; null in bundles written by older versions.
        precision: its precision where the stages have several; null where they have that of the manifest.
    """

    exit: int
    name: str
    file: str
    inputs: tuple[str, ...]
    boundaries_in: tuple[TensorSpec, ...]
    boundaries_out: tuple[TensorSpec, ...]
    logits: str
    score: str
    macs: int | None
    parameters: int
    weight_bytes: int
    head_macs: int | None = None
    output: str | None = None
    precision: str | None = None


@dataclass(frozen=True)
class VerificationSummary:
    """Results of the verification at compile time. Fields that older versions did not write are null.

    Attributes:
        random_inputs: number of them that were run.
        given_inputs: number of them.
        staged_error: largest difference of a logit over the largest logit, of the staged mode; from the network in its new precision
            where that was changed.
        fused_error: the same difference in fused mode.
        reference: `original`: the file as it was given; `rewritten`: as edgeexit reads it, where ONNX Runtime does not run the file.
        score_error: largest difference of a score, over its largest or over max(1, largest logit); null where scores were not compared.
        precision_error: where the precision was changed, largest difference of a logit from the original's, over the largest.
        fused_left_out: why the backend that the bundle was compiled with does not run the fused mode, which was then checked with ONNX
            Runtime and not timed; null where it does.
        same_labels: where the precision was changed, share of the answers whose best class is the original's.
    """

    random_inputs: int
    given_inputs: int
    staged_error: float
    fused_error: float
    reference: str | None = None
    score_error: float | None = None
    precision_error: float | None = None
    same_labels: float | None = None
    fused_left_out: str | None = None

    def remarks(self, precision: str) -> tuple[str, ...]:
        """Sentences on what was compared if it was not simply the original."""
        remarks = []
        if self.precision_error is not None and self.same_labels is not None:
            remarks.append(
                f"{precision} differs from the original by up to {self.precision_error:.1e} of the largest logit,"
                f" with the same best class in {units.percent(self.same_labels, 1)} of the answers"
            )
        if self.fused_left_out:
            remarks.append(f"the fused mode is left out: {self.fused_left_out}")
        if self.reference == "rewritten":
            remarks.append(
                "compared with the model as edgeexit rewrites it: ONNX Runtime does not run the file as it stands"
            )
        return tuple(remarks)

    def warnings(self, precision: str) -> tuple[str, ...]:
        """Reasons not to use the bundle."""
        if self.precision_error is None or self.same_labels is None:
            return ()
        if self.precision_error <= _FAR and self.same_labels >= _MOST_LABELS:
            return ()
        return (
            f"{precision} gives other answers than the original: measure its accuracy on your own data before using it",
        )


_FAR = 0.25  # of the largest logit
_MOST_LABELS = 0.9


@dataclass(frozen=True)
class ModeTiming:
    """Median time of leaving at each exit, in seconds, both modes and the backbone, interleaved on one device; which mode is faster.

    `fused_s` is empty where the backend does not run that mode.
    """

    staged_s: tuple[float, ...]
    fused_s: tuple[float, ...]
    faster: str
    created: str
    backbone_s: float | None = None


@dataclass(frozen=True)
class PreferredSettings:
    """The settings that `edgeexit tune` or `edgeexit compile` found best on one device: backend, mode and worker threads.

    `backend` is `onnxruntime+openvino` where the stages run in several, in their order.
    """

    backend: str
    mode: str
    threads: int


@dataclass(frozen=True)
class CalibrationEntry:
    """The active calibration of a key: its file, the files that go with it by purpose (`replay`), and its name in the history.

    The name is empty in bundles of schema 1, which had no history. While it is pinned, no new calibration becomes active by itself.
    """

    file: str
    attachments: dict[str, str] = field(default_factory=dict)
    name: str = ""
    pinned: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """Every file of it."""
        return (self.file, *self.attachments.values())


@dataclass(frozen=True)
class CalibrationRecord:
    """One calibration of the history.

    Attributes:
        name: unique in the bundle.
        key: `<device>/<backend>-<mode>-<precision>-t<threads>` that it was measured for.
        created: UTC, ISO 8601; empty where the document does not say.
        target: target as given; empty where the document does not say.
        verdict: `met`, `not met` or `undecided`.
        file, attachments: file and attachments as in a `CalibrationEntry`.
    """

    name: str
    key: str
    created: str
    target: str
    verdict: str
    file: str
    attachments: dict[str, str] = field(default_factory=dict)

    @property
    def entry(self) -> CalibrationEntry:
        """The record as the active calibration of a key."""
        return CalibrationEntry(self.file, self.attachments, self.name)


@dataclass(frozen=True)
class Manifest:
    """The manifest of a bundle.

    Attributes:
        schema: `edgeexit.bundle/2`, or 1 of a bundle that an earlier version wrote.
        created: time of the compile, UTC, ISO 8601.
        tool: name and version of the writer.
        source: the model that was compiled.
        criterion: name of the exit criterion.
        precision: precision of weights and arithmetic; `float32+int8` where the stages have several, in their order.
        classes: number of classes.
        dynamic_batch: whether stages take any batch.
        inputs: the model's inputs.
        stages: one per exit, in order.
        model: file of the whole network with its criterion.
        backbone: file of the network run directly to its last exit.
        fused: file of the single conditional graph.
        files: every file by name.
        verified: what was checked.
        timings: per device key and settings, both modes.
        calibrations: the active ones, by key `<device>/<backend>-<mode>-<precision>-t<threads>`.
        history: every calibration that is kept, oldest first.
        activated: per key, the names of the calibrations that were made active one after the other; the last one is active.
        preprocess: how a picture becomes an input; null where it is not known.
        class_names: class names in the order of the outputs; empty where they are not known.
        reference: data that the network is known to do well on; null where none was given.
        fallback: which exit answers an input that left at no early exit: `last` or `most_confident`.
        thresholds: thresholds of exits 1 to N-1 that belong to the method, in the criterion's own unit, used where there is no calibration;
            empty where the model names none.
        criterion_traits: what is to be known of a criterion that another package brings; null of those of edgeexit.
        backends: per device key, what `edgeexit compile --backend auto` measured there.
        preferred: per device key, the settings that `edgeexit tune` chose there; `edgeexit.load` takes them where the caller names none.
        temperatures: what each exit's logits are divided by before the criterion takes them, exits 1 to N; empty where they are not scaled.
    """

    schema: str
    created: str
    tool: str
    source: SourceModel
    criterion: str
    precision: str
    classes: int
    dynamic_batch: bool
    inputs: tuple[TensorSpec, ...]
    stages: tuple[StageEntry, ...]
    model: str
    backbone: str
    fused: str
    files: dict[str, FileEntry]
    verified: VerificationSummary
    timings: dict[str, ModeTiming] = field(default_factory=dict)
    calibrations: dict[str, CalibrationEntry] = field(default_factory=dict)
    history: tuple[CalibrationRecord, ...] = ()
    activated: dict[str, tuple[str, ...]] = field(default_factory=dict)
    preprocess: Preprocess | None = None
    class_names: tuple[str, ...] = ()
    reference: DataReference | None = None
    fallback: str = LAST
    thresholds: tuple[float, ...] = ()
    criterion_traits: CriterionTraits | None = None
    preferred: dict[str, PreferredSettings] = field(default_factory=dict)
    backends: dict[str, BackendComparison] = field(default_factory=dict)
    temperatures: tuple[float, ...] = ()

    @property
    def rule(self) -> Criterion:
        """The exit criterion; without its formulas where another package brings it, which need not be installed to run a bundle.

        Raises:
            InputError: no criterion has its name.
        """
        return (
            criterion(self.criterion)
            if self.criterion_traits is None
            else self.criterion_traits.as_criterion(self.criterion)
        )

    @property
    def exits(self) -> int:
        """Number of exits."""
        return len(self.stages)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the ONNX files."""
        return (self.model, self.backbone, self.fused, *(s.file for s in self.stages))

    @property
    def network(self) -> tuple[object, ...]:
        """Identity of the network for calibrations: bundles that agree in it give the same scores and answers."""
        files = {name: self.files[name].sha256 for name in self.models}
        # Bundles with `last` keep the digest that earlier versions gave them.
        return (self.criterion, files) if self.fallback == LAST else (self.criterion, files, self.fallback)

    @property
    def last_is_backbone(self) -> bool:
        """Whether an input that runs to the last exit gets the backbone's answer, rather than one made of several exits."""
        return self.fallback == LAST and not self.rule.changes_answers

    @property
    def is_cascade(self) -> bool:
        """Whether its exits are classifiers that share nothing: each reads the input, and nothing larger than answers passes a cut."""
        numbers = [math.prod(t.shape_at_1) for stage in self.stages for t in stage.boundaries_in]
        return all(stage.inputs for stage in self.stages) and max(numbers, default=0) <= self.classes

    def agrees_with(self, other: Manifest) -> bool:
        """Whether a calibration of one holds for the other: the same network, and pictures prepared alike where both say how."""
        known = (self.preprocess, other.preprocess)
        return self.network == other.network and (None in known or known[0] == known[1])

    @property
    def network_sha256(self) -> str:
        """SHA-256 of `network`, by which a calibration outside of a bundle says what it holds for."""
        return hashlib.sha256(dumps(list(self.network)).encode()).hexdigest()

    def __post_init__(self) -> None:
        """Check what types alone do not say."""
        used = {*self.models, *(file for entry in self.calibrations.values() for file in entry.files)}
        used |= {file for record in self.history for file in record.entry.files}
        faults = [f"file {name!r} is used but not listed in files" for name in sorted(used - self.files.keys())]
        names = [record.name for record in self.history]
        faults += [f"calibration {name!r} is listed twice" for name in sorted({n for n in names if names.count(n) > 1})]
        faults += [f"{name!r} cannot name a calibration" for name in names if not CALIBRATION_NAME.fullmatch(name)]
        active = {entry.name for entry in self.calibrations.values() if entry.name}
        active |= {name for log in self.activated.values() for name in log}
        faults += [f"active calibration {name!r} is not in the history" for name in sorted(active - set(names))]
        if [s.exit for s in self.stages] != list(range(1, len(self.stages) + 1)) or len(self.stages) < 2:
            faults.append(f"stages must be those of exits 1 to N >= 2, not {[s.exit for s in self.stages]}")
        if not 2 <= self.classes <= _MOST_CLASSES:
            faults.append(f"classes must be 2 to {_MOST_CLASSES}, not {self.classes}")
        if self.fallback not in FALLBACKS:
            faults.append(f"fallback must be one of {', '.join(FALLBACKS)}, not {self.fallback!r}")
        if len(self.thresholds) not in (0, len(self.stages) - 1) or not all(map(math.isfinite, self.thresholds)):
            faults.append(f"thresholds must be none or {len(self.stages) - 1} numbers, not {list(self.thresholds)}")
        faults += [fault for fault in [check_temperatures(self.temperatures, len(self.stages))] if fault]
        faults += [] if self.criterion_traits is None else self.criterion_traits.faults()
        if not self.inputs:
            faults.append("there are no inputs")
        if self.class_names and len(self.class_names) != self.classes:
            faults.append(f"there are {len(self.class_names)} class names for {self.classes} classes")
        faults += self.preprocess.faults() if self.preprocess is not None else []
        for spec in (*self.inputs, *(t for s in self.stages for t in (*s.boundaries_in, *s.boundaries_out))):
            faults += spec.faults()
        known = {spec.name for spec in self.inputs}
        for stage in self.stages:
            strange = {*stage.inputs, *(t.name for t in stage.boundaries_in)} - known
            faults += [f"stage {stage.exit} reads {name!r}, which nothing makes" for name in sorted(strange)]
            known |= {t.name for t in stage.boundaries_out}
        if faults:
            raise BundleError("the manifest is inconsistent: " + "; ".join(faults) + ".")


def parse_schema_version(document: Any, where: str) -> int:
    """The schema's version of a manifest.

    Raises:
        BundleError: it is no manifest, or a newer one.
    """
    return check_schema(document, "bundle", VERSION, where, BundleError)


def parse_manifest(document: Any, where: str) -> Manifest:
    """A manifest from its JSON document.

    Raises:
        BundleError: it is of another or a newer schema, or has faults; all in one message.
    """
    parse_schema_version(document, where)
    return parse_document(Manifest, document, where, BundleError)
