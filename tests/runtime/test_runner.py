"""The Runner gives the network's answers, leaves where the thresholds say, and refuses what it cannot take."""

from __future__ import annotations

import math
import pickle
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgeexit
from edgeexit.backends import Batch
from edgeexit.backends.host import make_aligned_array
from edgeexit.criteria import criterion
from edgeexit.errors import EdgeExitError, InputError, ModelError
from edgeexit.runtime import CalibrationWarning, Runner, Settings
from edgeexit.runtime.batch import leave_in_stages
from edgeexit.runtime.loading import open_runner
from tests.networks import images
from tests.support.examples import at_most


@pytest.fixture(scope="module")
def answers(model: Path) -> list[np.ndarray]:
    """Logits of every exit for 40 images, by the original model: the oracle."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return list(session.run(["z1", "z2", "z3"], {"x": images(40)}))


def expected_exit(scores: list[float], thresholds: list[float]) -> int:
    return next((k for k, (s, t) in enumerate(zip(scores, thresholds, strict=False), 1) if s <= t), len(scores))


def test_a_sample_leaves_at_the_first_exit_whose_entropy_is_at_most_its_threshold(
    runner: Runner, answers: list[np.ndarray]
) -> None:
    """Exit, label, score and logits are those that the original model's logits imply."""
    entropies = [criterion("entropy").score(z) for z in answers]  # type: ignore[misc]

    seen = set()
    for i, x in enumerate(images(40)):
        p = runner(x[None])
        exit = expected_exit([float(h[i]) for h in entropies], runner.thresholds)
        seen.add(exit)

        assert exit == p.exit
        assert int(answers[exit - 1][i].argmax()) == p.label
        assert float(entropies[exit - 1][i]) == pytest.approx(p.score, abs=1e-5)
        np.testing.assert_allclose(p.logits, answers[exit - 1][i], atol=1e-4 * np.abs(answers[exit - 1][i]).max())

    assert {1, 2, 3} == seen, "the thresholds of the fixture must exercise every exit"


@pytest.mark.parametrize("exit", [1, 2, 3])
def test_forced_leaves_at_the_given_exit_whatever_the_thresholds(
    runner: Runner, answers: list[np.ndarray], exit: int
) -> None:
    """The decision is overridden and nothing else: the logits are that exit's."""
    for i, x in enumerate(images(10)):
        p = runner.forced(x[None], exit=exit)

        assert exit == p.exit
        np.testing.assert_allclose(p.logits, answers[exit - 1][i], atol=1e-4 * np.abs(answers[exit - 1][i]).max())


def test_forcing_an_exit_does_not_change_what_later_calls_do(runner: Runner) -> None:
    """Results do not depend on earlier calls."""
    first = [runner(x[None]).exit for x in images(20)]
    for exit in (1, 2, 3):
        runner.forced(images(1), exit=exit)

    assert first == [runner(x[None]).exit for x in images(20)]


@pytest.mark.parametrize(
    ("own", "exit"), [([-math.inf, -math.inf], 3), ([math.inf, -math.inf], 1), ([-math.inf, math.inf], 2)]
)
def test_infinite_thresholds_mean_always_and_never_exactly(runner: Runner, own: list[float], exit: int) -> None:
    """For entropy, where lower means more confident, +inf lets every sample leave and -inf none."""
    runner.thresholds = own

    assert {exit} == {runner(x[None]).exit for x in images(10)}


def test_thresholds_are_given_and_shown_in_the_criterions_own_unit(runner: Runner) -> None:
    """Nats for entropy; the inner ones that engines see are their negatives, rounded to float32."""
    runner.thresholds = [0.1, 0.25]

    assert pytest.approx([0.1, 0.25]) == runner.thresholds
    assert (-float(np.float32(0.1)), -0.25) == runner.inner_thresholds


@given(count=st.integers(1, 12), seed=st.integers(0, 5), t=st.tuples(st.floats(1.15, 1.25), st.floats(1.1, 1.25)))
@settings(max_examples=at_most(25))
def test_batch_gives_what_one_by_one_gives_in_the_same_order(
    compiled: Path, count: int, seed: int, t: tuple[float, float]
) -> None:
    """Dropping leavers between stages changes neither answers nor order."""
    runner = edgeexit.runtime.loading.open_runner(edgeexit.Bundle.open(compiled), edgeexit.runtime.Settings())
    runner.thresholds = list(t)
    xs = images(count, seed)
    single = [runner(x[None]) for x in xs]

    many = runner.batch(xs)

    close = [any(abs(p.score - v) < 1e-4 for v in t) for p in single]
    assert [p.exit for p, c in zip(single, close, strict=True) if not c] == [
        p.exit for p, c in zip(many, close, strict=True) if not c
    ]
    for a, b in zip(single, many, strict=True):
        if a.exit == b.exit:
            np.testing.assert_allclose(a.logits, b.logits, atol=1e-4 * np.abs(a.logits).max())


@pytest.mark.parametrize("shape", [(), (3, 2), (2,)])
def test_a_stage_whose_outputs_do_not_fit_its_manifest_is_a_clear_error(compiled: Path, shape: tuple[int, ...]) -> None:
    """A damaged file that the manifest vouches for may give scores of any shape."""
    manifest = edgeexit.Bundle.open(compiled).manifest
    first = manifest.stages[0]

    class Odd(Batch):
        def run(self, stage: int, tensors: Mapping[str, Any]) -> dict[str, Any]:
            return {first.logits: np.zeros((3, manifest.classes), np.float32), first.score: np.zeros(shape, np.float32)}

    with pytest.raises(
        ModelError, match=r"does not fit its manifest: for 3 samples it gives .* Compile the bundle again"
    ):
        leave_in_stages(Odd(), manifest, {"x": images(3)}, [0.0, 0.0], -1)


def test_a_buffer_that_no_machine_has_is_a_clear_error() -> None:
    """A manifest or a model may claim any shape."""
    with pytest.raises(ModelError, match="needs 131072 GiB, more memory than this machine has"):
        make_aligned_array((1 << 45,), np.float32)


def test_replay_runs_every_exit_of_every_sample(runner: Runner, answers: list[np.ndarray]) -> None:
    """Inner scores [n, N] and logits [n, N, classes], whatever the thresholds are."""
    scores, logits = runner.replay(images(40))

    assert (40, 3) == scores.shape
    for k, z in enumerate(answers):
        np.testing.assert_allclose(logits[:, k], z, atol=1e-4 * np.abs(z).max())
        np.testing.assert_allclose(scores[:, k], -criterion("entropy").score(z), atol=1e-5)  # type: ignore[misc]


def test_the_backbone_is_the_last_exit_without_a_score(runner: Runner, answers: list[np.ndarray]) -> None:
    """No other head and no criterion runs, so there is no score to give."""
    with runner.backbone() as backbone:
        p = backbone(images(1))

    assert 3 == p.exit
    assert math.isnan(p.score)
    np.testing.assert_allclose(p.logits, answers[2][0], atol=1e-4 * np.abs(answers[2][0]).max())


def test_logits_belong_to_the_caller(runner: Runner) -> None:
    """A later call does not change an earlier answer."""
    p = runner(images(1, seed=1))
    kept = p.logits.copy()
    runner(images(1, seed=2))

    np.testing.assert_array_equal(kept, p.logits)


def test_clones_give_the_same_answers_at_the_same_time(runner: Runner) -> None:
    """Each thread has buffers of its own; the thresholds are copied and then independent."""
    xs = images(60)
    expected = [runner(x[None])[:2] for x in xs]
    results: dict[int, list[tuple[int, int]]] = {}

    def work(n: int, clone: Runner) -> None:
        results[n] = [clone(x[None])[:2] for x in xs]

    threads = [threading.Thread(target=work, args=(n, runner.clone())) for n in range(4)]
    runner.thresholds = [math.inf, math.inf]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert dict.fromkeys(range(4), expected) == results


def test_one_runner_may_be_called_from_many_threads(runner: Runner) -> None:
    """A lock serialises the calls, so no answer mixes two inputs."""
    xs = images(50)
    expected = [runner(x[None])[:2] for x in xs]
    wrong: list[int] = []

    def work() -> None:
        wrong.extend(i for i, x in enumerate(xs) if runner(x[None])[:2] != expected[i])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == wrong


def test_answers_do_not_depend_on_the_number_of_threads(compiled: Path) -> None:
    """Worker threads change when, never what: to the last bit, in either mode."""
    bundle = edgeexit.Bundle.open(compiled)
    for mode in ("staged", "fused"):
        with (
            open_runner(bundle, Settings(mode=mode)) as one,
            open_runner(bundle, Settings(mode=mode, threads=3)) as more,
        ):
            one.thresholds = more.thresholds = [1.197, 1.18]
            for x in images(20):
                alone, together = one(x[None]), more(x[None])
                assert (alone.exit, alone.score) == (together.exit, together.score)
                np.testing.assert_array_equal(alone.logits, together.logits)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (images(1)[0], r"must have shape \[1, 3, 8, 8\], not \[3, 8, 8\]. Add the batch dimension: x\[None\]"),
        (images(2), r"not \[2, 3, 8, 8\]. For several samples use runner.batch"),
        (images(1)[:, :2], r"must have shape \[1, 3, 8, 8\], not \[1, 2, 8, 8\]"),
        (images(1).astype(np.float64), r"must be float32, not float64"),
        (images(1).tolist(), r"must be a NumPy array, not list"),
        (np.where(images(1) > 1.5, np.nan, images(1)).astype(np.float32), r"holds \d+ NaN values out of 192"),
        ({"x": images(1), "y": images(1)}, r"'y' is no input"),
        ({"z": images(1)}, r"'x' is missing"),
    ],
)
def test_a_wrong_input_is_refused_with_what_is_wrong(runner: Runner, x: object, message: str) -> None:
    """Shape, dtype, kind, NaN and names each have their own words."""
    with pytest.raises(InputError, match=message):
        runner(x)  # type: ignore[arg-type]


def test_large_values_are_no_nan(runner: Runner) -> None:
    """The quick test for NaN may overflow; the values are then looked at one by one and taken."""
    x = np.full((1, 3, 8, 8), 1e30, np.float32)

    assert runner.forced(x, exit=1).exit == 1


def test_a_runner_cannot_be_pickled(runner: Runner) -> None:
    """It holds engines of this process; the message says what to do instead."""
    with pytest.raises(InputError, match="cannot be pickled: load the bundle in the other process"):
        pickle.dumps(runner)


def test_a_closed_runner_refuses_calls(compiled: Path) -> None:
    """Leaving the with block closes it."""
    with pytest.warns(CalibrationWarning), edgeexit.load(compiled) as runner:
        pass

    with pytest.raises(InputError, match="closed"):
        runner(images(1))


@pytest.mark.parametrize("values", [[0.1], [0.1, 0.2, 0.3], [0.1, math.nan]])
def test_thresholds_of_another_number_or_nan_are_refused(runner: Runner, values: list[float]) -> None:
    """One number per exit but the last."""
    with pytest.raises(InputError, match="thresholds must be 2 numbers"):
        runner.thresholds = values


@pytest.mark.parametrize("exit", [0, 4, -1])
def test_an_exit_that_does_not_exist_cannot_be_forced(runner: Runner, exit: int) -> None:
    """Exits count from 1."""
    with pytest.raises(InputError, match="exit must be 1 to 3"):
        runner.forced(images(1), exit=exit)


def test_without_a_calibration_a_bundle_never_leaves_early_and_says_so(compiled: Path) -> None:
    """The warning names the command that makes one, and the line that loaded."""
    with pytest.warns(CalibrationWarning, match="never leaves early. Run: edgeexit calibrate") as caught:
        runner = edgeexit.load(compiled)

    assert __file__ == caught[0].filename
    assert {3} == {runner(x[None]).exit for x in images(5)}


def test_a_deadline_without_a_calibration_is_refused(runner: Runner) -> None:
    """Without measured times nobody can promise to be in time."""
    with pytest.raises(InputError, match="a deadline needs the p99 of each exit"):
        runner(images(1), deadline_s=1.0)


@pytest.mark.parametrize("arguments", [{"mode": "fast"}, {"backend": "tensorflow"}, {"threads": 0}])
def test_unknown_settings_are_refused(compiled: Path, arguments: dict[str, object]) -> None:
    """Modes, backends and thread counts that do not exist."""
    with pytest.raises(EdgeExitError):
        edgeexit.load(compiled, **arguments)  # type: ignore[arg-type]


def test_answers_do_not_depend_on_earlier_calls(runner: Runner) -> None:
    """To the last bit, whatever was asked in between: another exit, a batch, a refusal."""
    xs = images(12)
    first = [runner(x[None]) for x in xs]
    for x in xs:
        runner.forced(x[None] * 1e4, exit=3)
        runner.batch(xs[:5] * -3)
        with pytest.raises(InputError):
            runner(np.full_like(x[None], np.nan))
    again = [runner(x[None]) for x in xs]

    assert [(p.exit, p.label, p.score) for p in first] == [(p.exit, p.label, p.score) for p in again]
    np.testing.assert_array_equal([p.logits for p in first], [p.logits for p in again])


def test_clones_share_what_batches_run_on(compiled: Path) -> None:
    """Sessions hold weights; each clone that asked for a batch had its own."""
    with open_runner(edgeexit.Bundle.open(compiled), Settings()) as runner, runner.clone() as other:
        for one in (runner, other):
            one.batch(images(2))
        sources = {id(one._batch_program()._source) for one in (runner, other)}  # type: ignore[attr-defined]

    assert 1 == len(sources)


def test_a_stage_more_costs_one_call_of_its_engine_and_one_score_read(compiled: Path) -> None:
    """Counted: a frame of Python, and two calls into C. What a call costs besides is the same at every exit."""
    with pytest.warns(CalibrationWarning):
        runner = edgeexit.load(compiled, mode="staged")
    x, counts = images(1), {}
    for k in (1, 2, 3):
        events: list[str] = []
        sys.setprofile(lambda _frame, event, _what, events=events: events.append(event))  # type: ignore[misc]
        try:
            runner.forced(x, exit=k)
        finally:
            sys.setprofile(None)
        counts[k] = Counter(events)
    assert counts[2]["call"] - counts[1]["call"] <= 1
    assert counts[3]["call"] - counts[2]["call"] <= 1
    assert counts[3]["c_call"] - counts[1]["c_call"] <= 4
