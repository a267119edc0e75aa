"""`edgeexit bench`, `compare` and `report` as a user types them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from edgeexit.cli.app import app
from edgeexit.errors import EdgeExitError, InputError
from edgeexit.measure import BenchResult, read_result
from edgeexit.measure import suites as suites_module
from edgeexit.measure.result.parts import ValidityReport
from edgeexit.runtime import Runner
from tests.networks import images

pytestmark = pytest.mark.filterwarnings(
    "ignore::edgeexit.runtime.CalibrationWarning"
)  # the bundle of the tests has none


@pytest.fixture
def data(tmp_path: Path) -> str:
    """A file of data that fits the bundle."""
    np.savez(tmp_path / "data.npz", x=images(20))
    return str(tmp_path / "data.npz")


def _run(arguments: Sequence[str]) -> Result:
    done = CliRunner().invoke(app, list(arguments))
    if isinstance(done.exception, EdgeExitError):  # main() prints it; see there
        done.exit_code = done.exception.exit_code
    return done


@pytest.fixture
def files(result: BenchResult, tmp_path: Path) -> tuple[str, str]:
    """A valid result, and one of a run with more threads."""
    valid = replace(result, validity=ValidityReport("valid"))
    other = replace(valid, subject=replace(valid.subject, threads=2))
    return str(valid.save(tmp_path / "a.json")), str(other.save(tmp_path / "b.json"))


@pytest.mark.slow
def test_bench_writes_what_it_prints(
    compiled: Path,
    suites: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The JSON on stdout is the result in the file."""
    monkeypatch.setattr(suites_module, "find_data_dir", lambda kind: suites)
    x = np.random.default_rng(0).normal(size=(20, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(20) % 4)
    out = tmp_path / "out.json"
    arguments = [
        "bench",
        str(compiled),
        "--data",
        str(tmp_path / "data.npz"),
        "--preset",
        "single",
        "--json",
        "-o",
        str(out),
    ]
    done = _run([*arguments, "--thresholds", "1.2,1.2", "--mode", "fused"])
    assert done.exit_code in {0, 1}, done.output
    document = json.loads(done.stdout)
    assert "edgeexit.bench/1" == document["schema"]
    assert document == read_result(out).to_document()


def test_a_bench_cut_short_after_its_processes_says_so(
    compiled: Path,
    result: BenchResult,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    data: str,
) -> None:
    """Exit code 130 as after any Ctrl-C, and the file holds what had been measured."""
    short = replace(result, cache=None, cache_reason="interrupted")
    monkeypatch.setattr("edgeexit.measure.bench_dataset", lambda *_, **__: short)
    out = tmp_path / "out.json"
    done = _run(["bench", str(compiled), "--data", data, "-o", str(out)])
    assert 130 == done.exit_code
    assert "interrupted" == read_result(out).cache_reason


def test_bench_closes_what_it_opened(compiled: Path, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides of --against, also when the measurement fails."""
    opened: list[Runner] = []

    def bench(runner: Runner, *_: object, against: Runner, **__: object) -> None:
        opened.extend((runner, against))
        raise InputError("enough")

    monkeypatch.setattr("edgeexit.measure.bench_dataset", bench)
    done = _run(["bench", str(compiled), "--data", data, "--against", str(compiled)])
    assert 2 == done.exit_code
    assert 2 == len(opened)
    for runner in opened:
        with pytest.raises(InputError, match="is closed"):
            runner(np.zeros((1, 3, 8, 8), np.float32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "quik"], "Did you mean 'quick'"),
        (["--power-log", "no-such-log.csv"], "cannot read the external meter's log"),
        (["--thresholds", "a,b"], "--thresholds must be numbers"),
        (["--rate", "0"], "a schedule needs"),
        (["--arrivals", "poisson"], "--arrivals needs --rate"),
    ],
)
def test_bench_refuses_bad_options(compiled: Path, data: str, options: list[str], message: str) -> None:
    """Exit code 2 and one message."""
    done = _run(["bench", str(compiled), "--data", data, *options])
    assert 2 == done.exit_code
    assert message in str(done.exception)


def test_compare_says_what_it_finds_and_fails_on_request(files: tuple[str, str]) -> None:
    """The same result twice: SAME or AMBIGUOUS, and never slower."""
    same = _run(["compare", files[0], files[0], "--json", "--fail-on", "slower"])
    assert 0 == same.exit_code
    assert json.loads(same.stdout)["comparison"]["verdict"] in {"SAME", "AMBIGUOUS"}
    assert 1 == _run(["compare", files[0], files[0], "--fail-on", "not-faster"]).exit_code


def test_compare_refuses_unlike_results(files: tuple[str, str]) -> None:
    """Unless the difference is meant."""
    refused = _run(["compare", *files])
    assert 2 == refused.exit_code
    assert "threads: 1 and 2" in str(refused.exception)
    assert 0 == _run(["compare", *files, "--vary", "threads"]).exit_code


def test_report_makes_a_page(files: tuple[str, str], tmp_path: Path) -> None:
    """And says where."""
    page = tmp_path / "report.html"
    done = _run(["report", files[0], "-o", str(page), "--json"])
    assert 0 == done.exit_code
    assert [str(page)] == json.loads(done.stdout)["files"]
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
