"""Hold a criterion that another package brings, nodes against NumPy, on random logits: before a network is touched.

Edgeexit's own criteria are held so by its tests; one of another package meets a runtime here for the first time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgeexit.criteria import Array, Criterion, ExitOutputs
from edgeexit.errors import InputError
from edgeexit.graph.build import NodeBuilder

_EXITS, _CLASSES, _SAMPLES = 3, 5, 8
_SIZES = (0.1, 3.0, 30.0)
_COSTS = (1.0, 2.5, 4.0)
_TOLERANCE = 1e-4


def check_criterion(rule: Criterion, opset: int) -> None:
    """Compare what a criterion's ONNX nodes and its NumPy code give for three exits.

    Raises:
        InputError: they differ, give tensors of other shapes, or the nodes cannot be run; with the criterion and its package.
    """
    rng = np.random.default_rng(0)
    logits = np.concatenate([rng.standard_normal((_SAMPLES, _EXITS, _CLASSES)) * size for size in _SIZES])
    own = rng.random(logits.shape[:2]).astype(np.float32)
    logits = logits.astype(np.float32)
    expected = rule.answers(logits, _COSTS, own)
    given = [name for name, found in zip(expected._fields, expected, strict=True) if not isinstance(found, np.ndarray)]
    shapes = () if given else (expected.logits.shape, expected.scores.shape)
    if shapes != (logits.shape, logits.shape[:2]):
        raise _fault(
            rule, f"its NumPy code must give arrays, scores [n] for logits [..., classes]; it gave {given or shapes}"
        )
    actual = _run_nodes(rule, logits, own, opset)
    for what, a, b in (("scores", actual.scores, expected.scores), ("logits", actual.logits, expected.logits)):
        scale = max(1.0, float(np.abs(b[np.isfinite(b)]).max(initial=0)))
        if not np.allclose(a, b, rtol=0, atol=_TOLERANCE * scale, equal_nan=True):
            worst = float(np.abs(a - b).max())
            raise _fault(rule, f"its ONNX nodes and its NumPy code give {what} that differ by up to {worst:.3g}")


def _fault(rule: Criterion, what: str) -> InputError:
    return InputError(
        f"criterion {rule.name!r} of {rule.origin} cannot be used: {what}. That is a fault of the package."
    )


def _run_nodes(rule: Criterion, logits: Array, own: Array, opset: int) -> ExitOutputs:
    """Answers and own-unit scores by the nodes."""
    model = _build_model(rule, opset)
    feeds = {f"z{k}": logits[:, k] for k in range(_EXITS)} | {f"h{k}": own[:, k] for k in range(_EXITS - 1)}
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        values = session.run(None, {i.name: np.ascontiguousarray(feeds[i.name]) for i in session.get_inputs()})
        answers, inner = np.stack(values[0::2], axis=1), np.stack(values[1::2], axis=1)
    except Exception as error:  # of ONNX Runtime, which has many kinds
        raise _fault(rule, f"ONNX Runtime does not run its nodes ({error})") from error
    _check_shapes(rule, answers, inner, logits.shape)
    return ExitOutputs(answers, np.asarray(rule.sign * inner, np.float32))


def _check_shapes(
    rule: Criterion, answers: NDArray[np.generic], inner: NDArray[np.generic], expected: Sequence[int]
) -> None:
    if answers.shape != tuple(expected) or inner.shape != tuple(expected[:2]) or inner.dtype != np.float32:
        found = f"answers {answers.shape[2:]}, scores {inner.shape[2:]} of {inner.dtype} per exit and sample"
        raise _fault(rule, f"its nodes must give float32 logits [n, classes] and scores [n]; they gave {found}")


def _build_model(rule: Criterion, opset: int) -> onnx.ModelProto:
    """Inputs z0, z1, ... [n, classes] and, of a learned criterion, h0, h1, ... [n]; outputs a0, s0, a1, s1, ..."""
    graph = onnx.GraphProto(name="criterion")
    state: tuple[str, ...] = ()
    for k in range(_EXITS):
        graph.input.append(helper.make_tensor_value_info(f"z{k}", TensorProto.FLOAT, ["n", _CLASSES]))
        scored = rule.learned and k + 1 < _EXITS
        if scored:
            graph.input.append(helper.make_tensor_value_info(f"h{k}", TensorProto.FLOAT, ["n"]))
        builder = NodeBuilder(graph, opset, f"exit{k}")
        if rule.combine_nodes is not None:
            combined = rule.combine_nodes(builder, f"z{k}", f"h{k}" if scored else None, state, _COSTS[: k + 1])
            answer, score, state = combined
        else:
            assert rule.nodes is not None
            answer, score = f"z{k}", rule.nodes(builder, f"z{k}", _CLASSES)
        for name, source in ((f"a{k}", answer), (f"s{k}", score)):
            graph.node.append(helper.make_node("Identity", [source], [name]))
            graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
