"""`edgeexit analyse` on real bundles: what a perfect exit rule would gain, and where later exits hurt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner

import edgeexit
from edgeexit.analysis import analyse_bundle
from edgeexit.cli.app import app
from edgeexit.data import find_demo_asset, load_data
from edgeexit.errors import InputError
from edgeexit.report.schemas import load_schema

pytestmark = pytest.mark.filterwarnings("ignore::edgeexit.runtime.CalibrationWarning")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of the demo, without a calibration."""
    path = tmp_path_factory.mktemp("analyse") / "digits.eexit"
    return Path(edgeexit.compile(find_demo_asset("lenet-digits.onnx"), path, criterion="entropy", seconds=0).path)


def run(*arguments: str, code: int = 0, columns: int = 80) -> str:
    ended = CliRunner().invoke(app, list(arguments), env={"COLUMNS": str(columns), "LINES": None})
    assert code == ended.exit_code, ended.output
    return ended.output if code else ended.stdout


def test_it_prints_the_headline_within_80_columns(bundle: Path) -> None:
    """What a perfect rule would need, the share of it reached, the share of samples that overthink."""
    printed = run("analyse", str(bundle), "--data", "digits:test", "--choose-on", "digits:calibration")

    assert 80 >= max(map(len, printed.splitlines()))
    words = " ".join(printed.split())
    for part in ("A perfect exit rule would need", "of that saving", "0.60 % of the samples overthink"):
        assert part in words
    for title in ("Overthinking", "Best accuracy within a budget (MACs)", "Samples that overthink", "Classes"):
        assert title in printed


def test_the_json_object_keeps_its_schema_and_its_word(bundle: Path) -> None:
    """Every figure agrees with what was run: shares, bounds and samples."""
    found = json.loads(run("analyse", str(bundle), "--data", "digits:test", "--json"))
    jsonschema.Draft202012Validator(load_schema("analysis/1")).validate(found)

    assert (250, 250, "chosen") == (found["samples"], found["chosen_samples"], found["policy"])
    headroom = found["headroom"][0]
    assert headroom["oracle_accuracy"] >= max(row["accuracy"] for row in found["exits"])
    assert headroom["oracle_cost"] <= headroom["last_cost"]
    labels = load_data("digits:test").y
    with edgeexit.load(bundle) as runner:
        for sample in found["overthought"]:
            x = load_data("digits:test").x[sample["sample"]][None]
            assert labels[sample["sample"]] == sample["label"]
            assert sample["answers"] == [runner.forced(x, exit=k).label for k in (1, 2)]


def test_a_page_shows_the_samples_that_overthink(bundle: Path, tmp_path: Path) -> None:
    """As pictures in the page itself, which asks nobody for anything."""
    page = tmp_path / "page.html"
    run("analyse", str(bundle), "--data", "digits:test", "--choose-on", "digits:calibration", "-o", str(page))
    text = page.read_text(encoding="utf-8")

    assert 3 == text.count("data:image/png;base64,")
    assert "http://" not in text.replace("http://www.w3.org/", "")


def test_a_calibration_brings_seconds_and_its_thresholds(bundle: Path) -> None:
    """Both costs are shown, and the policy is what the calibration chose."""
    test = load_data("digits:test")
    with edgeexit.load(bundle) as runner:
        calibration = edgeexit.calibrate(runner, test.inputs, test.labels, target="accuracy>=0.9", seconds=0.2)
        found = analyse_bundle(runner, test, choose_on=load_data("digits:calibration"))

    assert calibration.headroom is not None
    assert ("s", calibration.parts.choose) == (calibration.headroom.unit, calibration.headroom.samples)
    assert ("calibrated", calibration.inner_thresholds) == (found.policy, found.inner_thresholds)
    assert ["MAC", "s"] == [h.unit for h in found.headroom]
    assert {"anytime", "budgeted", "searched"} == {c.name for c in found.curves if c.unit == "s"}


def test_data_without_labels_are_refused(bundle: Path) -> None:
    """Whether an exit is right cannot be told then."""
    with edgeexit.load(bundle) as runner, pytest.raises(InputError, match="has no labels"):
        analyse_bundle(runner, replace(load_data("digits:test"), labels=None))


def test_a_table_of_another_network_is_refused(bundle: Path) -> None:
    """Labels of the one, answers of the other."""
    table = edgeexit.ReplayTable.from_arrays([[0.9], [0.1]], [[1, 1], [0, 1]], [1.0, 2.0])

    with pytest.raises(InputError, match=r"answers must be \[2, 2\]"):
        edgeexit.analysis.analyse_network(table, table, answers=np.zeros((3, 2), np.int64))
