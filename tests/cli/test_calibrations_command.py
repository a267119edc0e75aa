"""`edgeexit calibrations`, and what `calibrate`, `run`, `bench` and `inspect` say of the calibration in use."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import edgeexit
from edgeexit.bundle import Bundle
from edgeexit.calibration import calibrate, retune
from edgeexit.cli.app import app
from edgeexit.data import find_demo_asset, load_data
from edgeexit.errors import InputError


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo network with two calibrations, `first` and the active `second`; not to be changed."""
    path = tmp_path_factory.mktemp("demo") / "digits.eexit"
    edgeexit.compile(find_demo_asset("lenet-digits.onnx"), path, seconds=0)
    data = load_data("digits:calibration")
    with pytest.warns(edgeexit.runtime.CalibrationWarning):
        runner = edgeexit.load(path, mode="staged")
    with runner:
        calibrate(runner, data.inputs, data.labels, target="agreement>=0.9", seconds=0.2, save_as="measured")
        retune(runner, "agreement>=0.9", save_as="first")
        retune(runner, "agreement>=0.8", save_as="second")
    edgeexit.Bundle.open(path).remove_calibration("measured")  # whether it is met depends on the machine
    return path


@pytest.fixture
def bundle(calibrated: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return Path(shutil.copytree(calibrated, tmp_path / "digits.eexit"))


def invoke(*words: object) -> str:
    """Run a command that succeeds, in this process; what it prints."""
    result = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert 0 == result.exit_code, result.output
    return result.stdout


def listed(bundle: Path) -> list[dict[str, Any]]:
    document = json.loads(invoke("calibrations", "list", bundle, "--json"))
    assert "edgeexit.calibrations/1" == document["schema"]
    return list(document["calibrations"])


def active(bundle: Path) -> list[str]:
    return [c["name"] for c in listed(bundle) if c["active_for"]]


def test_every_calibration_is_listed_with_its_target_and_the_active_one_is_marked(bundle: Path) -> None:
    """Oldest first, in the table as in JSON."""
    assert [("first", "agreement>=0.9"), ("second", "agreement>=0.8")] == [
        (c["name"], c["target"]) for c in listed(bundle)
    ]
    assert ["second"] == active(bundle)
    table = invoke("calibrations", "list", bundle)
    assert ["active" in line for line in table.splitlines() if "agreement" in line] == [False, True]


def test_another_calibration_can_be_used_and_one_can_go_back(bundle: Path) -> None:
    """What is active is what `load` takes."""
    invoke("calibrations", "rollback", bundle)
    assert ["first"] == active(bundle)
    invoke("calibrations", "use", bundle, "second")

    with edgeexit.load(bundle, mode="staged") as runner:
        assert ("second", ["second"]) == (runner.calibration_name, active(bundle))


def test_a_pinned_calibration_is_listed_as_such_and_a_new_one_says_so(bundle: Path) -> None:
    """By `inspect --calibrations` as by `calibrations list`; `calibrate` names the one that stays."""
    invoke("calibrations", "use", bundle, "first", "--pin")
    assert [True, False] == [c["pinned"] for c in listed(bundle)]
    assert listed(bundle) == json.loads(invoke("inspect", bundle, "--calibrations", "--json"))["calibrations"]
    assert "pinned" in invoke("inspect", bundle, "--calibrations")

    words = ["calibrate", bundle, "--from-curve", "--target", "agreement>=0.7", "--mode", "staged", "--name", "third"]
    done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert "'first' is pinned" in done.stderr
    assert ["first"] == active(bundle)


def test_an_exported_calibration_can_be_imported_into_a_copy_of_the_bundle(bundle: Path, tmp_path: Path) -> None:
    """It comes with its replay table, is not active by itself, and is not imported twice."""
    file = tmp_path / "first.calibration.zip"
    invoke("calibrations", "export", bundle, "first", "-o", file)
    with pytest.raises(InputError, match="already, as 'first'"):
        invoke("calibrations", "import", bundle, file)
    invoke("calibrations", "remove", bundle, "first")

    invoke("calibrations", "import", bundle, file, "--name", "again")

    assert ["second", "again"] == [c["name"] for c in listed(bundle)]
    assert ["second"] == active(bundle)
    invoke("calibrations", "use", bundle, "again")
    with edgeexit.load(bundle, mode="staged") as runner:
        assert retune(runner, "agreement>=0.7", dry_run=True).met


def test_an_exported_calibration_is_named_after_the_folder_of_the_bundle(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the bundle is given as the working folder."""
    monkeypatch.chdir(bundle)

    document = json.loads(invoke("calibrations", "export", ".", "first", "--json"))

    assert f"{bundle.name.removesuffix('.eexit')}-first.calibration.zip" == document["file"]
    (bundle / document["file"]).unlink()


def test_a_calibration_that_an_earlier_version_wrote_is_not_imported_twice(bundle: Path, tmp_path: Path) -> None:
    """Its document lacks fields that are filled in when it is read."""
    opened = Bundle.open(bundle)
    record = opened.find_calibration("first")
    old = opened.read_record(record)
    del old["verdict"]
    table = opened.file(record.attachments["replay"]).read_bytes()
    opened.write_calibration(record.key, old, {"replay.npz": table}, name="old", activate=False)
    file = tmp_path / "old.calibration.zip"
    invoke("calibrations", "export", bundle, "old", "-o", file)

    with pytest.raises(InputError, match="already, as 'old'"):
        invoke("calibrations", "import", bundle, file)


def test_a_calibration_of_another_network_is_not_imported(bundle: Path, tmp_path: Path) -> None:
    """Its thresholds would be wrong."""
    file = tmp_path / "first.calibration.zip"
    invoke("calibrations", "export", bundle, "first", "-o", file)
    other = edgeexit.compile(
        find_demo_asset("lenet-digits.onnx"), tmp_path / "o.eexit", criterion="max_softmax", seconds=0
    )

    with pytest.raises(InputError, match="another network, criterion or precision"):
        invoke("calibrations", "import", other.path, file)


@pytest.mark.parametrize("damage", ["", "PK", "cut", "byte", "text"])
def test_a_damaged_export_is_one_message(bundle: Path, tmp_path: Path, damage: str) -> None:
    """Wherever the damage is."""
    file = tmp_path / "first.calibration.zip"
    invoke("calibrations", "export", bundle, "first", "-o", file)
    whole = file.read_bytes()
    damaged = {
        "": b"",
        "PK": b"PK\3\4",
        "cut": whole[: len(whole) // 2],
        "byte": whole[:400] + bytes([whole[400] ^ 255]) + whole[401:],
        "text": b"thresholds: 0.5",
    }
    file.write_bytes(damaged[damage])

    with pytest.raises(InputError, match="export it again"):
        invoke("calibrations", "import", bundle, file)


def test_the_difference_of_two_calibrations_names_what_differs_and_nothing_else(bundle: Path) -> None:
    """Both were measured on this device, so that it is not in it."""
    document = json.loads(invoke("calibrations", "diff", bundle, "first", "second", "--json"))

    changed = {d["what"]: (d["first"], d["second"]) for d in document["differences"]}
    assert ("agreement>=0.9", "agreement>=0.8") == changed["target"]
    assert "cpu" not in changed
    assert "They do not differ" in invoke("calibrations", "diff", bundle, "first", "first")


def test_run_and_inspect_name_the_calibration_in_use(bundle: Path) -> None:
    """As text and as JSON; thresholds given by hand belong to no calibration."""
    document = json.loads(invoke("run", bundle, "--data", "digits:test", "--limit", 3, "--mode", "staged", "--json"))
    by_hand = invoke("run", bundle, "--data", "digits:test", "--limit", 3, "--mode", "staged", "--thresholds", "0.1")

    assert "second" == document["calibration"]["name"]
    assert "Thresholds: as given" in by_hand
    facts = json.loads(invoke("inspect", bundle, "--json"))
    assert ("second", 2) == (facts["calibrations"][0]["name"], facts["kept"])


def test_a_dry_run_writes_nothing(bundle: Path) -> None:
    """And a name is refused before anything is measured."""
    before = listed(bundle)
    invoke("calibrate", bundle, "--mode", "staged", "--from-curve", "--target", "agreement>=0.7", "--dry-run")

    assert before == listed(bundle)
    with pytest.raises(InputError, match="has a calibration named 'first' already"):
        invoke("calibrate", bundle, "--mode", "staged", "--from-curve", "--target", "agreement>=0.7", "--name", "first")


def test_compiling_another_network_over_a_bundle_says_which_calibrations_go(bundle: Path) -> None:
    """Of the same network they stay, and nothing is said."""
    words = ("compile", find_demo_asset("lenet-digits.onnx"), "-o", bundle, "--seconds", 0)

    same = CliRunner().invoke(app, list(map(str, words)))
    other = CliRunner().invoke(app, list(map(str, (*words, "--criterion", "margin"))))

    assert "removed" not in same.output
    assert "first, second" in " ".join(other.output.split())
    assert not listed(bundle)


def test_a_pipe_is_not_replaced_by_an_export(bundle: Path, tmp_path: Path) -> None:
    """Nor a device, which root could; one message."""
    os.mkfifo(tmp_path / "pipe")

    for place in (tmp_path / "pipe", Path("/dev/null"), tmp_path / "nowhere" / "x.zip"):
        with pytest.raises(InputError, match=f"cannot write {place}"):
            invoke("calibrations", "export", bundle, "first", "-o", place)

    assert (tmp_path / "pipe").is_fifo()
    assert Path("/dev/null").is_char_device()
