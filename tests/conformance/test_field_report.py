"""A report from another machine in one file: `edgeexit doctor --backend NAME --bundle FILE`, read by `edgeexit doctor FILE`."""

from __future__ import annotations

import getpass
import json
import socket
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgeexit import conformance
from edgeexit.backends import Settings, find_backend
from edgeexit.backends.self_check import SelfCheck
from edgeexit.bundle import Bundle
from edgeexit.cli.app import app
from edgeexit.conformance import NetworkChecks, run_conformance
from edgeexit.conformance.field_report import FieldReport, read_field_report, remove_private, write_field_report
from edgeexit.conformance.findings import explain_field_report
from edgeexit.errors import InputError
from edgeexit.hardware.checks import MachineCheck
from tests.support.simulated import Gpu, installed


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of ONNX Runtime on this machine, as a user writes it."""
    path = tmp_path_factory.mktemp("sent") / "report.zip"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conformance, "NETWORKS", ("skips",))
        patch.setattr("edgeexit.conformance.run_conformance", partial(run_conformance, seconds=0.05))
        patch.setenv("EDGEEXIT_SECRET", "an environment value")
        command = ["doctor", "--backend", "onnxruntime", "--quick", "--samples", "8", "--bundle", str(path)]
        assert 0 == CliRunner().invoke(app, command).exit_code
    return path


def _explain(report: FieldReport, *, status: str) -> dict[str, MachineCheck]:
    return {finding.name: finding for finding in explain_field_report(report) if finding.status == status}


def test_one_file_holds_versions_checks_times_and_layers(sent: Path) -> None:
    """All that someone elsewhere has to know."""
    report = read_field_report(sent)
    assert "onnxruntime" in report.packages
    assert "python" in report.packages
    assert report.conformance is not None
    assert report.conformance.passed
    assert report.layers is not None
    assert any("Conv" in layer for layer in report.layers["stage 1"])
    assert any(check.name == "times" for check in report.conformance.checks)
    assert {check.name for check in report.checks} > {"backend onnxruntime"}


def test_nothing_in_it_is_private(sent: Path) -> None:
    """No environment values, no folders of the user, neither user nor machine by name."""
    with zipfile.ZipFile(sent) as bundle:
        text = "".join(bundle.read(name).decode() for name in bundle.namelist())
    assert "an environment value" not in text
    assert str(Path.home()) + "/" not in text
    assert str(sent.parent) not in text
    for word in {getpass.getuser(), socket.gethostname()} - {"root", "localhost", "user", "ubuntu"}:
        assert f'"{word}' not in text
        assert f" {word} " not in text


def test_private_words_and_paths_are_replaced_and_those_of_the_system_stay() -> None:
    """Which file of the system is missing is needed; whose folder it was is not."""
    said = {"a": ["/home/ada/x/net.onnx, /tmp/ada-1/b of ada at box", 'see "/proc/device-tree/model"'], "n": 1.5}
    found = remove_private(said, {"ada": "<user>", "box": "<machine>"})
    assert {"a": ["…/net.onnx, …/b of <user> at <machine>", 'see "/proc/device-tree/model"'], "n": 1.5} == found


def test_a_report_without_faults_says_so(sent: Path) -> None:
    """Exit code 0; what is only to look at on this machine does not count."""
    result = CliRunner().invoke(app, ["doctor", str(sent)])
    assert 0 == result.exit_code, result.output
    assert "0 faults" in result.output
    document = json.loads(CliRunner().invoke(app, ["doctor", str(sent), "--json"]).stdout)
    assert "edgeexit.field-findings/1" == document["schema"]
    assert "onnxruntime" == document["backend"]


def test_what_failed_there_is_said_in_plain_words(sent: Path, tmp_path: Path) -> None:
    """Once per check, with the networks, the values, and what to do; exit code 1."""
    report = read_field_report(sent)
    assert report.conformance is not None
    wrong = SelfCheck("nothing is left over from the input before", False, "3 of 8 changed")
    results = (*report.conformance.results, *(NetworkChecks("skips", mode, (wrong,)) for mode in ("staged", "fused")))
    broken = replace(report, conformance=replace(report.conformance, results=results))
    finding = _explain(broken, status="fail")[wrong.name]
    assert "work is read before it is done (skips staged, skips fused): 3 of 8 changed" in finding.found
    write_field_report(tmp_path / "broken.zip", broken)
    assert 1 == CliRunner().invoke(app, ["doctor", str(tmp_path / "broken.zip")]).exit_code


def test_a_backend_that_does_not_run_there_has_a_report_too(tmp_path: Path) -> None:
    """That is when one is needed most."""
    path = tmp_path / "report.zip"
    assert 1 == CliRunner().invoke(app, ["doctor", "--backend", "tensorrt", "--bundle", str(path)]).exit_code
    report = read_field_report(path)
    assert report.conformance is None
    faults = _explain(report, status="fail")
    assert "because of: backend tensorrt" in faults["conformance"].found
    assert faults["backend tensorrt"].fix


def test_versions_that_do_not_go_together_are_named(sent: Path) -> None:
    """CUDA 13's packages on JetPack 6; two builds of ONNX Runtime in one folder."""
    report = read_field_report(sent)
    packages = {"onnxruntime": "1.23.2", "onnxruntime-gpu": "1.23.0", "cuda-bindings": "13.5.0"}
    found = _explain(replace(report, packages=packages, facts={"l4t": "36.4.3"}), status="warn")
    assert "cuda-python<13" in found["CUDA packages"].fix
    assert "onnxruntime, onnxruntime-gpu" in found["ONNX Runtime"].found


def test_a_decider_that_cannot_be_had_and_slow_stages_are_remarks(sent: Path) -> None:
    """Answers are right; time is lost."""
    report = read_field_report(sent)
    assert report.conformance is not None
    name = "decides: (c) GPU, conditional graph"
    unavailable = SelfCheck(name, None, "not available: needs CUDA 12.4; this driver speaks 12.2")
    slow = SelfCheck("times", None, "", {"staged_1_s": 1e-5, "staged_2_s": 3e-5, "backbone_s": 2e-5})
    suite = replace(report.conformance, results=(NetworkChecks("skips", "", (unavailable, slow)),))
    found = _explain(replace(report, conformance=suite), status="warn")
    assert "12.2" in found[name].found
    assert "1.50 times as long" in found["times"].found


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_what_is_no_report_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """Another file, another zip, a report of a later version."""
    path = tmp_path / "other.zip"
    if content is None:
        with zipfile.ZipFile(path, "w") as bundle:
            bundle.writestr("report.json", '{"schema": "edgeexit.field-report/9"}')
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"other\.zip"):
        read_field_report(path)


def test_a_report_needs_a_backend(tmp_path: Path) -> None:
    """Nothing runs for a file that would stay empty."""
    result = CliRunner().invoke(app, ["doctor", "--bundle", str(tmp_path / "r.zip")])
    assert isinstance(result.exception, InputError)
    assert "--backend" in str(result.exception)


def test_tensorrt_tells_its_layers_and_its_log(bundles: dict[str, Bundle], engine_cache: Path) -> None:
    """By its engine inspector and its logger."""
    with installed(Gpu()):
        backend = find_backend("tensorrt")
        layers = backend.list_layers(bundles["heads-feed-heads"], Settings("tensorrt"))
        assert ["stage 1", "stage 2", "stage 3"] == list(layers)
        assert any("Conv" in layer for layer in layers["stage 1"])
        assert isinstance(backend.read_log(), tuple)
