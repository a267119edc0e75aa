"""The Python model that a repository for Triton has: the same answers and exits as the Runner, whatever requests its samples come in."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeexit.leaving import find_leaves
from edgeexit.runtime import load_quietly
from edgeexit.serving import export_triton
from edgeexit.serving.repository import copy_python_model
from tests.networks import images
from tests.support.triton_backend import Arrays, ModelFailed, Request, open_python_model, read_config, run_onnx_models

STAGES = [
    {"model": f"stage-{k}", "inputs": ["x"], "outputs": ["z", "s"], "logits": "z", "score": "s"} for k in (1, 2, 3)
]
CONFIG: dict[str, Any] = {
    "input": [{"name": "x"}, {"name": "threshold_1"}, {"name": "threshold_2"}],
    "parameters": {f"threshold_{k}": {"string_value": "0.5"} for k in (1, 2)},
}
SCORES = st.floats(width=32, allow_nan=True, allow_infinity=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose three stages answer with what the sample itself says: column k is the score of exit k."""
    folder = tmp_path_factory.mktemp("staged")
    (folder / "1").mkdir()
    copy_python_model("staged_model", folder / "1")
    (folder / "1/stages.json").write_text(json.dumps(STAGES))
    return folder


def read_scores(name: str, outputs: list[str], inputs: Arrays) -> Arrays:
    return {"z": inputs["x"], "s": inputs["x"][:, [int(name[-1]) - 1]]}


@given(scores=st.lists(st.tuples(SCORES, SCORES, SCORES), min_size=1, max_size=8), thresholds=st.tuples(SCORES, SCORES))
def test_samples_leave_by_the_rule_of_edgeexit(
    folder: Path, scores: list[tuple[float, ...]], thresholds: tuple[float, float]
) -> None:
    """For any scores and thresholds, NaN and infinite ones too, the exits are those of `edgeexit.leaving`."""
    x = np.array(scores, np.float32)
    asked = {f"threshold_{k}": np.full((len(x), 1), t, np.float32) for k, t in enumerate(thresholds, 1)}
    with open_python_model(folder, CONFIG, read_scores) as model:
        [response] = model.execute([Request({"x": x, **asked})])
    expected = find_leaves(x[:, :2].T, np.array(thresholds, np.float32))

    answer = response.arrays()
    assert (expected + 1).tolist() == answer["exit"][:, 0].tolist()
    assert np.array_equal(x, answer["logits"], equal_nan=True)
    assert np.array_equal(x[range(len(x)), expected], answer["score"][:, 0], equal_nan=True)


def test_each_request_keeps_its_own_thresholds(folder: Path) -> None:
    """Requests that the server has put together are answered apart, by the thresholds that each brings, in their order."""
    x = np.full((2, 3), 0.6, np.float32)
    never = {f"threshold_{k}": np.full((2, 1), math.inf, np.float32) for k in (1, 2)}
    with open_python_model(folder, CONFIG, read_scores) as model:
        responses = model.execute([Request({"x": x, **never}), Request({"x": x[:1]})])

    assert [[[3], [3]], [[1]]] == [response.arrays()["exit"].tolist() for response in responses]


def test_an_error_of_a_stage_is_the_answer(folder: Path) -> None:
    """It says which stage failed and why, instead of an answer of an earlier exit."""

    def fail(name: str, *_more: object) -> Arrays:
        raise ModelFailed("out of memory")

    with (
        open_python_model(folder, CONFIG, fail) as model,
        pytest.raises(ModelFailed, match="stage-1: out of memory"),
    ):
        model.execute([Request({"x": np.zeros((1, 3), np.float32)})])


def test_the_exported_stages_answer_as_the_runner_does(compiled: Path, tmp_path: Path) -> None:
    """The repository's stages, called by its Python model: exits and labels equal, logits to rounding."""
    x = images(64)
    with load_quietly(compiled) as runner:
        runner.thresholds = [1.197, 1.18]
        expected = runner.batch(x)
        export_triton(runner, tmp_path)
    staged = tmp_path / "chain-staged"
    with open_python_model(staged, read_config(staged), run_onnx_models(tmp_path)) as model:
        [response] = model.execute([Request({"x": x})])

    answer = response.arrays()
    assert {1, 2, 3} == {p.exit for p in expected}
    assert [p.exit for p in expected] == answer["exit"][:, 0].tolist()
    assert np.allclose([p.logits for p in expected], answer["logits"], atol=1e-5)
    assert np.allclose([-p.score for p in expected], answer["score"][:, 0], atol=1e-5)
