"""A model as edgeexit works on it: the ONNX graph without its weights' bytes, its inputs, and the folder its weights lie in."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgeexit.errors import ModelError
from edgeexit.graph.damage import find_damage
from edgeexit.graph.dataflow import Flow, list_subgraphs, sort_topologically
from edgeexit.graph.functions import fill_default_attributes
from edgeexit.graph.onnx_files import UNREADABLE, parse_reason
from edgeexit.graph.paths import follow_links, is_file, join_safely
from edgeexit.util.arguments import check_regular_file

Dim: TypeAlias = int | str
BATCH = "batch"
"""The name of the dynamic first dimension in every model that edgeexit writes."""

_FIRST_IR_WITH_TRUE_WEIGHTS = 4  # before it, every weight had to be an input as well
_LARGEST_INPUT = 1 << 30  # bytes at batch 1
_LARGEST_TENSOR = 1 << 32  # bytes at batch 1, of what crosses a cut
DTYPES = frozenset(
    {"bool", "float16", "float32", "float64"} | {f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)}
)
"""Element types that NumPy and the runtimes both hold."""
_ELEMENTS = frozenset(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}

NARROW = {
    getattr(TensorProto, name): bits
    for name, bits in (("INT4", 4), ("UINT4", 4), ("FLOAT4E2M1", 4), ("INT2", 2), ("UINT2", 2))
    if hasattr(TensorProto, name)  # the newest ones are not in every onnx
}
"""Bits of the elements that are smaller than a byte."""

_WHOLE_NUMBERED = frozenset(
    getattr(TensorProto, name)
    for name in (
        "FLOAT",
        "DOUBLE",
        "FLOAT16",
        "INT8",
        "INT16",
        "INT32",
        "INT64",
        "UINT8",
        "UINT16",
        "UINT32",
        "UINT64",
        "BOOL",
    )
)
"""Element types of which each number takes bytes or a field entry of its own."""

INFERENCE_ERRORS = (onnx.shape_inference.InferenceError, RuntimeError, ValueError, MemoryError)
"""Of ONNX shape inference: shapes that contradict each other or exceed any memory, unknown operators, models beyond protobuf's 2 GB."""

OLDEST_OPSET = 11  # the first with the If, TopK and negative axes that the splitter and the criteria use


@dataclass(frozen=True)
class TensorSpec:
    """Name, NumPy dtype name and shape of a tensor; the first dimension may be `"batch"`, any other unknown one is `"?"`."""

    name: str
    dtype: str
    shape: tuple[Dim, ...]

    @property
    def shape_at_1(self) -> tuple[int, ...]:
        """The shape at batch 1."""
        return tuple(d if isinstance(d, int) else 1 for d in self.shape)

    @property
    def bytes_at_1(self) -> int:
        """Size at batch 1, in bytes."""
        return math.prod(self.shape_at_1) * np.dtype(self.dtype).itemsize

    def faults(self) -> list[str]:
        """Faults of a spec that was read from a file."""
        if self.dtype not in DTYPES:
            return [f"tensor {self.name!r} is of dtype {self.dtype!r}"]
        wrong = any(d < 0 if isinstance(d, int) else d not in (BATCH, "?") for d in self.shape)
        if wrong or self.bytes_at_1 > _LARGEST_TENSOR:
            return [f"tensor {self.name!r} has the shape {list(self.shape)}"]
        return []

    def proto(self, *, batch: int | None = None) -> onnx.ValueInfoProto:
        """Convert to ONNX value info; `batch` replaces the dynamic first dimension."""
        shape = [batch if d == BATCH and batch is not None else (None if d == "?" else d) for d in self.shape]
        return helper.make_tensor_value_info(self.name, helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype)), shape)

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}[{', '.join(str(d) for d in self.shape)}]"


@dataclass(frozen=True)
class Network:
    """One model, read and checked.

    Attributes:
        proto: the model; local functions inlined, weights in outside files still outside.
        folder: where outside weight files lie.
        inputs: its inputs, without those that are weights.
        dynamic_batch: whether every input's first dimension is free.
        run_shapes: shapes at batch 1 of tensors that shape inference does not know, as a run showed them.
    """

    proto: onnx.ModelProto
    folder: Path
    inputs: tuple[TensorSpec, ...]
    dynamic_batch: bool
    run_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def opset(self) -> int:
        """Version of the default operator set."""
        return read_opset(self.proto)

    def flow(self, fixed: Collection[str] = (), *, cautious: bool = True) -> Flow:
        """Its data flow; see `Flow.from_graph`. Shape inference is asked only where the shape of a tensor may depend on values."""
        inputs = [s.name for s in self.inputs]
        flow = Flow.from_graph(self.proto.graph, inputs, fixed, cautious=cautious)
        if not flow.data_dependent:
            return flow
        return Flow.from_graph(self.proto.graph, inputs, {*fixed, *_find_fixed_shapes(self.proto)}, cautious=cautious)


def read_opset(model: onnx.ModelProto) -> int:
    """Version of the default operator set that a model imports; 0 when it imports none."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)


def _find_fixed_shapes(proto: onnx.ModelProto) -> Iterator[str]:
    """Tensors whose whole shape, but for the batch, follows from the operators; what the file says about them is left aside."""
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    del bare.graph.value_info[:]
    for output in bare.graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    try:
        graph = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
    except INFERENCE_ERRORS:
        return
    for value in (*graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(d.HasField("dim_value") or d.dim_param == BATCH for d in kind.shape.dim):
            yield value.name


def read_model(path: Path) -> Network:
    """Read an ONNX file.

    Raises:
        ModelError: not a file, not ONNX, truncated, an operator set older than 11, an outside weight file that is missing, too short
            or outside the model's folder, a weight of another size than its shape, inputs that are not of fixed shape, nodes that
            read each other in a circle.
    """
    proto = _parse(path)
    _check_opset(proto, path)
    proto = _inline_functions(proto, path)
    _sort(proto.graph, path)
    proto.ir_version = max(proto.ir_version, _FIRST_IR_WITH_TRUE_WEIGHTS)
    if proto.graph.sparse_initializer:
        msg = f"{path} has sparse weights, which are not supported: export it with dense ones."
        raise ModelError(msg)
    _check_inside_weights(proto, path)
    folder = follow_links(list_all_tensors(proto.graph), path)
    _check_outside_weights(proto, path, folder)
    inputs = _read_inputs(proto.graph, path)
    dynamic = all(spec.shape[:1] == (BATCH,) for spec in inputs)
    if not dynamic:
        inputs = tuple(TensorSpec(s.name, s.dtype, s.shape_at_1) for s in inputs)
    _replace_inputs(proto.graph, inputs)
    return Network(proto, folder, inputs, dynamic)


def _inline_functions(proto: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    if not proto.functions:
        return proto
    from onnx import inliner

    fill_default_attributes(proto)
    try:
        proto = inliner.inline_local_functions(proto, convert_version=True)
    except (*INFERENCE_ERRORS, IndexError, onnx.checker.ValidationError) as error:
        msg = f"the local functions of {path} cannot be written out ({error}): export the model without them."
        raise ModelError(msg) from error
    if proto.functions:
        names = ", ".join(repr(f.name) for f in proto.functions)
        msg = f"the local functions {names} of {path} cannot be written out (another operator set, or they call themselves)."
        raise ModelError(msg)
    return proto


def _sort(graph: onnx.GraphProto, path: Path) -> None:
    """Put the nodes into topological order, which ONNX demands and runtimes do not insist on."""
    order = sort_topologically(graph)
    if order is None:
        msg = f"{path} has nodes that read each other in a circle: it is not a valid ONNX model."
        raise ModelError(msg)
    if order != list(range(len(order))):
        nodes = [graph.node[i] for i in order]
        del graph.node[:]
        graph.node.extend(nodes)


def _parse(path: Path) -> onnx.ModelProto:
    check_regular_file(path, ModelError)
    if not path.is_file():
        msg = f"there is no file {path}." if not path.exists() else f"{path} is not a file; give the .onnx file."
        raise ModelError(msg)
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except UNREADABLE as error:
        msg = f"{path} is not an ONNX model, or is truncated ({path.stat().st_size} bytes): {parse_reason(error)}"
        raise ModelError(msg) from error
    fault = find_damage(proto)
    if fault is not None:
        msg = f"{path} is not an ONNX model: {fault}."
        raise ModelError(msg)
    if not proto.graph.node or not proto.graph.output:
        msg = f"{path} is not an ONNX model, or is truncated: it has {len(proto.graph.node)} nodes and {len(proto.graph.output)} outputs."
        raise ModelError(msg)
    return proto


def _check_opset(proto: onnx.ModelProto, path: Path) -> None:
    newest = onnx.defs.onnx_opset_version()
    version = read_opset(proto)
    if not OLDEST_OPSET <= version <= newest:
        msg = (
            f"{path} uses operator set {version}; supported are {OLDEST_OPSET} to {newest} (onnx {onnx.__version__})."
            " Export it again with a supported opset_version, or convert it with onnx.version_converter."
        )
        raise ModelError(msg)


def read_external_data(tensor: TensorProto) -> dict[str, str]:
    """The `external_data` entries of a weight that lies in another file: location, offset, length."""
    return {_as_text(entry.key): _as_text(entry.value) for entry in tensor.external_data}


def _as_text(value: str | bytes) -> str:
    """What protobuf gives for a string: bytes where it is not UTF-8."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def read_external_range(tensor: TensorProto) -> tuple[int, int | None]:
    """Offset and length in bytes of a weight that lies in another file; no length means to the end of the file.

    Raises:
        ModelError: they are not whole numbers from 0.
    """
    where = read_external_data(tensor)
    offset, length = where.get("offset", "0"), where.get("length")
    if not all(text is None or (text.isascii() and text.isdigit() and len(text) < 19) for text in (offset, length)):
        msg = f"weight {tensor.name!r} lies at offset {offset!r}, length {length!r} of another file; these must be whole numbers."
        raise ModelError(msg)
    return int(offset), None if length is None else int(length)


def count_file_bytes(tensor: TensorProto) -> int:
    """Bytes of a weight as a file holds it; elements smaller than a byte lie side by side.

    Raises:
        ModelError: its element type is none.
    """
    if tensor.data_type not in _ELEMENTS or tensor.data_type == TensorProto.STRING:
        msg = f"weight {tensor.name!r} lies in another file and has an element type of unknown size ( {tensor.data_type})."
        raise ModelError(msg)
    bits = NARROW.get(tensor.data_type) or 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return int(-(-math.prod(tensor.dims) * bits // 8))


def compute_external_end(tensor: TensorProto) -> int:
    """Bytes that the file of an outside weight must have at least.

    Raises:
        ModelError: the weight's place or its element type is not a valid one.
    """
    offset, length = read_external_range(tensor)
    return offset + (count_file_bytes(tensor) if length is None else length)


def _check_inside_weights(proto: onnx.ModelProto, path: Path) -> None:
    """A shape with more numbers than there are keeps ONNX's shape inference busy for minutes."""
    for tensor in list_all_tensors(proto.graph):
        have = _count_elements(tensor)
        if have is not None and (min(tensor.dims, default=0) < 0 or have != math.prod(tensor.dims)):
            msg = f"{path} is damaged: weight {tensor.name!r} has shape {list(tensor.dims)} and {have:g} numbers."
            raise ModelError(msg)


def _count_elements(tensor: TensorProto) -> float | None:
    """How many numbers a tensor's data hold; None where they lie elsewhere or in another form than one number at a time."""
    if tensor.data_location == TensorProto.EXTERNAL or tensor.data_type not in _WHOLE_NUMBERED:
        return None
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data) / helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return len(getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type)))


def _check_outside_weights(proto: onnx.ModelProto, path: Path, folder: Path) -> None:
    for tensor in list_all_tensors(proto.graph):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        file = join_safely(folder, read_external_data(tensor).get("location", ""), tensor.name)
        end = compute_external_end(tensor)
        if not is_file(file) or file.stat().st_size < end:
            msg = f"weight {tensor.name!r} of {path} lies in {file}, which is missing or shorter than {end} bytes."
            raise ModelError(msg)


def list_all_tensors(graph: onnx.GraphProto) -> list[TensorProto]:
    """Every weight and constant of a graph and of the graphs inside its nodes."""
    found = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                found.append(attribute.t)
            found += attribute.tensors
            for inner in list_subgraphs(attribute):
                found += list_all_tensors(inner)
    return found


def _read_inputs(graph: onnx.GraphProto, path: Path) -> tuple[TensorSpec, ...]:
    weights = {t.name for t in graph.initializer}
    specs = tuple(make_tensor_spec(value, path) for value in graph.input if value.name not in weights)
    if not specs:
        msg = f"{path} has no inputs."
        raise ModelError(msg)
    faults = [str(s) for s in specs if s.shape[:1] not in (("batch",), (1,)) or "?" in s.shape[1:]]
    strange = [str(s) for s in specs if s.dtype not in DTYPES]
    if strange:
        msg = (
            f"inputs must have a dtype that NumPy supports ({', '.join(sorted(DTYPES))}); not {'; '.join(strange)}:"
            f" cast inside the model."
        )
        raise ModelError(msg)
    if faults:
        msg = (
            f"inputs must have a fixed shape, and a batch of 1 or free as first dimension; found {'; '.join(faults)}."
            " Export the model with fixed sizes, or fix them with onnxruntime.tools.make_dynamic_shape_fixed."
        )
        raise ModelError(msg)
    large = [str(s) for s in specs if s.bytes_at_1 > _LARGEST_INPUT]
    if large:
        msg = f"an input may hold up to {_LARGEST_INPUT >> 20} MiB for one sample; found {'; '.join(large)}."
        raise ModelError(msg)
    return specs


def is_tensor(value: onnx.ValueInfoProto) -> bool:
    """Whether an input or output is a tensor of known elements; sequences, maps and optional values are none."""
    return value.type.HasField("tensor_type") and value.type.tensor_type.elem_type in _ELEMENTS


def make_tensor_spec(value: onnx.ValueInfoProto, path: Path | str) -> TensorSpec:
    """Spec of a graph's input or output; its free first dimension becomes `"batch"`, other free ones `"?"`.

    Raises:
        ModelError: it is a sequence, a map or of no tensor type.
    """
    if not is_tensor(value):
        msg = f"{value.name!r} of {path} is not a tensor (a sequence, a map or of unknown type)."
        raise ModelError(msg)
    kind = value.type.tensor_type
    sizes = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim]
    shape = tuple(size if size is not None else (BATCH if i == 0 else "?") for i, size in enumerate(sizes))
    return TensorSpec(value.name, str(np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type))), shape)


def _replace_inputs(graph: onnx.GraphProto, inputs: tuple[TensorSpec, ...]) -> None:
    del graph.input[:]
    graph.input.extend(spec.proto() for spec in inputs)
