"""The fallback `most_confident`: a NumPy reference and ONNX nodes that must be one, and bundles that answer as the reference does."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import edgeexit
from edgeexit.bundle import Bundle
from edgeexit.bundle.manifest import parse_manifest
from edgeexit.calibration.device import replay_answers
from edgeexit.criteria import CRITERIA, ExitOutputs, criterion
from edgeexit.data import Dataset
from edgeexit.errors import BundleError, InputError, ModelError
from edgeexit.fallbacks import FALLBACKS, fallback, most_confident, most_confident_nodes
from edgeexit.graph.build import NodeBuilder
from edgeexit.runtime import CalibrationWarning, Runner
from edgeexit.runtime.answers import ExitAnswers, adapt_to_rounding
from edgeexit.util.documents import to_document
from tests.networks import chain, images

Array = NDArray[np.float32]
COMPUTED = [name for name, rule in CRITERIA.items() if not rule.learned]
EXITS = 4
COUNT = 12

numbers = st.floats(-1e4, 1e4, width=32)
scores_of_4_exits = arrays(np.float32, (5, EXITS), elements=st.one_of(numbers, st.sampled_from([0.5, np.nan, np.inf])))


@cache
def session(opset: int) -> ort.InferenceSession:
    """Inputs z1 ... z4 [n, 3] and s1 ... s4 [n]; outputs the answer and its score."""
    graph = onnx.GraphProto(name="fallback")
    rows: list[str | int | None] = ["n", 3]
    shapes = [*((f"z{k}", rows) for k in range(EXITS)), *((f"s{k}", rows[:1]) for k in range(EXITS))]
    graph.input.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes)
    names = [name for name, _ in shapes]
    made = most_confident_nodes(NodeBuilder(graph, opset, "last"), names[:EXITS], names[EXITS:])
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("opset", [11, 13, 18])
@settings(max_examples=30)
@given(scores=scores_of_4_exits, seed=st.integers(0, 99))
def test_nodes_and_numpy_agree(opset: int, scores: Array, seed: int) -> None:
    """To the last bit, with scores that are equal, infinite or NaN, under every spelling of the operators."""
    logits = np.random.default_rng(seed).standard_normal((5, EXITS, 3)).astype(np.float32)
    expected = most_confident(logits, scores)

    feeds = {f"z{k}": np.ascontiguousarray(logits[:, k]) for k in range(EXITS)}
    feeds |= {f"s{k}": np.ascontiguousarray(scores[:, k]) for k in range(EXITS)}
    answer, score = session(opset).run(None, feeds)

    np.testing.assert_array_equal(expected.logits[:, -1], answer)
    np.testing.assert_array_equal(expected.scores[:, -1], score)


@given(scores=scores_of_4_exits)
def test_only_the_last_exit_answers_with_anothers_logits(scores: Array) -> None:
    """Early exits keep theirs; the last one takes those of the highest score, of equal ones the latest, and NaN is never the highest."""
    logits = np.arange(5 * EXITS * 3, dtype=np.float32).reshape(5, EXITS, 3)

    found = most_confident(logits, scores)

    np.testing.assert_array_equal(logits[:, :-1], found.logits[:, :-1])
    np.testing.assert_array_equal(scores[:, :-1], found.scores[:, :-1])
    for row, known in enumerate(np.where(np.isnan(scores), -np.inf, scores)):
        best = max(range(EXITS), key=lambda k: (known[k], k))
        np.testing.assert_array_equal(logits[row, best], found.logits[row, -1])


def test_an_answer_below_every_threshold_is_that_of_the_most_confident_exit() -> None:
    """By hand: exit 1 gives its class 0.79, the last exit another class 0.58."""
    logits = np.array([[[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]], np.float32)
    rule = criterion("max_softmax")

    found = most_confident(logits, rule.answers(logits, [1.0, 2.0]).scores)

    assert 0 == found.logits[0, -1].argmax()
    assert 0.787 == pytest.approx(float(found.scores[0, -1]), abs=1e-3)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Networks of two, three and eight exits."""
    folder = tmp_path_factory.mktemp("networks")
    return {n: chain(folder / f"{n}.onnx", exits=n, width=8) for n in (2, 3, 8)}


def reference(path: Path, bundle: Bundle, xs: Array) -> ExitOutputs:
    """What every exit of the bundle must answer, from the file as it was given; scores in own units."""
    manifest = bundle.manifest
    names = [str(stage.output) for stage in manifest.stages]
    values = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(names, {"x": xs})
    rule, costs = criterion(manifest.criterion), np.cumsum([stage.macs or 0 for stage in manifest.stages])
    alone = rule.answers(np.stack(values, axis=1), costs.tolist())
    found = most_confident(alone.logits, np.float32(rule.sign) * alone.scores)
    return ExitOutputs(found.logits, np.float32(rule.sign) * found.scores)


def check_runner(runner: Runner, xs: Array, expected: ExitOutputs) -> None:
    """Forced to each exit, with thresholds that nothing reaches, in a batch and replayed."""
    for i in range(COUNT):
        for k in range(runner.exits):
            forced = runner.forced(xs[i : i + 1], exit=k + 1)
            np.testing.assert_allclose(forced.logits, expected.logits[i, k], atol=1e-4)
            assert expected.scores[i, k] == pytest.approx(forced.score, abs=1e-4)
    runner.thresholds = [runner.criterion.own(np.inf)] * (runner.exits - 1)
    for i, row in enumerate(runner.batch(xs)):
        free = runner(xs[i : i + 1])
        assert runner.exits == free.exit == row.exit
        for found in (free, row):
            np.testing.assert_allclose(found.logits, expected.logits[i, -1], atol=1e-4)
    scores, logits = runner.replay(xs)
    np.testing.assert_allclose(logits, expected.logits, atol=1e-4)
    np.testing.assert_allclose(runner.criterion.sign * scores, expected.scores, atol=1e-4)


@pytest.mark.parametrize(
    ("backend", "exits", "name"),
    [
        *(("onnxruntime", 3, name) for name in COMPUTED),
        ("onnxruntime", 2, "max_softmax"),
        ("onnxruntime", 8, "entropy"),
        ("openvino", 2, "entropy"),
        ("openvino", 3, "running_mean"),
    ],
)
def test_bundles_answer_as_the_reference_does(
    networks: dict[int, Path], backend: str, exits: int, name: str, tmp_path: Path
) -> None:
    """In both modes, one by one and in a batch; the backbone stays the last exit alone."""
    if backend == "openvino":
        pytest.importorskip("openvino")
    xs = images(COUNT)
    bundle = edgeexit.compile(
        networks[exits], tmp_path / "b", criterion=name, fallback="most_confident", backend=backend, seconds=0
    )
    expected = reference(networks[exits], bundle, xs)
    for mode in ("staged", "fused"):
        with pytest.warns(CalibrationWarning):
            runner = edgeexit.load(bundle.path, mode=mode, backend=backend)
        with runner, runner.backbone() as backbone:
            check_runner(runner, xs, expected)
            own = ort.InferenceSession(str(networks[exits])).run([f"z{exits}"], {"x": xs})[0]
            found = np.stack([backbone(xs[i : i + 1]).logits for i in range(COUNT)])
            np.testing.assert_allclose(found, own, atol=1e-4)


def test_early_exits_pay_nothing_for_it(networks: dict[int, Path], tmp_path: Path) -> None:
    """Their stages hold the same nodes with either fallback."""
    held = {}
    for name in FALLBACKS:
        bundle = edgeexit.compile(networks[3], tmp_path / name, criterion="margin", fallback=name, seconds=0)
        stages = [onnx.load(str(bundle.file(s.file)), load_external_data=False) for s in bundle.manifest.stages]
        held[name] = [[node.op_type for node in stage.graph.node] for stage in stages]
    assert held["last"][:-1] == held["most_confident"][:-1]
    assert held["last"][-1] != held["most_confident"][-1]


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_other_precisions_verify(networks: dict[int, Path], precision: str, tmp_path: Path) -> None:
    """Where rounding is coarse, which exit is the most confident may be decided by it."""
    bundle = edgeexit.compile(
        networks[3], tmp_path / "b", fallback="most-confident", precision=precision, inputs=images(8), seconds=0
    )
    assert bundle.manifest.verified.same_labels is not None
    assert 0.8 < bundle.manifest.verified.same_labels


def test_exits_that_give_probabilities_and_logits_answer_with_one_kind(tmp_path: Path) -> None:
    """A last exit that gives logits answers with the logarithm of an early exit's probabilities, never with these themselves."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Softmax", ["a"], ["p1"], axis=-1),
        helper.make_node("Mul", ["a", "small"], ["z2"]),
    ]
    weights = [
        helper.make_tensor("w", TensorProto.FLOAT, [3, 3], (3 * np.eye(3)).ravel()),
        helper.make_tensor("small", TensorProto.FLOAT, [1], [-0.01]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("p1", "z2")]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "g", [x], ends, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    edgeexit.compile(tmp_path / "m.onnx", tmp_path / "b", exits=["p1", "z2"], fallback="most_confident", seconds=0)
    with pytest.warns(CalibrationWarning):
        runner = edgeexit.load(tmp_path / "b")
    with runner:
        answer = runner.forced(np.array([[0, 1, 0]], np.float32), exit=2)
    assert 1 == answer.label
    assert answer.logits.max() < 0


def test_networks_whose_last_exit_has_no_score_cannot_learn_which_is_the_most_confident(tmp_path: Path) -> None:
    """A learned score and a probability are no measures of one thing; with a score at every exit it works."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z1"]),
        helper.make_node("Neg", ["z1"], ["z2"]),
        helper.make_node("ReduceMax", ["z1"], ["h1"], axes=[1], keepdims=1),
        helper.make_node("ReduceMin", ["z1"], ["h2"], axes=[1], keepdims=1),
    ]
    weights = [helper.make_tensor("w", TensorProto.FLOAT, [3, 3], np.random.default_rng(0).random(9))]
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", w])
        for n, w in (("z1", 3), ("z2", 3), ("h1", 1), ("h2", 1))
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "g", [x], ends, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    options: dict[str, Any] = {
        "criterion": "learned",
        "exits": ["z1", "z2"],
        "fallback": "most_confident",
        "seconds": 0,
    }

    with pytest.raises(ModelError, match=r"compares the scores of all exits, and the last exit \('z2'\) has no score"):
        edgeexit.compile(tmp_path / "m.onnx", tmp_path / "b", scores=["h1"], **options)
    edgeexit.compile(tmp_path / "m.onnx", tmp_path / "b", scores=["h1", "h2"], **options)

    with pytest.warns(CalibrationWarning):
        runner = edgeexit.load(tmp_path / "b")
    with runner:
        sample = np.array([[1, 2, 3]], np.float32)
        first, last = (runner.forced(sample, exit=k) for k in (1, 2))
    np.testing.assert_array_equal(first.logits, last.logits)
    assert first.score == last.score


def test_exits_that_rounding_cannot_tell_apart_may_either_answer() -> None:
    """A check of the split accepts the logits of any exit whose score is within the tolerance of the highest, and of no other."""
    logits = np.array([[3.0, 0.0], [0.0, 3.0], [1.0, 0.0]], np.float32)
    rule = criterion("max_softmax")
    scores = np.array([0.95, 0.95 - 1e-6, 0.7], np.float32)
    alone = ExitAnswers(logits, scores)
    made = most_confident(logits[None], scores[None])
    expected = ExitAnswers(made.logits[0], made.scores[0], alone)

    for k, allowed in enumerate((True, True, False)):
        found = ExitAnswers(np.stack([*logits[:2], logits[k]]), scores)
        taken = adapt_to_rounding(expected, found, 1e-4, rule).logits[-1]
        assert allowed == np.array_equal(taken, logits[k])


@pytest.mark.parametrize("name", ["max_softmax", "patience", "running_mean"])
def test_networks_whose_exits_are_equally_confident_compile(name: str, tmp_path: Path) -> None:
    """Two exits of the same probabilities for other classes, computed in two ways: rounding decides which of them answers."""
    rng = np.random.default_rng(1)
    first = (rng.standard_normal((64, 4)) / 4).astype(np.float32)
    part = rng.standard_normal((64, 4)).astype(np.float32)
    weights = {"first": first, "part": part, "rest": first[:, [1, 2, 3, 0]] - part}
    nodes = [
        helper.make_node("MatMul", ["x", name], [made]) for name, made in zip(weights, ("z1", "a", "b"), strict=True)
    ]
    nodes.append(helper.make_node("Add", ["a", "b"], ["z2"]))
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, ["n", 4]) for end in ("z1", "z2")]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])
    graph = helper.make_graph(nodes, "g", [x], ends, [numpy_helper.from_array(w, n) for n, w in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")

    bundle = edgeexit.compile(tmp_path / "m.onnx", tmp_path / "b", criterion=name, fallback="most_confident", seconds=0)

    assert bundle.manifest.verified.staged_error < 1e-4


def test_an_unknown_fallback_names_the_nearest_and_all(networks: dict[int, Path], tmp_path: Path) -> None:
    """Before anything is read; hyphens will do."""
    told = r"no fallback named 'most_confidant'. Did you mean 'most_confident'\? Fallbacks: last, most_confident\."
    with pytest.raises(InputError, match=told):
        edgeexit.compile(networks[2], tmp_path / "b", fallback="most_confidant")
    with pytest.raises(InputError, match="no fallback named None"):
        fallback(None)  # type: ignore[arg-type]
    assert "most_confident" == fallback("most-confident").name


def test_manifests_without_a_fallback_are_read_as_last(networks: dict[int, Path], tmp_path: Path) -> None:
    """Those of earlier versions, whose calibrations go on holding; another fallback is another network, and an unknown one a fault."""
    manifest = edgeexit.compile(networks[2], tmp_path / "b", seconds=0).manifest
    document = to_document(manifest)
    other = parse_manifest({**document, "fallback": "most_confident"}, "it")
    del document["fallback"]

    old = parse_manifest(document, "it")

    assert "last" == old.fallback
    assert old.network_sha256 == manifest.network_sha256 != other.network_sha256
    assert not manifest.agrees_with(other)
    with pytest.raises(BundleError, match="fallback must be one of last, most_confident, not 'first'"):
        parse_manifest({**document, "fallback": "first"}, "it")


@pytest.mark.parametrize(
    ("name", "chosen"),
    [("max_softmax", "most_confident"), ("running_mean", "last"), ("margin", "last")],
)
def test_replay_compares_with_the_backbone_itself(
    networks: dict[int, Path], name: str, chosen: str, tmp_path: Path
) -> None:
    """Drop and agreement are from the last exit alone, also where the answer of a sample that runs to the end is made of several exits."""
    xs = images(40)
    labels = np.random.default_rng(1).integers(0, 4, 40)
    edgeexit.compile(networks[3], tmp_path / "b", criterion=name, fallback=chosen, seconds=0)
    straight = ort.InferenceSession(str(networks[3])).run(["z3"], {"x": xs})[0].argmax(axis=1)
    with pytest.warns(CalibrationWarning):
        runner = edgeexit.load(tmp_path / "b")
    with runner:
        replayed = replay_answers(runner, Dataset("it", xs, labels))
        unlabelled = replay_answers(runner, Dataset("it", xs, None)).table

    np.testing.assert_array_equal(straight, replayed.backbone)
    np.testing.assert_array_equal(straight == labels, replayed.table.backbone_right)
    np.testing.assert_array_equal(replayed.answers == straight[:, None], replayed.table.agreement)
    np.testing.assert_array_equal(replayed.table.agreement, unlabelled.agreement)
    assert (name == "margin") == replayed.table.last_is_backbone == unlabelled.last_is_backbone
    assert replayed.table.take(np.arange(5)).backbone_right.tolist() == (straight == labels)[:5].tolist()
