"""Several classifiers' graphs as one: each an exit that reads the same input, and after each but the last a policy's nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgeexit.cascades.classifiers import Classifier, convert_opset
from edgeexit.cascades.policies import PolicyNetwork
from edgeexit.criteria import criterion
from edgeexit.errors import ModelError
from edgeexit.graph.build import NodeBuilder
from edgeexit.graph.criterion_record import make_criterion_record
from edgeexit.graph.dataflow import rename_tensors
from edgeexit.graph.exits import METADATA_KEY
from edgeexit.graph.model import BATCH, TensorSpec, read_opset
from edgeexit.util.documents import dumps

INPUT = "input"
RULE = "learned_mean"
THRESHOLD = 0.5
"""Stopping probability at which a cascade stops until it is calibrated; the paper does not say how it stops at test time."""
_TINY = np.float32(1e-30)
_MOST_BYTES = 2**31 - 2**20  # of a protobuf message


def join_classifiers(classifiers: Sequence[Classifier]) -> onnx.ModelProto:
    """One model with the logits of every classifier, `exit1`, `exit2`, ...; logarithms where a classifier gives probabilities.

    Raises:
        ModelError: their operator sets cannot be made equal, or all weights together exceed what one file can hold.
    """
    version = max(read_opset(c.file.proto) for c in classifiers)
    graph = onnx.GraphProto(name="cascade")
    others: dict[str, int] = {}
    for k, c in enumerate(classifiers, 1):
        proto = convert_opset(c.file.proto, version, c.file.path)
        others |= _merge_opsets(others, proto, c.file.path)
        _append(graph, proto, c.file.input.name, f"c{k}")
        builder = NodeBuilder(graph, version, f"exit{k}_answers")
        given = builder.cast(f"c{k}/{c.output}", TensorProto.FLOAT)
        if c.answers == "probabilities":
            given = builder.node("Log", [builder.node("Max", [given, builder.constant(_TINY)])])
        graph.node.append(helper.make_node("Identity", [given], [f"exit{k}"], name=f"exit{k}"))
    specs = [c.file.input for c in classifiers]
    dynamic = all(spec.shape[0] == BATCH for spec in specs)
    graph.input.append(TensorSpec(INPUT, specs[0].dtype, (BATCH if dynamic else 1, *specs[0].shape[1:])).proto())
    for k in range(1, len(classifiers) + 1):
        shape = [BATCH if dynamic else 1, classifiers[0].classes]
        graph.output.append(helper.make_tensor_value_info(f"exit{k}", TensorProto.FLOAT, shape))
    opsets = [helper.make_opsetid(domain, v) for domain, v in {"": version, **others}.items()]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="edgeexit")
    model.ir_version = max(c.file.proto.ir_version for c in classifiers)
    model.functions.extend(_take_functions(classifiers))
    if model.ByteSize() > _MOST_BYTES:
        msg = f"the classifiers together are {model.ByteSize() >> 20} MiB; a file of a cascade holds up to {_MOST_BYTES >> 20} MiB."
        raise ModelError(msg)
    return model


def _merge_opsets(known: Mapping[str, int], proto: onnx.ModelProto, path: Path) -> dict[str, int]:
    """Operator sets besides the default one. Those of ai.onnx.ml only add operators; others must be the same."""
    found: dict[str, int] = {}
    for opset in proto.opset_import:
        if opset.domain in ("", "ai.onnx"):
            continue
        before = known.get(opset.domain, opset.version)
        if before != opset.version and opset.domain != "ai.onnx.ml":
            msg = f"{path} uses version {opset.version} of the operators of {opset.domain}, and another classifier version {before}."
            raise ModelError(msg)
        found[opset.domain] = max(before, opset.version)
    return found


def _take_functions(classifiers: Sequence[Classifier]) -> Iterable[onnx.FunctionProto]:
    """The local functions of all; those of one exporter have the same names and the same meaning."""
    return {(f.domain, f.name, f.overload): f for c in classifiers for f in c.file.proto.functions}.values()


def _append(graph: onnx.GraphProto, proto: onnx.ModelProto, input_name: str, prefix: str) -> None:
    """Append a classifier's nodes and weights, every name below `prefix`; its input becomes the common one."""

    def rename(name: str) -> str:
        return INPUT if name == input_name else f"{prefix}/{name}"

    for node in proto.graph.node:
        copy = rename_tensors(node, rename)
        copy.name = f"{prefix}/{node.name}" if node.name else ""
        graph.node.append(copy)
    for tensor in proto.graph.initializer:
        copied = graph.initializer.add()
        copied.CopyFrom(tensor)
        copied.name = rename(tensor.name)


def add_policies(
    joined: onnx.ModelProto, policies: Sequence[PolicyNetwork], metadata: Mapping[str, str] | None = None
) -> onnx.ModelProto:
    """The joined model with the policies' stopping probabilities, `exit1_score`, ..., and metadata that name exits and criterion.

    Args:
        joined: as `join_classifiers` made it.
        policies: one for each of the first exits.
        metadata: other properties; None leaves out exits and criterion, too.
    """
    model = onnx.ModelProto()
    model.CopyFrom(joined)
    exits = [value.name for value in joined.graph.output]
    for name, policy in zip(exits, policies, strict=False):
        _append_policy(model, name, policy)
    if metadata is not None:
        for key, value in {**_describe_exits(exits), **metadata}.items():
            model.metadata_props.add(key=key, value=value)
    return model


def _append_policy(model: onnx.ModelProto, exit: str, policy: PolicyNetwork) -> None:
    graph, score = model.graph, f"{exit}_score"
    builder = NodeBuilder(graph, read_opset(model), f"{exit}_policy")
    value = builder.node("Softmax", [exit], axis=-1)
    for i, (weights, bias) in enumerate(policy.layers):
        product = builder.node("MatMul", [value, builder.constant(weights.astype(np.float32))])
        value = builder.node("Add", [product, builder.constant(bias.astype(np.float32))])
        value = builder.node("Relu", [value]) if i + 1 < len(policy.layers) else value
    graph.node.append(helper.make_node("Sigmoid", [value], [score], name=score))
    batch = graph.output[0].type.tensor_type.shape.dim[0].dim_param or 1
    graph.output.append(helper.make_tensor_value_info(score, TensorProto.FLOAT, [batch, 1]))


def _describe_exits(exits: Sequence[str]) -> dict[str, str]:
    listed = [{"name": name, "logits": name, "score": f"{name}_score" if name != exits[-1] else None} for name in exits]
    record = make_criterion_record(criterion(RULE).name, THRESHOLD, exits, len(exits) - 1)
    assert record is not None
    return {METADATA_KEY: dumps(listed), **record.as_metadata()}
