"""Requests of the V2 protocol as `edgeexit serve` reads them: whatever comes, an answer or a reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeexit.errors import InputError
from edgeexit.runtime import Runner, load_quietly
from edgeexit.runtime.remote.protocol import decode_response, encode_request
from edgeexit.runtime.remote.wire import WIRES, compress
from edgeexit.serving.server.engines import ServedBundle, StageModel
from edgeexit.serving.server.messages import BadRequest
from tests.networks import images


@pytest.fixture(scope="module")
def opened(compiled: Path) -> Iterator[Runner]:
    with load_quietly(compiled, mode="staged") as runner:
        yield runner


@pytest.fixture(scope="module")
def served(opened: Runner) -> ServedBundle:
    """Stages 2 and 3 as models."""
    return ServedBundle.open(opened.bundle, opened.settings, [2, 3], name="net", workers=1, max_batch=8)


@pytest.fixture(scope="module")
def stage(served: ServedBundle) -> StageModel:
    return served.models["net-stage-3"]


def test_names_are_parts_of_urls(opened: Runner) -> None:
    """Another one would name models that no request reaches."""
    for name in ("", "a/b", "a b"):
        with pytest.raises(InputError, match="--name"):
            ServedBundle.open(opened.bundle, opened.settings, [3], name=name, workers=1, max_batch=8)


@pytest.mark.parametrize("wire", WIRES)
def test_a_stage_answers_from_the_inputs_too(
    opened: Runner, served: ServedBundle, stage: StageModel, wire: str
) -> None:
    """The stages before it run first; in fewer bytes the answer is the same to the rounding of what was sent."""
    x = images(8)
    _, logits = opened.replay(x)
    body, length = encode_request(compress({"x": x}, wire), stage.outputs)
    found = decode_response(*served.answer(stage, body, length), stage.outputs, 8)

    scale = np.abs(logits[:, 2]).max()
    assert np.allclose(logits[:, 2], found["z3"], atol=scale * {"float32": 1e-5, "float16": 0.005, "int8": 0.05}[wire])


def test_samples_in_few_bytes_do_not_depend_on_their_batch() -> None:
    """Each has a scale of its own."""
    rng = np.random.default_rng(0)
    t = (rng.normal(size=(4, 3, 2)) * np.array([1e-3, 1, 50, 0])[:, None, None]).astype(np.float32)
    together = compress({"t": t}, "int8")
    alone = [compress({"t": t[i : i + 1]}, "int8") for i in range(4)]

    for name in ("t", "t:scale"):
        assert np.array_equal(together[name], np.concatenate([one[name] for one in alone]))
    error = np.abs(together["t"] * together["t:scale"][:, None, None] - t).max(axis=(1, 2))
    assert (error <= np.abs(t).max(axis=(1, 2)) / 127 / 2 * (1 + 1e-5)).all()


def test_json_is_answered_in_json(served: ServedBundle, stage: StageModel) -> None:
    """Only the outputs that are asked for, with the request's id; numbers where no bytes are asked for."""
    request = {
        "id": "7",
        "inputs": [{"name": "x", "shape": [1, 3, 8, 8], "datatype": "FP32", "data": images(1).ravel().tolist()}],
        "outputs": [{"name": "z3"}],
    }
    content, length = served.answer(stage, json.dumps(request).encode(), None)
    answer = json.loads(content)

    assert length is None
    assert ("7", ["z3"], 4) == (answer["id"], [o["name"] for o in answer["outputs"]], len(answer["outputs"][0]["data"]))


def _one(**changes: Any) -> bytes:
    entry = {"name": "x", "shape": [1, 3, 8, 8], "datatype": "FP32", "data": [0.0] * 192}
    return json.dumps({"inputs": [{**entry, **changes}]}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x80\x04\x95.",
        b"[" * 10_000,
        b"[]",
        b'{"inputs": 3}',
        b'{"inputs": []}',
        b'{"inputs": [{"name": []}]}',
        _one(name="y"),
        _one(datatype="FP64"),
        _one(datatype="INT8"),
        _one(shape=[1, 3, 8, 9]),
        _one(shape=[0, 3, 8, 8], data=[]),
        _one(shape=[9, 3, 8, 8], data=[0.0] * 192 * 9),
        _one(shape=[True, 3, 8, 8]),
        _one(shape=5),
        _one(shape=[1, 3, 8, 8], data=[1]),
        _one(data=["a"] * 192),
        _one(data=None),
        _one(parameters={"binary_data_size": 768}),
        _one()[:-1] + b', "outputs": [{"name": "nothing"}]}',
        _one()[:-1] + b', "outputs": 5}',
        _one()[:-1] + b', "outputs": [{"name": ["z3"]}]}',
        _one()[:-1] + b', "parameters": 5}',
        json.dumps({"inputs": [{"name": "x:scale", "shape": [1], "datatype": "FP32", "data": [1]}]}).encode(),
    ],
    ids=range(24),
)
def test_whatever_comes_is_refused_with_a_reason(served: ServedBundle, stage: StageModel, body: bytes) -> None:
    """Texts, other names, types, shapes and sizes, and none that is missing; the engines stay usable."""
    with pytest.raises(BadRequest, match=r"input|output|protocol|needs"):
        served.answer(stage, body, None)

    served.answer(stage, _one(), None)
