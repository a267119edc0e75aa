"""The conformance suite over every backend that can run here, and what it says of a backend that is wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edgeexit.backends import Program, Settings, StagedProgram, fake, find_backend
from edgeexit.backends.base import BoundStage
from edgeexit.backends.example_inputs import make_random_inputs
from edgeexit.bundle import Bundle
from edgeexit.compiler.compilation import compile_model
from edgeexit.compiler.probe import open_model
from edgeexit.conformance import run_conformance
from edgeexit.conformance.networks import write_network
from edgeexit.errors import InputError, MissingExtra
from edgeexit.graph import read_model

SMALL = ("skips", "heads-feed-heads", "two-inputs")


def skip_where_missing(backend: str) -> None:
    """Skip a test of a backend whose package is not installed."""
    try:
        find_backend(backend)
    except MissingExtra as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    "backend", ["onnxruntime", *(pytest.param(name, marks=pytest.mark.slow) for name in ("openvino", "mnn", "fake"))]
)
def test_every_backend_passes_on_the_small_networks(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each backend gives the unsplit model's answers and decisions, staged and fused."""
    skip_where_missing(backend)
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path))
    report = run_conformance(backend, networks=SMALL, samples=12, seconds=0)
    assert () == report.failures
    assert report.passed


@pytest.mark.parametrize(
    "backend", ["onnxruntime", *(pytest.param(name, marks=pytest.mark.slow) for name in ("openvino", "mnn"))]
)
def test_every_installed_runtime_passes_on_the_shipped_network(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trained network too, whose scores lie close together where it is confident."""
    skip_where_missing(backend)
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path))
    report = run_conformance(backend, networks=["lenet-digits"], samples=60, seconds=0)
    assert () == report.failures


def test_the_report_is_a_document_that_can_be_sent_in() -> None:
    """It is JSON with its schema, device and versions, and times of both modes and the backbone."""
    report = run_conformance("onnxruntime", networks=["skips"], samples=8, seconds=0.05)
    document = json.loads(report.to_json())
    assert "edgeexit.conformance/1" == document["schema"]
    assert {"onnxruntime"} == set(document["versions"])
    times = next(c for r in document["results"] for c in r["checks"] if c["name"] == "times")
    assert {f"{mode}_{k}_s" for mode in ("staged", "fused") for k in (1, 2, 3)} | {"backbone_s"} == set(times["values"])


def test_unknown_networks_are_refused_with_those_that_exist() -> None:
    """The near miss is suggested."""
    with pytest.raises(InputError, match=r"no network named 'skip'. Did you mean 'skips'\?"):
        run_conformance("onnxruntime", networks=["skip"])


def test_a_network_that_does_not_compile_is_a_failed_check_and_the_suite_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that the document is written whatever one network does."""

    def compile_all_but_one(model: Path, *args: Any, **options: Any) -> Bundle:
        if model.stem == "skips":
            raise RuntimeError("the driver is gone")
        return compile_model(model, *args, **options)

    monkeypatch.setattr("edgeexit.conformance.suite.compile_model", compile_all_but_one)
    report = run_conformance("onnxruntime", networks=["skips", "heads-feed-heads"], samples=8, seconds=0)

    assert ("skips : it compiles and runs: RuntimeError: the driver is gone",) == report.failures
    assert any(r.network == "heads-feed-heads" and all(c.passed for c in r.checks) for r in report.results)


@pytest.mark.parametrize("network", ["alexnet-size", "resnet-size"])
def test_the_large_networks_stay_in_the_range_of_float16(network: str, tmp_path: Path) -> None:
    """Every tensor inside them does, with room to spare, so that they can be compiled with that precision."""
    path = write_network(network, tmp_path)
    net = read_model(path)
    names = [name for node in net.proto.graph.node for name in node.output]

    values = open_model(net, names)(make_random_inputs(net.inputs, 7))

    assert max(float(np.abs(v).max()) for v in values.values()) < np.finfo(np.float16).max / 100


def test_the_runtimes_version_does_not_hang_on_the_name_of_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a Jetson it is installed as onnxruntime-gpu, and no package is called onnxruntime."""

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert {"onnxruntime": onnxruntime.__version__} == find_backend("onnxruntime").versions()


class _Wrong(BoundStage):
    """A stage whose score is a little off, or whose logits are those of the run before."""

    def __init__(self, stage: BoundStage, fault: str) -> None:
        self._stage = stage
        self._fault = fault
        self.logits = np.zeros_like(stage.logits)
        self.score = np.zeros_like(stage.score)

    def run(self) -> None:
        if self._fault == "late":
            self.logits[...] = self._stage.logits
        self._stage.run()
        self.score[...] = self._stage.score + (0.3 if self._fault == "score" else 0)
        if self._fault == "nan":
            self.score[...] = np.nan
        if self._fault != "late":
            self.logits[...] = self._stage.logits


@pytest.mark.parametrize("fault", ["score", "late", "nan"])
def test_a_backend_with_a_fault_fails(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong scores, results read too early, NaN: each is found."""
    real = fake.FakeBackend.open_staged

    class WrongProgram(StagedProgram):
        def __init__(self, inner: StagedProgram) -> None:
            super().__init__(inner.inputs, [_Wrong(stage, fault) for stage in inner.stages])
            self._inner = inner

        def clone(self) -> Program:
            return WrongProgram(self._inner)

    def wrong(self: fake.FakeBackend, bundle: Bundle, settings: Settings) -> StagedProgram:
        return WrongProgram(real(self, bundle, settings))

    monkeypatch.setattr(fake.FakeBackend, "open_staged", wrong)
    report = run_conformance("fake", networks=["skips"], samples=8, seconds=0)
    assert not report.passed
    assert any("staged" in failure for failure in report.failures)
    assert not any("fused" in failure for failure in report.failures)


def test_rows_tell_pass_fail_and_not_run_apart() -> None:
    """For the table."""
    report = run_conformance("onnxruntime", networks=["skips"], samples=8, seconds=0.02)
    outcomes: Sequence[str] = [row[3] for row in report.rows()]
    assert {"pass", "-"} == set(outcomes)
