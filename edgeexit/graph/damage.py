"""Damage in a model file that crashes a runtime or Python: checked before anything reads the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx.defs import OpSchema

from edgeexit.graph.dataflow import list_inner_graphs


def find_damage(proto: onnx.ModelProto) -> str | None:
    """The first fault of that kind, as a sentence; None if there is none."""
    if _holds_undecoded_text(proto):
        return "a name in it is not UTF-8"
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    return next(_find_missing_inputs(proto.graph, versions), None)


def _holds_undecoded_text(message: Message) -> bool:
    """Whether a text of a message or of those inside it is bytes, as protobuf gives it where it is not UTF-8. Remarks are left out."""
    waiting, found = [message], False
    while waiting and not found:
        for field, value in waiting.pop().ListFields():
            values = value if field.is_repeated else [value]
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                waiting.extend(values)
            elif field.type == FieldDescriptor.TYPE_STRING and field.name != "doc_string":
                found = found or any(isinstance(text, bytes) for text in values)
    return found


def _find_missing_inputs(graph: onnx.GraphProto, versions: Mapping[str, int]) -> Iterator[str]:
    """Inputs that are left out where the operator needs them: ONNX Runtime 1.31 takes such a `Max`, and dies running it."""
    for node in graph.node:
        for place, name in enumerate(node.input):
            if not name and not _is_optional(node, place, versions):
                yield f"node {node.name!r} ({node.op_type}) lacks its input {place}"
        for inner in list_inner_graphs(node):
            yield from _find_missing_inputs(inner, versions)


def _is_optional(node: onnx.NodeProto, place: int, versions: Mapping[str, int]) -> bool:
    """By the operator's definition; of operators that ONNX does not define, anything may."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    version = versions.get(domain, versions.get("ai.onnx", 1) if not domain else 1)
    try:
        schema = onnx.defs.get_schema(node.op_type, version, domain)
    except onnx.defs.SchemaError:
        return True
    formal = schema.inputs[min(place, len(schema.inputs) - 1)] if schema.inputs else None
    return formal is None or formal.option == OpSchema.FormalParameterOption.Optional
