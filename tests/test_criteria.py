"""Every criterion is two things that must be one: a NumPy function and ONNX nodes."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgeexit.criteria import CRITERIA, Criterion, ExitOutputs, criterion, entropy, max_softmax, normalized_entropy
from edgeexit.errors import InputError
from edgeexit.graph.build import NodeBuilder
from tests.support.examples import at_most

Array = NDArray[np.float32]

COMPUTED = [c for c in CRITERIA.values() if c.takes_logits]
OF_LOGITS = [c for c in COMPUTED if not c.learned]
COSTS = (1.0, 2.5, 7.0, 7.5)
OWN = np.array([0.25, 0.0, 0.875, 0.5], np.float32)  # the network's own scores, of criteria that take them
OPSETS = (11, 13, 18)

finite = st.floats(-1e4, 1e4, width=32)
classes_of_few_sessions = st.sampled_from([2, 3, 6])
logits_of_4_exits = classes_of_few_sessions.flatmap(lambda n: arrays(np.float32, (3, 4, n), elements=finite))


@cache
def session(name: str, classes: int, opset: int) -> ort.InferenceSession:
    """The nodes of a criterion for four exits: inputs z1..z4 [n, classes] and h1..h3 [n], outputs a1, s1, ... a4, s4."""
    rule = CRITERIA[name]
    graph = onnx.GraphProto(name=name)
    state: tuple[str, ...] = ()
    for k in range(1, 5):
        z = f"z{k}"
        graph.input.append(helper.make_tensor_value_info(z, TensorProto.FLOAT, ["n", classes]))
        builder = NodeBuilder(graph, opset, f"exit{k}")
        own = f"h{k}" if rule.learned and k < 4 else None
        if own is not None:
            graph.input.append(helper.make_tensor_value_info(own, TensorProto.FLOAT, ["n"]))
        if rule.combine_nodes is not None:
            answer, score, state = rule.combine_nodes(builder, z, own, state, COSTS[:k])
        else:
            assert rule.nodes is not None
            answer, score = z, rule.nodes(builder, z, classes)
        for label, source in ((f"a{k}", answer), (f"s{k}", score)):
            graph.node.append(helper.make_node("Identity", [source], [label]))
            graph.output.append(helper.make_tensor_value_info(label, TensorProto.FLOAT, None))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def in_numpy(rule: Criterion, logits: NDArray[np.floating], own: Array = OWN) -> ExitOutputs:
    """What the reference gives, scores in own units."""
    return rule.answers(logits, COSTS, np.broadcast_to(own, (len(logits), 4)))


def in_graph(rule: Criterion, logits: Array, opset: int = 18, own: Array = OWN) -> ExitOutputs:
    """What the nodes give, scores in own units."""
    feeds = {f"z{k}": np.ascontiguousarray(logits[:, k - 1]) for k in range(1, 5)}
    if rule.learned:
        feeds |= {f"h{k + 1}": np.ascontiguousarray(np.broadcast_to(own, (len(logits), 4))[:, k]) for k in range(3)}
    values = session(rule.name, logits.shape[2], opset).run(None, feeds)
    answers, inner = np.stack(values[0::2], axis=1), np.stack(values[1::2], axis=1)
    return ExitOutputs(answers, np.asarray(rule.sign * inner, np.float32))


@pytest.mark.parametrize("rule", COMPUTED, ids=lambda r: r.name)
@settings(max_examples=at_most(15))
@given(logits=logits_of_4_exits)
def test_nodes_and_numpy_agree(rule: Criterion, logits: Array) -> None:
    """For logits of up to ±1e4, under every spelling of the operators."""
    expected = in_numpy(rule, logits)

    for opset in OPSETS:
        note(f"operator set {opset}")
        actual = in_graph(rule, logits, opset)

        np.testing.assert_allclose(actual.scores, expected.scores, atol=2e-6, rtol=1e-5)
        np.testing.assert_allclose(actual.logits, expected.logits, atol=1e-4, rtol=1e-5)
        assert np.isfinite(actual.scores).all()
        assert np.isfinite(actual.logits).all()


def bounds(rule: Criterion, classes: int) -> tuple[float, float]:
    """Smallest and largest score that the unit can mean, for four exits."""
    return {
        "entropy": (0.0, float(np.log(classes))),
        "normalized_entropy": (0.0, 1.0),
        "max_softmax": (1 / classes, 1.0),
        "margin": (0.0, 1.0),
        "running_mean": (1 / classes, 1.0),
        "patience": (1.0, 4.0),
        "learned_mean": (0.0, 1.0),
    }[rule.name]


@pytest.mark.parametrize("rule", COMPUTED, ids=lambda r: r.name)
@settings(max_examples=at_most(30))
@given(logits=logits_of_4_exits)
def test_scores_stay_within_what_their_unit_can_mean(rule: Criterion, logits: Array) -> None:
    """An entropy of up to ln(classes), a probability of at least 1/classes, a number of exits."""
    low, high = bounds(rule, logits.shape[2])

    scores = in_numpy(rule, logits).scores

    assert low - 1e-5 <= scores.min()
    assert scores.max() <= high + 1e-5


@pytest.mark.parametrize("rule", OF_LOGITS, ids=lambda r: r.name)
@pytest.mark.parametrize("height", [100.0, 1e4, 1e30])
def test_one_class_at_probability_one_is_as_sure_as_can_be(rule: Criterion, height: float) -> None:
    """No NaN from 0 · ln 0, in neither form."""
    logits = np.zeros((1, 4, 5), np.float32)
    logits[:, :, 2] = height
    low, high = bounds(rule, 5)
    most_confident = low if rule.sign < 0 else high

    for answers in (in_numpy(rule, logits), in_graph(rule, logits)):
        assert most_confident == pytest.approx(float(answers.scores[0, 3]), abs=1e-6)
        assert 2 == answers.logits[0, 3].argmax()


@pytest.mark.parametrize("rule", COMPUTED, ids=lambda r: r.name)
@settings(max_examples=at_most(30))
@given(logits=arrays(np.float16, (2, 4, 4), elements=st.floats(-60000, 60000, width=16)))
def test_float16_logits_are_scored_in_float32(rule: Criterion, logits: NDArray[np.float16]) -> None:
    """The largest float16 is nothing special to float32."""
    answers = in_numpy(rule, logits)

    assert np.float32 == answers.scores.dtype == answers.logits.dtype
    np.testing.assert_array_equal(in_numpy(rule, logits.astype(np.float32)).scores, answers.scores)
    assert np.isfinite(answers.scores).all()


@pytest.mark.parametrize("rule", COMPUTED, ids=lambda r: r.name)
@settings(max_examples=at_most(30))
@given(logits=logits_of_4_exits)
def test_infinite_thresholds_mean_always_and_never(rule: Criterion, logits: Array) -> None:
    """Exactly, for every score of finite logits; in the criterion's own units too."""
    inner = rule.sign * in_graph(rule, logits).scores

    assert (inner >= -np.inf).all()
    assert not (inner >= np.inf).any()
    always = np.inf if rule.sign < 0 else -np.inf
    assert (-np.inf, np.inf) == (rule.inner(always), rule.inner(-always))


@pytest.mark.parametrize("rule", [c for c in OF_LOGITS if c.name != "patience"], ids=lambda r: r.name)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_never_sure(rule: Criterion, bad: float) -> None:
    """The score is NaN, NaN >= t is false: the sample goes on, whatever the threshold."""
    logits = np.zeros((1, 4, 3), np.float32)
    logits[0, 0, 1] = bad
    with np.errstate(invalid="ignore"):
        expected = in_numpy(rule, logits).scores[0, 0]

    assert np.isnan(expected)
    assert np.isnan(in_graph(rule, logits).scores[0, 0])


@pytest.mark.parametrize("rule", COMPUTED, ids=lambda r: r.name)
@settings(max_examples=at_most(15))
@given(logits=logits_of_4_exits, masked=st.sampled_from([1, 18]))
def test_a_masked_class_is_as_if_it_were_not_there(rule: Criterion, logits: Array, masked: int) -> None:
    """A logit of -inf has probability 0, and 0 · ln 0 is 0: every score is that of the other classes."""
    mask = np.full((*logits.shape[:2], masked), -np.inf, np.float32)
    alone = in_numpy(rule, logits)
    expected = alone.scores
    if rule.name == "normalized_entropy":
        expected = expected * np.float32(np.log(logits.shape[2]) / np.log(logits.shape[2] + masked))

    with_mask = np.concatenate([logits, mask], axis=2)
    for answers in (in_numpy(rule, with_mask), *(in_graph(rule, with_mask, opset) for opset in OPSETS)):
        np.testing.assert_allclose(answers.scores, expected, atol=2e-6, rtol=1e-5)
        np.testing.assert_allclose(answers.logits[:, :, : logits.shape[2]], alone.logits, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("rule", [c for c in OF_LOGITS if c.name != "patience"], ids=lambda r: r.name)
def test_a_sample_whose_classes_are_all_masked_is_never_sure(rule: Criterion) -> None:
    """There is nothing to choose from: NaN, in both modes."""
    logits = np.full((1, 4, 20), -np.inf, np.float32)
    with np.errstate(invalid="ignore"):
        assert np.isnan(in_numpy(rule, logits).scores).all()
    assert np.isnan(in_graph(rule, logits).scores).all()


@pytest.mark.parametrize("rule", OF_LOGITS, ids=lambda r: r.name)
def test_logits_at_both_ends_of_float32_have_a_score(rule: Criterion) -> None:
    """Their difference is beyond float32; the lower one's probability is 0 all the same."""
    logits = np.tile(np.array([3e38, -3e38, 0.0, -1e38], np.float32), (1, 4, 1))
    with np.errstate(over="ignore"):
        expected = in_numpy(rule, logits)

    assert bounds(rule, 4)[0 if rule.sign < 0 else 1] == pytest.approx(float(expected.scores[0, 3]))
    np.testing.assert_allclose(in_graph(rule, logits).scores, expected.scores)


def test_entropy_has_the_sign_that_its_definition_has() -> None:
    """BranchyNet prints Σ p ln p; entropy is its negative: ln 4 for four equal classes, 0 for one."""
    assert np.log(4) == pytest.approx(float(entropy(np.zeros((1, 4), np.float32))[0]))
    assert 1.0 == pytest.approx(float(normalized_entropy(np.zeros((1, 4), np.float32))[0]))
    assert -1 == criterion("entropy").sign


@given(a=st.floats(-1000, 1000), b=st.floats(-1000, 1000))
def test_inner_scores_are_higher_for_more_confidence(a: float, b: float) -> None:
    """For every criterion of one exit: a larger lead of the best class is a higher inner score, or an equal one by rounding."""
    lead = sorted([abs(a), abs(b)])
    logits = np.array([[lead[0], 0, 0], [lead[1], 0, 0]], np.float32)
    for rule in COMPUTED:
        if rule.score is not None:
            less, more = rule.sign * rule.score(logits)
            assert less <= more + 1e-6


def test_running_mean_weighs_each_exit_by_its_cost() -> None:
    """By hand: (1·p1 + 3·p2) / 4, and that mean is the answer too."""
    p = np.array([[[0.9, 0.1], [0.2, 0.8]]], np.float32)

    answers = criterion("running_mean").answers(np.log(p), [1.0, 3.0])

    mean = (p[0, 0] + 3 * p[0, 1]) / 4
    np.testing.assert_allclose(np.exp(answers.logits[0, 1]), mean, rtol=1e-6)
    assert float(mean.max()) == pytest.approx(float(answers.scores[0, 1]))
    np.testing.assert_allclose(np.exp(answers.logits[0, 0]), p[0, 0], rtol=1e-6)


@pytest.mark.parametrize("opset", OPSETS)
@settings(max_examples=at_most(30))
@given(logits=logits_of_4_exits, own=arrays(np.float32, (3, 4), elements=st.floats(0, 1, width=32)))
def test_learned_mean_is_one_thing_for_every_stopping_probability(opset: int, logits: Array, own: Array) -> None:
    """In NumPy and in the graph: scores are the network's own, 1 at the last exit, and every answer is one distribution."""
    rule = criterion("learned_mean")

    expected, actual = in_numpy(rule, logits, own), in_graph(rule, logits, opset, own)

    np.testing.assert_array_equal(np.concatenate([own[:, :3], np.ones((3, 1))], axis=1), actual.scores)
    np.testing.assert_array_equal(actual.scores, expected.scores)
    np.testing.assert_allclose(np.exp(actual.logits), np.exp(expected.logits), atol=1e-6)
    np.testing.assert_allclose(np.exp(actual.logits).sum(axis=-1), 1, atol=1e-5)


def test_learned_mean_weighs_each_exit_by_its_stopping_probability() -> None:
    """By hand: exit 1 answers by itself, exit 2 (0.5·p1 + 0.25·p2) / 0.75, and the last one counts as 1 whatever its score is."""
    p = np.array([[[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]], np.float32)

    answers = criterion("learned_mean").answers(np.log(p), COSTS[:3], np.array([[0.5, 0.25, 0.1]], np.float32))

    means = [p[0, 0], (0.5 * p[0, 0] + 0.25 * p[0, 1]) / 0.75, (0.5 * p[0, 0] + 0.25 * p[0, 1] + p[0, 2]) / 1.75]
    np.testing.assert_allclose(np.exp(answers.logits[0]), means, rtol=1e-6)
    assert [0.5, 0.25, 1.0] == answers.scores[0].tolist()


def test_learned_mean_of_exits_that_never_stop_counts_them_alike() -> None:
    """0 / 0 is no answer: the mean of the exits so far is, and the last exit, whose probability is 1, then answers alone."""
    p = np.array([[[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]], np.float32)

    answers = criterion("learned_mean").answers(np.log(p), COSTS[:3], np.zeros((1, 3), np.float32))

    np.testing.assert_allclose(np.exp(answers.logits[0]), [p[0, 0], p[0, :2].mean(axis=0), p[0, 2]], rtol=1e-6)


def test_patience_counts_exits_that_agree_in_a_row() -> None:
    """By hand: a run starts at 1 and starts anew where the best class changes; ties go to the first class."""
    best = [0, 0, 1, 1]
    logits = np.eye(2, dtype=np.float32)[best][None]
    logits[0, 1] = 0.0  # a tie: the first class

    answers = criterion("patience").answers(logits, COSTS)

    assert [1, 2, 1, 2] == answers.scores[0].tolist()
    np.testing.assert_array_equal(logits, answers.logits)


def test_learned_scores_are_the_networks_own() -> None:
    """There is nothing to compute from logits; given, they stay what they are."""
    logits, own = np.zeros((1, 2, 3), np.float32), np.array([[3.0, -1.0]], np.float32)
    for name in ("learned", "learned_mean"):
        assert criterion(name).learned
        with pytest.raises(InputError, match="own scores"):
            criterion(name).answers(logits, [1.0, 2.0])

    np.testing.assert_array_equal(own, criterion("learned").answers(logits, [1.0, 2.0], own).scores)


def test_an_unknown_criterion_names_the_nearest_and_all() -> None:
    """As every list of names does."""
    with pytest.raises(
        InputError, match=r"no criterion named 'entropie'. Did you mean 'entropy'\? Criteria: entropy, "
    ):
        criterion("entropie")


@given(value=st.floats(allow_nan=False))
def test_own_and_inner_units_are_each_others_inverse(value: float) -> None:
    """A threshold that is read back is the one that was set."""
    for rule in CRITERIA.values():
        assert value == rule.own(rule.inner(value))


def test_max_softmax_of_equal_logits_is_one_over_classes() -> None:
    """The least sure it can be."""
    assert 0.25 == pytest.approx(float(max_softmax(np.zeros((1, 4), np.float32))[0]))


def test_a_criterion_may_be_written_with_hyphens() -> None:
    """`max-softmax` is what people type; the name in files stays `max_softmax`."""
    assert criterion("max-softmax") is criterion("max_softmax")
    assert criterion("running-mean").name == "running_mean"
