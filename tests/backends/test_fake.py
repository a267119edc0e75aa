"""The public fake: right answers with no runtime, scripted times, answers from tables."""

from __future__ import annotations

import numpy as np
import pytest

from edgeexit.backends import Settings, fake, find_backend
from edgeexit.bundle import Bundle
from edgeexit.errors import InputError
from edgeexit.runtime.loading import open_runner


def _sample(value: float) -> np.ndarray:
    return np.full((1, 3, 12, 12), value, np.float32)


@pytest.mark.parametrize("mode", ["staged", "fused"])
def test_stages_take_their_scripted_time(bundles: dict[str, Bundle], mode: str) -> None:
    """Leaving at exit k costs the sum of the first k stage times, on the test's own clock."""
    spent: list[float] = []
    script = fake.Script(stage_s=(1.0, 2.0, 4.0), wait=spent.append)
    with fake.play_script(script), open_runner(bundles["skips"], Settings("fake", mode)) as runner:
        sums = []
        for exit in (1, 2, 3):
            spent.clear()
            runner.forced(_sample(0.5), exit=exit)
            sums.append(sum(spent))
    assert [1.0, 3.0, 7.0] == sums


def test_the_backbone_takes_its_scripted_time(bundles: dict[str, Bundle]) -> None:
    """It has a time of its own."""
    spent: list[float] = []
    with (
        fake.play_script(fake.Script(backbone_s=5.0, wait=spent.append)),
        open_runner(bundles["skips"], Settings("fake")) as runner,
        runner.backbone() as backbone,
    ):
        backbone(_sample(0.5))
    assert [5.0] == spent


@pytest.mark.parametrize("mode", ["staged", "fused"])
def test_a_table_decides_what_is_answered(bundles: dict[str, Bundle], mode: str) -> None:
    """Scores and logits come from the row of the input; decisions follow from them."""
    inputs = np.stack([_sample(v)[0] for v in (0.1, 0.2, 0.3)])
    scores = np.array([[0.9, 0.9, 0.9], [0.1, 0.9, 0.9], [0.1, 0.1, 0.9]], np.float32)
    logits = np.zeros((3, 3, 10), np.float32)
    logits[np.arange(3), np.arange(3), [4, 5, 6]] = 1.0
    script = fake.Script(table=fake.OutputTable(inputs, scores, logits))
    with fake.play_script(script), open_runner(bundles["skips"], Settings("fake", mode)) as runner:
        runner.inner_thresholds = (0.5, 0.5)
        answers = [runner(x[None]) for x in inputs]
    assert [(1, 4), (2, 5), (3, 6)] == [(a.exit, a.label) for a in answers]


def test_an_input_that_the_table_lacks_is_refused(bundles: dict[str, Bundle]) -> None:
    """It is no silent guess."""
    empty = fake.OutputTable(
        np.zeros((0, 3, 12, 12), np.float32), np.zeros((0, 3), np.float32), np.zeros((0, 3, 10), np.float32)
    )
    with (
        fake.play_script(fake.Script(table=empty)),
        open_runner(bundles["skips"], Settings("fake")) as runner,
        pytest.raises(InputError, match="table holds 0 inputs"),
    ):
        runner(_sample(0.5))


def test_a_script_ends_with_its_block(bundles: dict[str, Bundle]) -> None:
    """What is opened after it plays nothing."""
    spent: list[float] = []
    with fake.play_script(fake.Script(stage_s=(1.0,), wait=spent.append)):
        pass
    with open_runner(bundles["skips"], Settings("fake")) as runner:
        runner.forced(_sample(0.5), exit=1)
    assert [] == spent


def test_scores_stay_finite_where_a_softmax_underflows() -> None:
    """Onnx's reference LogSoftmax gives -inf there, and the entropy would be NaN."""
    from edgeexit.conformance import run_conformance

    report = run_conformance("fake", networks=["lenet-digits"], samples=8, seconds=0)
    assert () == report.failures


def test_busy_waiting_is_not_early() -> None:
    """It waits at least as long as it was told to."""
    from time import perf_counter

    start = perf_counter()
    fake.wait_busily(0.001)
    assert perf_counter() - start >= 0.001


def test_it_is_found_by_name() -> None:
    """Like every backend."""
    assert "fake" == find_backend("fake").name
