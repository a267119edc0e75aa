"""Files that earlier versions wrote are read, and mean what they meant. `scripts/make_old_files.py` wrote them, with a checkout each."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import edgeexit
from edgeexit.bundle import Bundle
from edgeexit.calibration import recipes
from edgeexit.calibration.result import parse_calibration
from edgeexit.data import read_fingerprint
from edgeexit.data.fingerprint import KEY
from edgeexit.graph.onnx_files import load_binary
from edgeexit.measure import compare_results, read_result
from edgeexit.measure.suites import load_suite
from edgeexit.runtime import CalibrationWarning, Runner, Settings
from edgeexit.runtime.calibrations import find_settings_key

HERE = Path(__file__).parent
VERSIONS = ("bundle-1", "bundle-2")
"""Named by the schema of their bundles."""


@pytest.fixture(params=VERSIONS)
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of one version's files, which a test may change."""
    return Path(shutil.copytree(HERE / request.param, tmp_path / "files"))


def open_quietly(path: Path, **options: Any) -> Runner:
    """The bundle, staged; that it was calibrated on another machine is known."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        return edgeexit.load(path, mode="staged", **options)


def read_answers(files: Path) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """What the version that wrote the bundle answered, and the inputs."""
    answers = json.loads((files / "answers.json").read_text(encoding="utf-8"))
    with np.load(files / "data.npz") as data:
        return answers, data["x"][: len(answers["answers"])]


def test_a_bundle_answers_as_it_did(files: Path) -> None:
    """Every exit's logits, and label and exit with the thresholds of then."""
    answers, x = read_answers(files)

    with open_quietly(files / "bundle.eexit") as runner:
        runner.thresholds = answers["thresholds"]
        for i, (answer, logits) in enumerate(zip(answers["answers"], answers["forced"], strict=True)):
            got = runner(x[i : i + 1])
            assert (answer["label"], answer["exit"]) == (got.label, got.exit)
            every = [runner.forced(x[i : i + 1], exit=k + 1).logits for k in range(runner.exits)]
            np.testing.assert_allclose(np.array(logits), np.array(every), atol=1e-4)


def test_each_schema_of_bundles_is_among_the_files() -> None:
    """The one that today's bundles have, and the one before."""
    schemas = {Bundle.open(HERE / version / "bundle.eexit").manifest.schema for version in VERSIONS}

    assert {"edgeexit.bundle/1", "edgeexit.bundle/2"} == schemas


def test_the_fused_form_answers_as_the_stages(files: Path) -> None:
    """Compiled then, run now."""
    answers, x = read_answers(files)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        runner = edgeexit.load(files / "bundle.eexit", mode="fused")
    with runner:
        for i, logits in enumerate(answers["forced"]):
            np.testing.assert_allclose(logits[-1], runner.forced(x[i : i + 1], exit=3).logits, atol=1e-4)


def test_a_calibration_is_read_and_used(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name in the history, and by a load that accepts another device."""
    monkeypatch.setattr("edgeexit.runtime.recheck.SECONDS", 0.02)
    monkeypatch.setattr("edgeexit.runtime.recheck.TOLERANCE", 1000.0)
    thresholds = read_answers(files)[0]["thresholds"]
    bundle = Bundle.open(files / "bundle.eexit")

    calibration = edgeexit.load_calibration(bundle, bundle.history[0].name)

    assert ("drop<=2", thresholds) == (str(calibration.target), list(calibration.thresholds))
    with open_quietly(files / "bundle.eexit", accept_device=True) as runner:
        assert thresholds == list(runner.thresholds)


def test_a_printed_calibration_is_read(files: Path) -> None:
    """What `calibrate --json` printed then."""
    calibration = parse_calibration(
        json.loads((files / "calibration.json").read_text(encoding="utf-8")), "calibration.json"
    )

    assert "drop<=2" == str(calibration.target)
    assert calibration.curve


def test_a_replay_table_gives_another_target_without_measuring(files: Path) -> None:
    """The table stands under the key of another device, so it is first written under this one's."""
    bundle = Bundle.open(files / "bundle.eexit")
    [record] = bundle.history
    table = bundle.file(record.attachments["replay"])
    key = find_settings_key(Settings(mode="staged"))
    bundle.write_calibration(key, bundle.read_record(record), {"replay.npz": table.read_bytes()})

    with open_quietly(files / "bundle.eexit") as runner:
        tuned = edgeexit.retune(runner, "drop<=90", dry_run=True)

    assert edgeexit.ReplayTable.load(table).exits == 3
    assert "drop<=90" == str(tuned.target)


def test_an_exported_calibration_is_imported(tmp_path: Path) -> None:
    """Into the bundle of the same network that has none; the first version had no such files."""
    edgeexit.compile(HERE / "bundle-2" / "model.onnx", tmp_path / "new.eexit", seconds=0)

    bundle = edgeexit.import_calibration(tmp_path / "new.eexit", HERE / "bundle-2" / "calibration.eexitcal")

    assert ["drop<=2"] == [record.target for record in bundle.history]


def test_results_are_read_compared_and_reported(files: Path, tmp_path: Path) -> None:
    """Two of one version with each other; a result is what it was when it is written again."""
    result, again = (read_result(files / f"{name}.json") for name in ("result", "again"))

    assert 0 < compare_results(result, again).p99_ratio
    assert result == read_result(result.save(tmp_path / "copy.json"))
    [page] = edgeexit.write_report([result, again], tmp_path / "report.html")
    assert "exit 3" in page.read_text(encoding="utf-8")


def test_a_bundle_and_its_calibration_are_reported(files: Path, tmp_path: Path) -> None:
    """The page of a bundle shows the target that it was calibrated for."""
    [page] = edgeexit.write_report(files / "bundle.eexit", tmp_path / "report.md")

    assert "drop<=2" in page.read_text(encoding="utf-8").replace("\\", "")


def test_recipes_and_suites_are_read(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe of calibration and a preset of benchmarks that this version shipped."""
    monkeypatch.setattr(recipes, "find_data_dir", lambda _: files)

    assert ["p99<=25ms, drop<=1"] == [str(target) for target in recipes.load_calibration_recipe("recipe").targets]
    assert 5 == load_suite(str(files / "suite.toml")).processes


@pytest.mark.slow
def test_recipes_of_training_are_read(files: Path) -> None:
    """Those that this version shipped."""
    pytest.importorskip("torch")
    from edgeexit.training import load_recipe

    assert "lenet" == load_recipe(files / "training.toml").network


def test_the_training_data_that_a_bundle_names_are_refused(files: Path) -> None:
    """The fingerprint came with the model's metadata, and still knows its samples."""
    bundle = Bundle.open(files / "bundle.eexit")
    [text] = [p.value for p in load_binary(bundle.file(bundle.manifest.model)).metadata_props if p.key == KEY]

    assert 40 == read_fingerprint(text).samples
