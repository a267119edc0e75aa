"""A real Triton server with an exported repository: answers and exits over gRPC are the Runner's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.serving._triton import TritonServer, run_triton
from edgeexit import RemoteLimits
from edgeexit.runtime import Runner, load_quietly
from edgeexit.runtime.remote.runner import RemoteRunner
from edgeexit.serving import export_triton
from tests.networks import images
from tests.support.benchmark_scripts import run_benchmark

pytest.importorskip("pytriton", reason="nvidia-pytriton, which has the server, is not installed: make test-serving")

SAMPLES = 1000


@pytest.fixture(scope="module")
def opened(compiled: Path) -> Runner:
    """The bundle with thresholds that let some samples leave at each exit."""
    runner = load_quietly(compiled)
    runner.thresholds = [1.197, 1.18]
    return runner


@pytest.fixture(scope="module")
def triton(opened: Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server that has loaded the whole repository, stages run by the Python backend."""
    folder = tmp_path_factory.mktemp("triton")
    export_triton(opened, folder / "repository", stages="python")
    with run_triton(folder / "repository", folder) as server:
        yield server


@pytest.fixture(scope="module")
def client(triton: TritonServer) -> Any:
    """A client of it over gRPC."""
    return triton.client


def ask(client: Any, model: str, **arrays: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """One request; its outputs by name."""
    from tritonclient.grpc import InferInput

    inputs = [InferInput(name, array.shape, "FP32").set_data_from_numpy(array) for name, array in arrays.items()]
    response = client.infer(model, inputs)
    return {name: response.as_numpy(name) for name in ("logits", "exit", "score")}


@pytest.mark.parametrize("batch", [1, 32])
def test_batches_are_answered_as_by_the_runner(client: Any, opened: Runner, batch: int) -> None:
    """A thousand samples in batches of 1 and of 32: every label and every exit, the logits to rounding."""
    x = images(SAMPLES)
    expected = opened.batch(x)
    parts = [ask(client, "chain-staged", x=x[i : i + batch]) for i in range(0, SAMPLES, batch)]
    logits, exits, scores = (np.concatenate([part[name] for part in parts]) for name in ("logits", "exit", "score"))

    assert {1, 2, 3} == {p.exit for p in expected}
    assert [p.exit for p in expected] == exits[:, 0].tolist()
    assert [p.label for p in expected] == logits.argmax(axis=1).tolist()
    assert np.allclose([p.logits for p in expected], logits, atol=1e-5)
    assert np.allclose([-p.score for p in expected], scores[:, 0], atol=1e-5)


@pytest.mark.parametrize("served", ["chain-staged", "chain-fused"])
def test_a_request_may_bring_other_thresholds(client: Any, served: str) -> None:
    """Thresholds of -inf and +inf force the first and the last exit; with none, the calibrated ones hold."""
    x, shape = images(1), (1, 1) if served == "chain-staged" else (1,)

    def force(first: float) -> int:
        thresholds = {
            "threshold_1": np.full(shape, first, np.float32),
            "threshold_2": np.full(shape, np.inf, np.float32),
        }
        return int(ask(client, served, x=x, **thresholds)["exit"].item())

    assert [1, 3] == [force(-np.inf), force(np.inf)]
    assert ask(client, "chain-fused", x=x)["exit"].item() == ask(client, "chain-staged", x=x)["exit"].item()


@pytest.mark.parametrize("stages", [[3], [2, 3]])
@pytest.mark.parametrize("over", ["http", "grpc"])
def test_a_runner_has_its_last_stages_in_the_server(
    triton: TritonServer, opened: Runner, compiled: Path, stages: list[int], over: str
) -> None:
    """Boundary tensors in binary: the answers are those of the network in one place."""
    x = images(40)
    models = {"http": triton.models_url, "grpc": triton.grpc_url}[over]
    urls = {stage: f"{models}/chain-stage-{stage}" for stage in stages}
    runner = load_quietly(compiled, remote=urls, remote_limits=RemoteLimits(timeout_s=60))
    assert isinstance(runner, RemoteRunner)
    with runner:
        runner.thresholds = opened.thresholds
        runner.check_remote(x[:2])
        found = [*runner.batch(x[:32]), *(runner(x[i : i + 1]) for i in range(32, 40))]

    assert [(p.exit, p.label, False) for p in opened.batch(x)] == [(p.exit, p.label, p.fallback) for p in found]


def test_a_wrong_shape_is_refused_by_the_server(client: Any) -> None:
    """The configuration says what the model takes, so that the server refuses what it cannot run."""
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException, match="unexpected shape"):
        ask(client, "chain-staged", x=np.zeros((1, 3, 9, 9), np.float32))


def test_the_benchmark_finds_the_same_answers_whichever_way_it_asks(tmp_path: Path) -> None:
    """`python -m benchmarks triton` on the shipped network: rows for one sample and for 32 at once, each with all answers compared."""
    short = ("--case", "lenet-digits", "--thresholds", "0.3", "--seconds", "0.05", "--repeats", "2", "--samples", "64")
    found = run_benchmark("triton", tmp_path / "a.json", *short)
    rows = [row for rows in found["rows"].values() for row in rows]

    assert {(1, "Triton, fused"), (32, "Triton, staged"), (32, "last stage in edgeexit serve, HTTP")} <= {
        (row["batch"], row["way"]) for row in rows
    }
    assert {(64, 64, 64)} == {(row["compared"], row["same_exit"], row["same_label"]) for row in rows}
    assert all(0 < rate < 1 for rate in found["exit_rates"])
    assert all(row["ci95"] and row["p50_s"] > 0 for row in rows)
