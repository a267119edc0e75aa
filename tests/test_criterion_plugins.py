"""Criteria that other packages bring: found by their entry point, compiled, calibrated, and not needed where a bundle runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import edgeexit
from edgeexit.bundle import Bundle
from edgeexit.cli.app import app
from edgeexit.criteria import CRITERIA, criterion, find_known_criterion, list_criteria
from edgeexit.errors import InputError
from tests.networks import images
from tests.support.distributions import install_distribution, install_documented_criterion
from tests.support.manifests import write_manifest

HEAD = "import numpy as np\nfrom edgeexit.criteria import Criterion, max_softmax\n"
LOWER = """
def nodes(b, logits, classes):
    best = b.reduce("ReduceMax", b.node("Softmax", [logits], axis=-1))
    return b.node("Sub", [best, b.constant(np.float32(1))])

def score(logits):
    return np.float32(1) - max_softmax(logits)

RULE = Criterion("doubt", "probability", "the best class misses at most T", -1, score, nodes)
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str | None, name: str, value: str = "") -> None:
    """A package of one criterion on the path; its module has the name of the folder, so that no test finds another's."""
    module = f"plugin_{abs(hash(folder))}"
    install_distribution(folder / "site", module, source, {name: value or f"{module}:RULE"})
    monkeypatch.syspath_prepend(folder / "site")


@pytest.fixture
def doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed criterion whose lower score is the more confident."""
    install(tmp_path, monkeypatch, HEAD + LOWER, "doubt")


@pytest.mark.usefixtures("doubt")
def test_a_plugin_is_found_by_name() -> None:
    """After those of edgeexit; hyphens will do; it knows where it is from."""
    assert (*CRITERIA, "doubt") == list_criteria()
    assert ("probability", -1) == (criterion("doubt").unit, criterion("doubt").sign)
    assert criterion("doubt").origin.endswith(" 1.0")
    with pytest.raises(InputError, match=r"no criterion named 'doubts'\. Did you mean 'doubt'"):
        criterion("doubts")


@pytest.mark.usefixtures("doubt")
@pytest.mark.parametrize("mode", ["staged", "fused"])
def test_a_plugin_compiles_calibrates_and_decides(model: Path, tmp_path: Path, mode: str) -> None:
    """It decides exactly as `max_softmax` does, which it is one minus of."""
    ours = edgeexit.compile(model, tmp_path / "a.eexit", criterion="doubt", seconds=0)
    theirs = edgeexit.compile(model, tmp_path / "b.eexit", criterion="max_softmax", seconds=0)
    xs = images(60)

    with pytest.warns(edgeexit.CalibrationWarning):
        runners = [edgeexit.load(bundle.path, mode=mode) for bundle in (ours, theirs)]
    with runners[0] as mine, runners[1] as other, mine.backbone() as backbone:
        middle = [float(np.median([other.forced(x[None], exit=k).score for x in xs])) + 1e-4 for k in (1, 2)]
        other.thresholds, mine.thresholds = middle, [1 - t for t in middle]
        assert [other(x[None]).exit for x in xs] == [mine(x[None]).exit for x in xs]
        labels = np.array([backbone(x[None]).label for x in xs])
        result = edgeexit.calibrate(mine, xs, labels, target="rate1>=0.2", seconds=0.1, force=True)
    assert ("doubt", "probability") == (result.criterion, result.unit)


def test_a_board_needs_no_plugin(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package is not installed, the bundle loads, decides, is inspected, measured and calibrated; only compiling needs it."""
    with monkeypatch.context() as with_plugin:
        install(tmp_path, with_plugin, HEAD + LOWER, "doubt")
        bundle = edgeexit.compile(model, tmp_path / "b.eexit", criterion="doubt", seconds=0)
        with pytest.warns(edgeexit.CalibrationWarning), edgeexit.load(bundle.path) as runner:
            expected = [runner.forced(x[None], exit=1).score for x in images(5)]
    assert find_known_criterion("doubt") is None

    with pytest.warns(edgeexit.CalibrationWarning):
        runner = edgeexit.load(bundle.path)
    with runner, runner.backbone() as backbone:
        assert expected == [runner.forced(x[None], exit=1).score for x in images(5)]
        runner.thresholds = [float(np.median(expected))] * 2
        assert {1, 3} & {runner(x[None]).exit for x in images(5)}
        xs = images(60)
        labels = np.array([backbone(x[None]).label for x in xs])
        result = edgeexit.calibrate(runner, xs, labels, target="rate1>=0.2", seconds=0.1, force=True)
        assert runner.bundle.manifest.last_is_backbone
    assert result.unit == "probability"
    for name in ("calibration.csv", "calibration.md", "calibration.html"):
        edgeexit.write_report([result], tmp_path / name)
    inspected = CliRunner().invoke(app, ["inspect", str(bundle.path), "--json"])
    assert ("doubt", "probability") == tuple(json.loads(inspected.output)[k] for k in ("criterion", "unit"))
    assert "doubt" in repr(Bundle.open(bundle.path))
    with pytest.raises(InputError, match="no criterion named 'doubt'"):
        edgeexit.compile(model, tmp_path / "c.eexit", criterion="doubt")


def test_a_manifest_records_only_criteria_of_other_packages(model: Path, tmp_path: Path) -> None:
    """Bundles of edgeexit's own criteria are what they were; a sign that is none is a fault of the manifest."""
    bundle = edgeexit.compile(model, tmp_path / "b.eexit", criterion="margin", seconds=0)
    assert bundle.manifest.criterion_traits is None

    document = json.loads((bundle.path / "manifest.json").read_text())
    traits = {"origin": "x 1", "unit": "u", "description": "d", "sign": 2}
    write_manifest(bundle.path, {**document, "criterion_traits": traits})
    with pytest.raises(InputError, match="the sign of the criterion must be 1 or -1, not 2"):
        Bundle.open(bundle.path)


FAULTY = {
    "missing module": (None, "importing 'plugin_.*:RULE' failed .ModuleNotFoundError"),
    "import error": (
        "raise RuntimeError('no licence')\n",
        "failed .RuntimeError: no licence.. Repair or remove the package",
    ),
    "missing name": ("OTHER = 1\n", "AttributeError"),
    "no criterion": ("RULE = 3\n", "is a int, not an edgeexit.criteria.Criterion"),
    "another name": (
        HEAD + LOWER.replace('"doubt"', '"certainty"'),
        "calls itself 'certainty', the entry point 'doubt'",
    ),
    "no sign": (HEAD + LOWER.replace("-1, score", "0, score"), "has the sign 0: 1 where a higher score"),
    "half": (
        HEAD + LOWER.replace(", nodes)", ")"),
        "has score: a criterion has score and nodes, or combine and combine_nodes",
    ),
    "nothing": (
        HEAD + "RULE = Criterion('doubt', '', '', 1)\n",
        "has no unit; has no description; has neither: a criterion has",
    ),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_a_faulty_plugin_is_named_where_it_is_asked_for(
    fault: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one message; every other command and criterion works, and the choices still list it."""
    source, told = FAULTY[fault]
    install(tmp_path, monkeypatch, source, "doubt")

    with pytest.raises(InputError, match=rf"criterion 'doubt' of plugin_\d+ 1.0 cannot be used: .*{told}"):
        edgeexit.compile(model, tmp_path / "b.eexit", criterion="doubt", seconds=0)
    done = CliRunner().invoke(app, ["compile", str(model), "-o", str(tmp_path / "c"), "--criterion", "doubt"])
    assert isinstance(done.exception, InputError)
    helped = CliRunner().invoke(app, ["compile", "--help"])
    assert 0 == helped.exit_code
    assert "doubt" in helped.output
    assert "cannot be used" in " ".join(helped.output.split())
    edgeexit.compile(model, tmp_path / "d.eexit", criterion="margin", seconds=0)


WRONG = {
    "other numbers": (
        LOWER.replace("np.float32(1) - max", "np.float32(2) - max"),
        "give scores that differ by up to 1",
    ),
    "raises": (LOWER.replace("np.float32(1) - max", "missing - max"), "failed in score .NameError"),
    "raises in nodes": (LOWER.replace("    best =", "    1 / 0\n    best ="), "failed in nodes .ZeroDivisionError"),
    "no such operator": (LOWER.replace('"Softmax"', '"Softmin"'), "ONNX Runtime does not run its nodes"),
    "another shape": (
        LOWER.replace("max_softmax(logits)", "max_softmax(logits)[..., None]"),
        "NumPy code must give arrays",
    ),
    "nodes of another shape": (
        LOWER.replace('b.reduce("ReduceMax", ', "(").replace("axis=-1))", "axis=-1))"),
        "scores .n.; they gave",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_plugin_whose_halves_differ_is_refused_before_the_network_is_touched(
    fault: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes and NumPy code must be one criterion; the message says whose fault it is."""
    source, told = WRONG[fault]
    install(tmp_path, monkeypatch, HEAD + source, "doubt")

    with pytest.raises(InputError, match=rf"criterion 'doubt' of plugin_\d+ 1.0 .*{told}.*fault of the package"):
        edgeexit.compile(model, tmp_path / "b.eexit", criterion="doubt", seconds=0)
    assert not (tmp_path / "b.eexit").exists()


def test_two_packages_cannot_bring_one_criterion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is taken by chance."""
    for name in ("first", "second"):
        install_distribution(tmp_path, f"{name}_of_two", HEAD + LOWER, {"doubt": f"{name}_of_two:RULE"})
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(
        InputError, match=r"of (first|second)_of_two 1.0 cannot be used: (first|second)_of_two 1.0 brings one"
    ):
        criterion("doubt")


def test_a_package_cannot_take_the_name_of_a_built_in_criterion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `entropy` means does not depend on what is installed."""
    install(tmp_path, monkeypatch, HEAD + LOWER, "entropy")

    assert criterion("entropy") is CRITERIA["entropy"]
    assert tuple(CRITERIA) == list_criteria()


def test_a_criterion_of_several_exits_may_be_a_plugin(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Combining ones get logits, scores and costs; what is in the graph is what is in NumPy."""
    source = HEAD + (
        "from edgeexit.criteria import ExitOutputs, CombinedTensors\n"
        "def combine(logits, scores, costs):\n"
        "    summed = np.cumsum(logits, axis=1, dtype=np.float32)\n"
        "    return ExitOutputs(summed, summed.max(axis=-1))\n"
        "def combine_nodes(b, logits, score, state, costs):\n"
        "    summed = b.node('Add', [state[0], logits]) if state else logits\n"
        "    return CombinedTensors(summed, b.reduce('ReduceMax', summed), (summed,))\n"
        "RULE = Criterion('summed', 'logit', 'the largest sum is at least T', 1, combine=combine, combine_nodes=combine_nodes,\n"
        "    changes_answers=True)\n"
    )
    install(tmp_path, monkeypatch, source, "summed")

    bundle = edgeexit.compile(model, tmp_path / "b.eexit", criterion="summed", seconds=0)

    assert not bundle.manifest.last_is_backbone
    assert (bundle.manifest.verified.score_error or 0) < 1e-5


@pytest.mark.slow
def test_the_documented_plugin_is_a_choice_of_the_command_line(model: Path, tmp_path: Path) -> None:
    """In a process of its own, as a user has it: listed by the help and completed, compiled, run."""
    install_documented_criterion(tmp_path / "site")
    program = [sys.executable, "-m", "edgeexit"]
    environment = {"PYTHONPATH": f"{tmp_path / 'site'}:{Path(edgeexit.__file__).parents[1]}", "PATH": "/usr/bin:/bin"}

    helped = subprocess.run(
        [*program, "compile", "--help"], env=environment, capture_output=True, text=True, check=True
    )
    assert "the best class has at least the share T of the best two" in " ".join(
        helped.stdout.replace("│", " ").split()
    )
    words = ["compile", str(model), "-o", str(tmp_path / "b"), "--criterion", "best-of-two", "--seconds", "0", "--json"]
    done = subprocess.run([*program, *words], env=environment, capture_output=True, text=True, check=True)
    assert "best_of_two" == json.loads(done.stdout)["manifest"]["criterion"]


def test_the_doctor_lists_what_is_installed_and_what_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the package and the reason; a criterion at fault fails nothing else."""
    install(tmp_path / "a", monkeypatch, HEAD + LOWER, "doubt")
    install(tmp_path / "b", monkeypatch, "raise ImportError('no such library')", "broken")

    document = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)

    found = {check["name"]: check for check in document["checks"] if check["name"].startswith("criterion ")}
    assert ("ok", "warn") == tuple(found[f"criterion {name}"]["status"] for name in ("doubt", "broken"))
    assert "the best class misses at most T" in found["criterion doubt"]["found"]
    assert "no such library" in found["criterion broken"]["fix"]
