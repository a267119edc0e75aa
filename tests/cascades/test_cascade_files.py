"""Classifiers that scikit-learn, Keras and torch wrote become one network with exits, without torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeexit.cascades import CascadePlan, CascadeResult, PolicySettings, make_cascade
from edgeexit.cascades.outcome import CascadeOutcome
from edgeexit.criteria import softmax
from edgeexit.data import Dataset, load_data
from edgeexit.data.fingerprint import KEY, compute_fingerprint
from edgeexit.errors import InputError, ModelError
from edgeexit.graph import read_model
from edgeexit.graph.exits import find_exits
from tests.cascades.samples import make_samples

FILES = Path(__file__).parent / "files"
PATHS = [FILES / f"{name}.onnx" for name in ("logistic", "forest", "keras")]
"""Of skl2onnx with ZipMap, of skl2onnx without, of Keras: see make_files.py."""
QUICK = CascadePlan(cost="parameters", alpha=0.05, policy=PolicySettings(hidden=16, epochs=40))
FITTING = replace(QUICK, alpha=None)
"""At a price that is searched."""


@pytest.fixture(scope="module")
def samples() -> Dataset:
    """1,200 samples that no classifier has seen."""
    x, y = make_samples(1200, seed=2)
    return Dataset("samples", x, y)


@pytest.fixture(scope="module")
def made(samples: Dataset, tmp_path_factory: pytest.TempPathFactory) -> CascadeResult:
    """The cascade of the three files."""
    return make_cascade(PATHS, samples, tmp_path_factory.mktemp("cascade") / "c.onnx", QUICK)


def run(path: str | Path, x: NDArray[np.float32], *names: str) -> list[NDArray[np.float32]]:
    session = ort.InferenceSession(str(path))
    return list(session.run(list(names) or None, {session.get_inputs()[0].name: x}))


def write_linear(path: Path, *, classes: int = 4, features: int = 8, **options: Any) -> Path:
    """A linear classifier as torch exports one: logits, no metadata; on demand with another output or metadata."""
    x, y = make_samples(1000, seed=1)
    weights = (
        options.get("scale", 8)
        * np.linalg.lstsq(x[:, :features], np.eye(classes, dtype=np.float32)[y % classes], rcond=None)[0]
    )
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["logits"])],
        "main_graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [options.get("batch"), features])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [options.get("batch"), classes])],
        [numpy_helper.from_array(weights.astype(np.float32), "w")],
    )
    if options.get("second"):
        graph.node.append(helper.make_node("Neg", ["logits"], ["embedding"]))
        graph.output.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [None, classes]))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    for key in (KEY, "edgeexit.classes"):
        if isinstance(text := options.get(key), str):
            model.metadata_props.add(key=key, value=text)
    onnx.save(model, path)
    return path


# ---------------------------------------------------------------- what comes out


def test_every_exit_answers_as_its_classifier(made: CascadeResult, samples: Dataset) -> None:
    """Probabilities become their logarithms, lists of maps arrays; a sample by itself gives what it gives in a batch."""
    x = samples.x[:50]
    exits = run(made.path, x, "exit1", "exit2", "exit3")
    maps = run(PATHS[0], x, "output_probability")[0]

    np.testing.assert_allclose([[row[k] for k in range(4)] for row in maps], softmax(exits[0]), atol=1e-5)
    np.testing.assert_allclose(run(PATHS[1], x, "probabilities")[0], softmax(exits[1]), atol=1e-5)
    np.testing.assert_allclose(run(PATHS[2], x)[0], softmax(exits[2]), atol=1e-5)
    np.testing.assert_allclose(run(made.path, x[:1], "exit3")[0], exits[2][:1], atol=1e-5)
    assert ["probabilities"] * 3 == [c.answers for c in made.classifiers]


def test_the_file_says_where_its_exits_are_and_when_to_stop(made: CascadeResult) -> None:
    """Names, scores, criterion and thresholds, as `edgeexit compile` reads them."""
    exits = find_exits(read_model(Path(made.path)))

    assert [("exit1", "exit1_score"), ("exit2", "exit2_score"), ("exit3", None)] == [(e.logits, e.score) for e in exits]
    properties = {p.key: p.value for p in onnx.load(made.path).metadata_props}
    assert '{"name": "learned_mean", "thresholds": {"exit1": 0.5, "exit2": 0.5}}' == properties["edgeexit.criterion"]


def test_stopping_early_pays_for_all_classifiers_before(made: CascadeResult) -> None:
    """The mean cost is that of who stops where; the cascade is more accurate than the classifiers that most stop at."""
    paid = np.cumsum([c.cost for c in made.classifiers])
    stopped = [c.stopped for c in made.classifiers]

    assert made.cost == pytest.approx(float(np.dot(paid, stopped)))
    assert sum(stopped) == pytest.approx(1.0)
    assert made.cost < paid[-1]
    assert made.classifiers[1].accuracy < made.accuracy


def test_the_other_samples_are_kept_to_calibrate_on(made: CascadeResult, samples: Dataset) -> None:
    """Those that no policy was fitted on; the file knows the others, on which calibrating is refused."""
    rest = load_data(made.rest)

    assert (600, 600) == (made.fitted_on, len(rest))
    from edgeexit.data.fingerprint import read_fingerprint

    known = read_fingerprint(next(p.value for p in onnx.load(made.path).metadata_props if p.key == KEY))
    assert not known.find_shared(rest)
    assert 600 == len(known.find_shared(samples))


def test_logits_stay_logits(samples: Dataset, tmp_path: Path) -> None:
    """Of a torch export, also with a fixed batch of 1 beside classifiers of any batch."""
    fixed = write_linear(tmp_path / "torch.onnx", batch=1)

    made = make_cascade([fixed, PATHS[2]], samples, tmp_path / "c.onnx", FITTING)

    assert ["logits", "probabilities"] == [c.answers for c in made.classifiers]
    np.testing.assert_allclose(run(fixed, samples.x[:1])[0], run(made.path, samples.x[:1], "exit1")[0], atol=1e-6)


def test_cost_can_be_latency_or_operations(samples: Dataset, tmp_path: Path) -> None:
    """Operations count the policy, too; decision trees have none to count."""
    linear = write_linear(tmp_path / "torch.onnx")
    plan = replace(FITTING, cost="macs")

    made = make_cascade([linear, PATHS[2]], samples, tmp_path / "c.onnx", plan)

    policy = 4 * 16 + 16 * 16 + 16
    assert [8 * 4 + policy, 8 * 96 + 96 * 96 + 96 * 4] == [c.cost for c in made.classifiers]
    with pytest.raises(InputError, match=r"no MAC can be counted in .*forest\.onnx: take --cost latency"):
        make_cascade(PATHS, samples, tmp_path / "c.onnx", plan)


# ---------------------------------------------------------------- what is refused, and what is said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": 6}, "must take the same sample, and their inputs differ"),
        ({"classes": 3}, "their numbers of classes differ"),
        ({"edgeexit.classes": '["a", "b", "c", "d"]'}, "their classes are named, or ordered, otherwise"),
        ({"second": 1}, "several outputs that could be its answers"),
    ],
)
def test_classifiers_that_do_not_fit_together_are_refused(
    change: dict[str, Any], message: str, samples: Dataset, tmp_path: Path
) -> None:
    """With those of each in one message."""
    names: dict[str, Any] = {"edgeexit.classes": '["d", "c", "b", "a"]'} if "edgeexit.classes" in change else {}
    paths = [write_linear(tmp_path / "a.onnx", **names), write_linear(tmp_path / "b.onnx", **change)]

    with pytest.raises(ModelError, match=message) as caught:
        make_cascade(paths, samples, tmp_path / "c.onnx", QUICK)

    assert "b.onnx" in str(caught.value)
    assert not (tmp_path / "c.onnx").exists()


def test_an_output_can_be_named(samples: Dataset, tmp_path: Path) -> None:
    """Where several could hold the answers."""
    two = write_linear(tmp_path / "b.onnx", second=1)
    plan = replace(FITTING, outputs=("logits", "34"))

    assert "logits" == make_cascade([two, PATHS[2]], samples, tmp_path / "c.onnx", plan).classifiers[0].output


def test_samples_that_a_classifier_was_trained_on_are_refused(samples: Dataset, tmp_path: Path) -> None:
    """By the fingerprint that edgeexit's own trainings write; with `force` it is said."""
    metadata: dict[str, Any] = {KEY: compute_fingerprint(samples.take(slice(0, 50))).as_text()}
    trained = write_linear(tmp_path / "a.onnx", **metadata)

    with pytest.raises(InputError, match=r"a\.onnx was trained on \(50 of them are known\).*over-confident"):
        make_cascade([trained, PATHS[2]], samples, tmp_path / "c.onnx", QUICK)
    plan = replace(FITTING, force=True)
    assert "over-confident" in make_cascade([trained, PATHS[2]], samples, tmp_path / "c.onnx", plan).notes[0]


def test_a_classifier_without_any_error_is_suspicious(tmp_path: Path) -> None:
    """Nothing is known of its training data: the user is asked."""
    x, _ = make_samples(1200, seed=2)
    answers = run(PATHS[2], x)[0].argmax(-1)

    made = make_cascade(PATHS, Dataset("own answers", x, answers), tmp_path / "c.onnx", QUICK)

    assert "keras.onnx is right on every one of 600 samples: if it was trained on them" in made.notes[0]


@pytest.mark.parametrize(
    ("alpha", "message"),
    [
        (50.0, "with alpha 50 all samples stop at the first classifier.*--alpha 10"),
        (1e-9, "no sample stops before the last classifier.*--alpha 5e-09"),
    ],
)
def test_a_price_that_decides_nothing_is_refused(alpha: float, message: str, samples: Dataset, tmp_path: Path) -> None:
    """One message, with which way to go."""
    paths = [write_linear(tmp_path / "a.onnx"), PATHS[2]]

    with pytest.raises(InputError, match=message):
        make_cascade(paths, samples, tmp_path / "c.onnx", replace(QUICK, alpha=alpha))


def test_a_cascade_that_no_price_makes_useful_is_refused(samples: Dataset, tmp_path: Path) -> None:
    """A classifier that is equally unsure of every sample says nothing about which it is right on."""
    blind = write_linear(tmp_path / "a.onnx", scale=0)

    with pytest.raises(InputError, match=r"at every alpha from 0\.003125 to 0\.8 .* of no use"):
        make_cascade([blind, PATHS[2]], samples, tmp_path / "c.onnx", FITTING)


def test_a_single_classifier_that_is_better_is_found() -> None:
    """As accurate as the cascade and no dearer; the cheapest of them."""
    outcome = CascadeOutcome(600, (0.8, 0.9, 0.91), (1.0, 4.0, 5.0), (0.1, 0.2, 0.7), 0.9, 0.89, 8.1)

    assert 1 == outcome.find_better_single()
    assert replace(outcome, accuracy=0.92).find_better_single() is None
    assert replace(outcome, cost=3.9).find_better_single() is None


def test_an_order_that_is_not_by_cost_is_said(samples: Dataset, tmp_path: Path) -> None:
    """The cascade is made as it is given all the same."""
    made = make_cascade([PATHS[0], PATHS[2], PATHS[1]], samples, tmp_path / "c.onnx", QUICK)

    assert any(
        note.endswith("forest.onnx costs less than the classifier before it: name the cheapest first.")
        for note in made.notes
    )


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (PATHS[:1], "two classifiers or more"),
        ([PATHS[0], Path("missing.onnx")], "there is no file"),
        ([PATHS[0], Path(__file__)], "is not an ONNX model"),
    ],
)
def test_files_that_are_no_classifiers_are_refused(
    paths: list[Path], message: str, samples: Dataset, tmp_path: Path
) -> None:
    """Before anything is run."""
    with pytest.raises(InputError, match=message):
        make_cascade(paths, samples, tmp_path / "c.onnx", QUICK)


def test_few_samples_are_refused(samples: Dataset, tmp_path: Path) -> None:
    """Policies fitted on a handful hold for nothing."""
    with pytest.raises(InputError, match="has 20 samples; 100 or more are needed"):
        make_cascade(PATHS, samples.take(slice(0, 20)), tmp_path / "c.onnx", QUICK)
