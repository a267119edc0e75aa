"""A bundle is compared with the file as it was given: every exit's logits and scores, masked classes included."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeexit.backends import Settings
from edgeexit.bundle import Bundle, VerificationSummary
from edgeexit.bundle.manifest import parse_manifest
from edgeexit.compiler.compilation import compile_model
from edgeexit.compiler.precision import convert_precision
from edgeexit.compiler.verification import verify
from edgeexit.compiler.verification_references import Original
from edgeexit.criteria import criterion
from edgeexit.errors import InternalError, ModelError
from edgeexit.graph import add_scores, find_exits, read_model
from edgeexit.runtime.answers import compute_difference
from edgeexit.util.documents import to_document
from edgeexit.util.progress import show_nothing
from tests.networks import chain

MASK = (0.0, 0.0, 0.0, -np.inf)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, Any],
    outputs: Sequence[str] = ("z1", "z2"),
    x: onnx.ValueInfoProto | None = None,
    functions: Sequence[onnx.FunctionProto] = (),
) -> Path:
    """A model of those nodes on x [1, 8]; outputs "h…" are scores [1, 1], others logits [1, 4]."""
    ends = [helper.make_tensor_value_info(o, TensorProto.FLOAT, [1, 1 if o[0] == "h" else 4]) for o in outputs]
    start = x or helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])
    tensors = [numpy_helper.from_array(np.asarray(w, np.float32), n) for n, w in weights.items()]
    graph = helper.make_graph(list(nodes), "g", [start], ends, tensors)
    imports = [helper.make_opsetid("", 17), *([helper.make_opsetid("own", 1)] if functions else [])]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8, functions=list(functions)), str(path))
    return path


def weight(*shape: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) / 2).astype(np.float32)


def masked(path: Path, *, second: int = 1, score: float = 1.0, mask: Sequence[float] = MASK) -> Path:
    """Two exits, the first with a mask on its logits, and a score h1 of the first."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Add", ["a", "mask"], ["z1"]),
        helper.make_node("MatMul", ["x", "s"], ["h1"]),
        helper.make_node("MatMul", ["x", "w2"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("MatMul", ["c", "w3"], ["z2"]),
    ]
    weights = {
        "w1": weight(8, 4),
        "w2": weight(8, 8, seed=second),
        "w3": weight(8, 4, seed=2),
        "mask": np.asarray(mask),
        "s": np.full((8, 1), score),
    }
    return save(path, nodes, weights, ("z1", "z2", "h1"))


def against(bundle: Bundle, source: Path, other: Path) -> VerificationSummary:
    """The bundle of one model, compared with the file of another."""
    exits = find_exits(read_model(source), ["z1", "z2"], ["h1"])
    original = Original(other, read_model(source), exits, False, lambda: read_model(source), None)
    return verify(bundle, Settings(), original, None, show_nothing)


@pytest.mark.parametrize(
    "criterion",
    ["max_softmax", "entropy", "normalized_entropy", "margin", "running_mean", "patience"],
)
def test_a_network_with_a_masked_class_compiles(criterion: str, tmp_path: Path) -> None:
    """And is compared, logits and scores."""
    path = masked(tmp_path / "m.onnx")
    verified = compile_model(path, tmp_path / "b", exits=["z1", "z2"], criterion=criterion, seconds=0).manifest.verified
    assert "original" == verified.reference
    assert 16 == verified.random_inputs
    assert verified.score_error is not None
    assert max(verified.staged_error, verified.fused_error, verified.score_error) <= 1e-5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"second": 5}, "mode by .* of the largest logit"),
        ({"mask": (0, 0, 0, 0)}, "by inf of the largest logit"),
        ({"mask": (0, 0, -np.inf, 0)}, "by inf of the largest logit"),
        ({"score": 1.01}, "a score in staged mode"),
    ],
)
def test_another_answer_than_the_files_is_found(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    """At any exit, behind a masked class too, and in the network's own scores."""
    source = masked(tmp_path / "m.onnx")
    bundle = compile_model(source, tmp_path / "b", exits=["z1", "z2"], scores=["h1"], criterion="learned", seconds=0)
    assert "original" == against(bundle, source, source).reference
    with pytest.raises(InternalError, match=told):
        against(bundle, source, masked(tmp_path / "other.onnx", **change))


def test_another_score_is_found_in_another_precision(tmp_path: Path) -> None:
    """Beside the network that was brought to it, in one piece."""
    source, other = masked(tmp_path / "m.onnx"), masked(tmp_path / "other.onnx", score=1.1)
    exits, scores = ["z1", "z2"], ["h1"]
    bundle = compile_model(
        source, tmp_path / "b", criterion="learned", exits=exits, scores=scores, precision="float16", seconds=0
    )
    assert (bundle.manifest.verified.score_error or 1) < 1e-3
    net, found = convert_precision(read_model(other), find_exits(read_model(other), exits, scores), "float16", None)
    net, _ = add_scores(net, found, criterion("learned"))
    original = Original(other, net, found, True, lambda: read_model(other), None)
    with pytest.raises(InternalError, match="a score in staged mode"):
        verify(bundle, Settings(precision="float16"), original, None, show_nothing)


def test_what_is_not_a_number_never_agrees() -> None:
    """Inf - inf is NaN, and max(0, NaN) is 0: both were taken for agreement."""
    one = np.ones(1, np.float32)
    row = np.array([1.0, -np.inf], np.float32)
    assert 0.0 == compute_difference(row, row, one)
    assert 0.5 == compute_difference(row + np.float32(0.5), row, one)
    for other in ([1.0, np.inf], [1.0, 0.0], [np.nan, -np.inf], [1.0, np.nan], [-np.inf, -np.inf]):
        assert np.inf == compute_difference(np.array(other, np.float32), row, one)
        assert np.inf == compute_difference(row, np.array(other, np.float32), one)


def test_inputs_that_the_file_refuses_are_left_out(tmp_path: Path) -> None:
    """Tokens beyond the table are no fault of the bundle."""
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["e"], axis=0),
        helper.make_node("ReduceMean", ["e"], ["m"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["m", "w1"], ["z1"]),
        helper.make_node("Tanh", ["m"], ["t"]),
        helper.make_node("MatMul", ["t", "w1"], ["z2"]),
    ]
    tokens = helper.make_tensor_value_info("x", TensorProto.INT64, [1, 6])
    path = save(tmp_path / "m.onnx", nodes, {"table": weight(3, 8), "w1": weight(8, 4)}, x=tokens)
    assert 12 == compile_model(path, tmp_path / "b", seconds=0).manifest.verified.random_inputs


def test_inputs_that_the_file_has_no_numbers_for_are_left_out(tmp_path: Path) -> None:
    """The root of a negative input is none."""
    nodes = [
        helper.make_node("Sqrt", ["x"], ["r"]),
        helper.make_node("MatMul", ["r", "w1"], ["z1"]),
        helper.make_node("Tanh", ["r"], ["t"]),
        helper.make_node("MatMul", ["t", "w1"], ["z2"]),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"w1": weight(8, 4)})
    assert 8 == compile_model(path, tmp_path / "b", seconds=0).manifest.verified.random_inputs


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_file_that_does_not_run_is_compared_as_it_was_rewritten(precision: str, tmp_path: Path) -> None:
    """An output that is no exit may be what ONNX Runtime has no kernel for; the bundle says what it was compared with."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["z1"]),
        helper.make_node("Tanh", ["x"], ["t"]),
        helper.make_node("MatMul", ["t", "w1"], ["z2"]),
        helper.make_node("Cast", ["t"], ["b"], to=TensorProto.BFLOAT16),
        helper.make_node("Sin", ["b"], ["s"]),
        helper.make_node("Cast", ["s"], ["all"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["all"], ["h3"], keepdims=1),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"w1": weight(8, 4)}, ("z1", "z2", "h3"))
    verified = compile_model(path, tmp_path / "b", exits=["z1", "z2"], precision=precision, seconds=0).manifest.verified
    assert "rewritten" == verified.reference
    assert "does not run the file" in " ".join(verified.remarks(precision))
    assert (verified.precision_error is None) == (precision == "float32")


def tiny(path: Path) -> Path:
    """Features of size 1e-9, scaled up again: below float16's smallest number."""
    nodes = [
        helper.make_node("MatMul", ["x", "w3"], ["z1"]),
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Mul", ["r", "k"], ["b"]),
        helper.make_node("Mul", ["b", "k"], ["c"]),
        helper.make_node("MatMul", ["c", "w3"], ["z2"]),
    ]
    return save(path, nodes, {"w1": weight(8, 8) * 2e-9, "w3": weight(8, 4), "k": 3e4})


def test_a_precision_that_leaves_nothing_of_the_answers_is_refused(tmp_path: Path) -> None:
    """Logits of 0, 0, 0, 0 agree with nothing but themselves."""
    path = tiny(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="in float16, exit 2 gives the same logit for every class"):
        compile_model(path, tmp_path / "b", precision="float16", seconds=0)
    assert not (tmp_path / "b").exists()


def test_logits_that_overflow_in_a_precision_are_refused(tmp_path: Path) -> None:
    """Infinite where the original's are numbers."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["z1"]),
        helper.make_node("Div", ["z1", "k"], ["z2"]),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"w1": weight(8, 4), "k": 1e-9})
    with pytest.raises(ModelError, match="in float16, exit 2 gives logits that are no finite numbers"):
        compile_model(path, tmp_path / "b", precision="float16", seconds=0)


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_a_bundle_in_another_precision_says_how_far_it_is_from_the_original(precision: str, tmp_path: Path) -> None:
    """The distance from the float32 file, not only from its own converted network."""
    path = masked(tmp_path / "m.onnx", mask=(0, 0, 0, 0))
    x = np.random.default_rng(0).random((8, 8), dtype=np.float32)
    bundle = compile_model(path, tmp_path / "b", exits=["z1", "z2"], precision=precision, inputs=x, seconds=0)
    verified = bundle.manifest.verified
    assert verified.precision_error is not None
    assert verified.same_labels is not None
    assert 1e-5 < verified.precision_error < 0.2
    assert 0.8 < verified.same_labels <= 1
    assert f"{precision} differs from the original" in verified.remarks(precision)[0]


def test_answers_far_from_the_originals_are_warned_of() -> None:
    """By label or by logit; near ones are not."""
    near = VerificationSummary(16, 0, 0.0, 0.0, "original", None, 1e-3, 1.0)
    assert () == near.warnings("int8")
    for far in (
        VerificationSummary(16, 0, 0.0, 0.0, "original", None, 1e-3, 0.5),
        VerificationSummary(16, 0, 0.0, 0.0, "original", None, 0.9, 1.0),
    ):
        assert "measure its accuracy" in far.warnings("int8")[0]


def test_manifests_of_before_are_read(tmp_path: Path) -> None:
    """They do not count for references and scores."""
    bundle = compile_model(masked(tmp_path / "m.onnx"), tmp_path / "b", exits=["z1", "z2"], seconds=0)
    document = to_document(bundle.manifest)
    for name in ("reference", "score_error", "precision_error", "same_labels"):
        del document["verified"][name]
    old = parse_manifest(document, "it").verified
    assert old.reference is None
    assert () == (*old.remarks("float32"), *old.warnings("float32"))


def test_stages_as_they_are_written_are_run_too(tmp_path: Path) -> None:
    """In a batch; single samples run others, cut from the optimised network, and would not see a stage that is wrong."""
    source = chain(tmp_path / "m.onnx", exits=3)
    bundle = compile_model(source, tmp_path / "b", seconds=0)
    file = bundle.file(bundle.manifest.stages[1].file)
    stage = onnx.load(str(file), load_external_data=False)
    gemm = next(n for n in stage.graph.node if "z2" in n.output)
    gemm.output[0] = "z2 before"
    stage.graph.node.insert(list(stage.graph.node).index(gemm) + 1, helper.make_node("Neg", ["z2 before"], ["z2"]))
    onnx.save(stage, str(file))
    exits = find_exits(read_model(source), ["z1", "z2", "z3"])
    original = Original(source, read_model(source), exits, False, lambda: read_model(source), None)

    with pytest.raises(InternalError, match=r"batch mode by .* of the largest logit"):
        verify(bundle, Settings(), original, None, show_nothing)


def gated(path: Path, epsilon: float) -> Path:
    """Two exits, the first with the logarithm of a probability as its score, kept finite by a tiny constant."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["z1"]),
        helper.make_node("Softmax", ["z1"], ["p"], axis=-1),
        helper.make_node("Add", ["p", "epsilon"], ["q"]),
        helper.make_node("Log", ["q"], ["l"]),
        helper.make_node("ReduceMin", ["l"], ["h1"], axes=[1], keepdims=1),
        helper.make_node("MatMul", ["z1", "w3"], ["z2"]),
    ]
    return save(path, nodes, {"w1": weight(8, 4), "w3": weight(4, 4), "epsilon": epsilon}, ("z1", "z2", "h1"))


def test_a_split_that_lost_a_tiny_constant_is_refused(tmp_path: Path) -> None:
    """On noise both agree; on saturated inputs one has a number and the other an infinity."""
    lost, kept = gated(tmp_path / "lost.onnx", 0.0), gated(tmp_path / "kept.onnx", 1e-10)
    bundle = compile_model(
        kept, tmp_path / "kept.eexit", exits=["z1", "z2"], scores=["h1"], criterion="learned", seconds=0
    )
    assert 16 == bundle.manifest.verified.random_inputs
    bundle = compile_model(
        lost, tmp_path / "lost.eexit", exits=["z1", "z2"], scores=["h1"], criterion="learned", seconds=0
    )

    with pytest.raises(InternalError, match="differs from the original"):
        against(bundle, lost, kept)


def test_a_learned_score_that_is_nearly_0_everywhere_may_differ_by_the_rounding_of_1(tmp_path: Path) -> None:
    """A sigmoid is exact to 6e-8, which is a large share of a score of 1e-5 and which no threshold sees."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["z1"]),
        helper.make_node("MatMul", ["z1", "s"], ["a"]),
        helper.make_node("Add", ["a", "low"], ["b"]),
        helper.make_node("Sigmoid", ["b"], ["h1"]),
        helper.make_node("MatMul", ["z1", "w3"], ["z2"]),
    ]
    weights = {"w1": weight(8, 4), "w3": weight(4, 4), "s": np.full((4, 1), 0.01), "low": -12.0}
    path = save(tmp_path / "m.onnx", nodes, weights, ("z1", "z2", "h1"))

    found = compile_model(path, tmp_path / "b", exits=["z1", "z2"], scores=["h1"], criterion="learned", seconds=0)

    assert found.manifest.verified.score_error is not None
