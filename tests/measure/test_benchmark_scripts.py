"""The benchmark scripts run on the shipped network, each by its one command, and record what they found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import common
from edgeexit.errors import InputError
from tests.support.benchmark_scripts import ROOT, run_benchmark

_SHORT = ("--case", "lenet-digits", "--thresholds", "0.5", "--seconds", "0.1", "--repeats", "2")


def test_the_scripts_are_listed() -> None:
    """With what each is for."""
    done = subprocess.run([sys.executable, "-m", "benchmarks"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in ("side_by_side", "exit_tax", "same_answers", "sensitivity", "coverage"))


def test_the_answers_are_the_same(tmp_path: Path) -> None:
    """Staged, fused and original, on every sample of the shipped test slice."""
    found = run_benchmark("same_answers", tmp_path / "a.json", *_SHORT)
    assert "edgeexit.benchmark.same_answers/1" == found["schema"]
    assert all(mode["same_answers"] for mode in found["modes"].values())


def test_the_exit_tax_is_taken_of_every_exit_and_mode(tmp_path: Path) -> None:
    """Each beside a model of its own."""
    found = run_benchmark("exit_tax", tmp_path / "a.json", *_SHORT)
    assert {(k, mode) for k in (1, 2) for mode in ("fused", "staged")} == {
        (e["exit"], e["mode"]) for e in found["exits"]
    }
    assert {"backbone", "own 1", "own 2", "engine 1", "engine 2"} <= found["lanes"].keys()


def test_the_harness_is_asked_what_it_can_tell_apart(tmp_path: Path) -> None:
    """As often as wished."""
    found = run_benchmark("sensitivity", tmp_path / "a.json", *_SHORT, "--rounds", "1", "--bench-rounds", "0")
    assert {"the same", "slowed by 5 %", "the same, by edgeexit bench --against"} == found["verdicts"].keys()
    assert {"the same", "slowed by 5 %"} == found["as_wanted"].keys()


def test_intervals_are_held_against_simulated_truth(tmp_path: Path) -> None:
    """Each claim by itself; two hundred runs are enough to see a gross fault."""
    found = run_benchmark("coverage", tmp_path / "a.json", "--runs", "200")
    assert 8 == len(found["claims"])
    assert all(claim["accepted"] for claim in found["claims"]), found["claims"]


def test_every_way_to_run_the_network_gives_the_same_labels(tmp_path: Path) -> None:
    """Those that leave early leave where we do; what cannot run here says why."""
    pytest.importorskip("torch")
    from torch._dynamo import config

    with config.patch(disable=True):  # torch.compile runs no C++ compiler
        found = run_benchmark("side_by_side", tmp_path / "a.json", *_SHORT)
    early = [variant["agreement"] for variant in found["lanes"].values() if variant["agreement"]["exit"] is not None]
    assert len(early) >= 4
    assert all(agreement["label"] >= 0.995 and agreement["exit"] >= 0.995 for agreement in early)
    assert all(reason for reason in found["not_run"].values())


def test_an_unknown_case_is_one_message(tmp_path: Path) -> None:
    """With the cases there are."""
    command = [sys.executable, "-m", "benchmarks", "same_answers", "--case", "nothing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "no benchmark case named 'nothing'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_case_says_what_it_is() -> None:
    """Its data stand in its case.toml; of BranchyNet's its network and exits as well, and whose plain network it shares."""
    cases = {path.parent.name: common.find_case(path.parent.name) for path in common.HERE.glob("models/*/model.onnx")}

    assert {"lenet", "alexnet", "resnet", ""} == {case.network for case in cases.values()}
    assert all(case.plain for case in cases.values() if case.network)
    light = cases["alexnet-light-cifar10"]
    assert (light.exits, light.test, light.plain) == ("light", "cifar10:test", cases["alexnet-cifar10"].plain)


def test_the_name_of_a_case_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder may be called anything; what its case.toml does not say is not guessed."""
    folder = tmp_path / "models" / "resnet-cascade-cifar10"
    folder.mkdir(parents=True)
    (folder / "model.onnx").touch()
    (folder / "case.toml").write_text('data = "mnist"')
    monkeypatch.setattr(common, "HERE", tmp_path)

    case = common.find_case("resnet-cascade-cifar10")

    assert ("mnist:calibration", "", "", None) == (case.calibration, case.network, case.exits, case.plain)


def test_an_unknown_fact_of_a_case_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the near miss."""
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "model.onnx").touch()
    (folder / "case.toml").write_text('data = "mnist"\nnetwrok = "lenet"')
    monkeypatch.setattr(common, "HERE", tmp_path)

    with pytest.raises(InputError, match=r"netwrok is unknown\. Did you mean 'network'"):
        common.find_case("mine")


def test_precisions_are_timed_and_judged_beside_the_first(tmp_path: Path) -> None:
    """Every exit of each; the first beside itself is exactly alike."""
    found = run_benchmark("precisions", tmp_path / "a.json", *_SHORT, "--precisions", "float32,int8")["precisions"]
    assert [1.0, 1.0] == [e["ratio"] for e in found["float32"]["exits"]]
    assert [0.0, 0.0] == [e["change"]["mean"] for e in found["float32"]["exits"]]
    assert all(e["ratio"] > 0 and e["accuracy"] > 0.9 for e in found["int8"]["exits"])
    assert found["int8"]["bytes"] < found["float32"]["bytes"]
