"""Classifiers as ONNX files of any tool: their input, the output that holds their answers, and what their classes are called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, version_converter

from edgeexit.backends.base import Settings
from edgeexit.backends.onnxruntime.sessions import open_session
from edgeexit.data.fingerprint import KEY, Fingerprint, read_fingerprint
from edgeexit.data.reference import DataRecord
from edgeexit.errors import ModelError
from edgeexit.graph.expected_data import read_model_data_record
from edgeexit.graph.model import TensorSpec, make_tensor_spec, read_opset
from edgeexit.graph.onnx_files import UNREADABLE, parse_reason
from edgeexit.util.arguments import check_regular_file

LEAST_OPSET = 13
"""That all classifiers are brought to where theirs is older: the first in which every operator of the policies has today's form."""
_SUM_OFF = 1e-3  # of probabilities, that float16 inside a model and few digits in a file may leave
_FLOATS = frozenset({"float16", "float32", "float64"})
_CLASS_LABELS = ("classlabels_ints", "classlabels_int64s", "classlabels_strings")


@dataclass(frozen=True, eq=False)
class ClassifierFile:
    """A classifier's file, before it was run.

    Attributes:
        path: the file.
        proto: the model, with its weights; outputs that are lists of maps (ZipMap) replaced by the array before them.
        input: its only input.
        record: what its metadata say of its data.
        labels: the class labels that its nodes list.
    """

    path: Path
    proto: onnx.ModelProto
    input: TensorSpec
    record: DataRecord
    labels: tuple[tuple[int | str, ...], ...]


@dataclass(frozen=True, eq=False)
class Classifier:
    """One classifier as it was read.

    Attributes:
        file: its file.
        output: name of the output with its answers, [batch, classes].
        answers: `logits` or `probabilities`.
        classes: number of classes.
        record: what is known of its data.
        training: fingerprint of what it was trained on; None where it has none.
    """

    file: ClassifierFile
    output: str
    answers: str
    classes: int
    record: DataRecord
    training: Fingerprint | None


def read_classifier_file(path: Path) -> ClassifierFile:
    """The model of a file, its only input, and what it says of its data.

    Raises:
        ModelError: it cannot be read, or takes several inputs or one of free size.
    """
    proto = _load(path)
    labels = tuple(_list_class_labels(proto))
    _remove_maps(proto)
    proto = _upgrade(proto, path)
    weights = {t.name for t in proto.graph.initializer}
    specs = [make_tensor_spec(value, path) for value in proto.graph.input if value.name not in weights]
    if len(specs) != 1 or "?" in specs[0].shape[1:] or not specs[0].shape:
        found = "; ".join(map(str, specs)) or "none"
        msg = f"a classifier of a cascade takes one input of fixed shape; {path} takes {found}."
        raise ModelError(msg)
    return ClassifierFile(path, proto, specs[0], read_model_data_record(proto, str(path)), labels)


def _load(path: Path) -> onnx.ModelProto:
    check_regular_file(path, ModelError)
    if not path.is_file():
        msg = f"there is no file {path}."
        raise ModelError(msg)
    try:
        proto = onnx.load(str(path))
    except (*UNREADABLE, OSError, onnx.checker.ValidationError) as error:
        msg = f"{path} is not an ONNX model, or its weights are missing: {parse_reason(error)}"
        raise ModelError(msg) from error
    if not proto.graph.node:
        msg = f"{path} is not an ONNX model: it has no nodes."
        raise ModelError(msg)
    return proto


def _remove_maps(proto: onnx.ModelProto) -> None:
    """Take out ZipMap nodes, which turn an array of probabilities into a list of maps."""
    arrays = {node.output[0]: node.input[0] for node in proto.graph.node if node.op_type == "ZipMap"}
    if arrays:
        nodes = [node for node in proto.graph.node if node.op_type != "ZipMap"]
        outputs = [_replace_map(value, arrays) for value in proto.graph.output]
        del proto.graph.node[:], proto.graph.output[:]
        proto.graph.node.extend(nodes)
        proto.graph.output.extend(outputs)


def _replace_map(value: onnx.ValueInfoProto, arrays: dict[str, str]) -> onnx.ValueInfoProto:
    if value.name not in arrays:
        return value
    return helper.make_tensor_value_info(arrays[value.name], TensorProto.FLOAT, None)


def _upgrade(proto: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model in an operator set in which policies can be written."""
    version = read_opset(proto)
    if version >= LEAST_OPSET or not any(node.domain in ("", "ai.onnx") for node in proto.graph.node):
        return _with_opset(proto, max(version, LEAST_OPSET))
    return convert_opset(proto, LEAST_OPSET, path)


def convert_opset(proto: onnx.ModelProto, version: int, path: Path) -> onnx.ModelProto:
    """The model in another version of the default operator set; unchanged where it has that.

    Raises:
        ModelError: onnx cannot convert it.
    """
    if read_opset(proto) == version:
        return proto
    try:
        return version_converter.convert_version(_with_opset(proto, read_opset(proto)), version)
    except Exception as error:  # of the converter, which has many kinds
        msg = (
            f"{path} uses operator set {read_opset(proto)}, and cannot be brought to {version}, that of the other classifiers:"
            f" {parse_reason(error)}. Export it again with opset {version}."
        )
        raise ModelError(msg) from error


def _with_opset(proto: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """The model with each operator set named once, the default one in this version."""
    others = {o.domain: o.version for o in proto.opset_import if o.domain not in ("", "ai.onnx")}
    del proto.opset_import[:]
    proto.opset_import.extend(helper.make_opsetid(domain, v) for domain, v in {"": version, **others}.items())
    return proto


def find_answers(file: ClassifierFile, samples: NDArray[np.generic], output: str | None = None) -> Classifier:
    """Which output holds the answers, and whether they are probabilities, by running some samples.

    Args:
        file: as `read_classifier_file` gave it.
        samples: inputs that fit it, [n, ...].
        output: name of the output, where several could be.

    Raises:
        ModelError: it cannot be run, no output or several could hold answers, or its classes are not numbered from 0.
    """
    values = _run(file, samples)
    fitting = {name: v for name, v in values.items() if str(v.dtype) in _FLOATS and v.ndim == 2 and v.shape[1] > 1}
    chosen = output or _choose_output(file.path, fitting, values)
    if chosen not in fitting:
        shown = "; ".join(f"{name} {v.dtype}{list(v.shape)}" for name, v in values.items())
        msg = f"{file.path} has no output {chosen!r} of floats [batch, classes]. Its outputs: {shown}."
        raise ModelError(msg)
    classes = int(fitting[chosen].shape[1])
    text = next((p.value for p in file.proto.metadata_props if p.key == KEY), None)
    return Classifier(
        file=file,
        output=chosen,
        answers="probabilities" if _are_probabilities(fitting[chosen]) else "logits",
        classes=classes,
        record=file.record.merge(DataRecord(class_names=_read_class_names(file, classes))),
        training=None if text is None else read_fingerprint(text),
    )


def _run(file: ClassifierFile, samples: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
    """Every output that is an array, of samples that are run one by one."""
    names = [value.name for value in file.proto.graph.output]
    try:
        session = open_session(
            file.proto.SerializeToString(), Settings(threads=1, spin=False), batch_1=False, quiet=True
        )
        values = [session.run(names, {file.input.name: x[None]}) for x in samples]
    except Exception as error:  # of ONNX Runtime and protobuf, which have many kinds
        msg = f"ONNX Runtime cannot run {file.path}: {parse_reason(error)}"
        raise ModelError(msg) from error
    by_name = zip(names, zip(*values, strict=True), strict=True)
    return {name: np.concatenate(own) for name, own in by_name if all(isinstance(v, np.ndarray) for v in own)}


def _choose_output(path: Path, fitting: dict[str, NDArray[np.generic]], every: dict[str, NDArray[np.generic]]) -> str:
    if len(fitting) == 1:
        return next(iter(fitting))
    raw = [name for name, v in fitting.items() if not _are_probabilities(v)]
    if len(fitting) == 2 and len(raw) == 1:
        return raw[0]  # a network that gives logits and their softmax
    shown = "; ".join(f"{name} {v.dtype}{list(v.shape)}" for name, v in every.items())
    what = "several outputs" if fitting else "no output"
    msg = f"{path} has {what} that could be its answers, floats [batch, classes]: {shown}. Name one of each file with --answers."
    raise ModelError(msg)


def _are_probabilities(values: NDArray[np.generic]) -> bool:
    v = np.asarray(values, np.float64)
    return bool((v >= 0).all() and (np.abs(v.sum(axis=1) - 1) < _SUM_OFF).all())


def _read_class_names(file: ClassifierFile, classes: int) -> tuple[str, ...]:
    """Names of the classes where the model has text for them.

    Raises:
        ModelError: it has numbers that are not 0, 1, 2, ...
    """
    for labels in file.labels:
        if len(labels) != classes:
            continue
        if all(isinstance(label, str) for label in labels):
            return tuple(map(str, labels))
        if list(labels) != list(range(classes)):
            shown = ", ".join(map(str, labels[:8]))
            msg = f"the classes of {file.path} are numbered {shown}: number them from 0 before it is trained, as labels are."
            raise ModelError(msg)
    return ()


def _list_class_labels(proto: onnx.ModelProto) -> Iterator[tuple[int | str, ...]]:
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.name in _CLASS_LABELS:
                yield tuple(s.decode("utf-8", "replace") for s in attribute.strings) or tuple(attribute.ints)


def check_same_input(files: Sequence[ClassifierFile]) -> None:
    """Raise an error for files that take other samples than each other.

    Raises:
        ModelError: with the input of each.
    """
    if len({(f.input.dtype, f.input.shape[1:]) for f in files}) > 1:
        shown = "; ".join(f"{f.path}: {f.input.dtype}[{', '.join(map(str, f.input.shape))}]" for f in files)
        msg = f"classifiers of a cascade must take the same sample, and their inputs differ: {shown}."
        raise ModelError(msg)


def check_alike(classifiers: Sequence[Classifier]) -> None:
    """Raise an error for classifiers of other classes than each other.

    Raises:
        ModelError: with those of each.
    """
    faults = []
    if len({c.classes for c in classifiers}) > 1:
        shown = "; ".join(f"{c.file.path}: {c.classes}" for c in classifiers)
        faults.append(f"their numbers of classes differ ({shown})")
    if len(named := {c.record.class_names: c.file.path for c in classifiers if c.record.class_names}) > 1:
        shown = "; ".join(f"{path}: {', '.join(names[:5])}" for names, path in named.items())
        faults.append(f"their classes are named, or ordered, otherwise ({shown})")
    if faults:
        msg = f"these classifiers cannot be one cascade: {'; '.join(faults)}."
        raise ModelError(msg)
