"""Every calibration is kept under a name; at most one per key is active, and one can go back."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgeexit
from edgeexit.bundle import Bundle, history
from edgeexit.bundle.manifest import CalibrationEntry, CalibrationRecord
from edgeexit.errors import BundleError, InputError
from tests.support.manifests import write_manifest

KEY = "board-1/onnxruntime-staged-float32-t1"


def document(target: str, *, met: bool = True) -> dict[str, Any]:
    return {"schema": "edgeexit.calibration/1", "target": target, "created": "2026-01-01T00:00:00+00:00", "met": met}


def active_target(bundle: Bundle) -> object:
    found = bundle.read_calibration(KEY)
    return found and found["target"]


def test_a_new_calibration_leaves_the_one_before_in_the_history(bundle_path: Path) -> None:
    """With name, date, target and verdict; the new one is active."""
    first = Bundle.open(bundle_path).write_calibration(KEY, document("drop<=1"), {"replay.npz": b"one"})
    first.write_calibration(KEY, document("drop<=2"), {"replay.npz": b"two"}, name="night")

    bundle = Bundle.open(bundle_path)

    assert [("cal-1", "drop<=1", "met"), ("night", "drop<=2", "met")] == [
        (r.name, r.target, r.verdict) for r in bundle.history
    ]
    assert "drop<=2" == active_target(bundle)
    assert b"one" == bundle.file(bundle.find_calibration("cal-1").attachments["replay"]).read_bytes()


def test_a_calibration_that_is_not_activated_changes_nothing_that_runs(bundle_path: Path) -> None:
    """It is in the history, and can be used by name."""
    bundle = Bundle.open(bundle_path).write_calibration(KEY, document("drop<=1"))
    bundle = bundle.write_calibration(KEY, document("mean<=1ms", met=False), activate=False)

    assert "drop<=1" == active_target(bundle)
    assert ["met", "not met"] == [r.verdict for r in bundle.history]
    assert "mean<=1ms" == active_target(bundle.use("cal-2"))


def test_a_pinned_calibration_stays_active_until_a_person_decides(bundle_path: Path) -> None:
    """New ones are kept beside it; making another one active, or going back, ends it. The pin is in the file."""
    bundle = (
        Bundle.open(bundle_path).write_calibration(KEY, document("drop<=1")).write_calibration(KEY, document("drop<=2"))
    )

    bundle.use("cal-2", pinned=True)
    bundle = Bundle.open(bundle_path).write_calibration(KEY, document("drop<=3"))
    assert ("drop<=2", 3) == (active_target(bundle), len(bundle.history))

    assert "drop<=4" == active_target(bundle.use("cal-3").write_calibration(KEY, document("drop<=4")))
    Bundle.open(bundle_path).use("cal-1", pinned=True).roll_back(KEY)
    assert "drop<=5" == active_target(Bundle.open(bundle_path).write_calibration(KEY, document("drop<=5")))


def test_rolling_back_returns_to_what_was_active_before(bundle_path: Path) -> None:
    """Step by step; where nothing was, that is the message."""
    bundle = Bundle.open(bundle_path)
    for target in ("drop<=1", "drop<=2", "drop<=3"):
        bundle = bundle.write_calibration(KEY, document(target))

    bundle = bundle.roll_back(KEY)
    assert "drop<=2" == active_target(bundle)
    bundle = bundle.roll_back(KEY)
    assert "drop<=1" == active_target(bundle)
    with pytest.raises(InputError, match="'cal-1' is the only calibration that was ever active"):
        bundle.roll_back(KEY)
    with pytest.raises(InputError, match="no calibration was ever active"):
        bundle.roll_back("other/key")


def test_only_an_inactive_calibration_can_be_removed(bundle_path: Path) -> None:
    """And its files with it."""
    bundle = Bundle.open(bundle_path).write_calibration(KEY, document("drop<=1"), {"replay.npz": b"one"})
    bundle = bundle.write_calibration(KEY, document("drop<=2"))

    with pytest.raises(InputError, match="'cal-2' is active"):
        bundle.remove_calibration("cal-2")
    bundle = bundle.remove_calibration("cal-1")

    assert ["cal-2"] == [r.name for r in bundle.history]
    assert not list((bundle_path / "calibrations").rglob("*.npz"))
    with pytest.raises(InputError, match="nothing to go back to"):
        bundle.roll_back(KEY)


@pytest.mark.parametrize("name", ["", "../x", "a b", ".hidden", "x" * 65, "caf\xe9"])
def test_a_name_that_is_no_name_is_refused(bundle_path: Path, name: str) -> None:
    """Before anything is written."""
    with pytest.raises(InputError, match="cannot name a calibration"):
        Bundle.open(bundle_path).write_calibration(KEY, document("drop<=1"), name=name)

    assert not Bundle.open(bundle_path).history


def test_an_unknown_name_is_answered_with_the_nearest(bundle_path: Path) -> None:
    """And with all there are."""
    bundle = Bundle.open(bundle_path).write_calibration(KEY, document("drop<=1"), name="tuesday")

    with pytest.raises(InputError, match=r"Did you mean 'tuesday'\? It has tuesday"):
        bundle.use("tusday")


def of_schema_1(bundle: Path) -> None:
    """Rewrite a bundle's manifest as versions before the history wrote it."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    for field in ("digest", "history", "activated"):
        del manifest[field]
    for entry in manifest["calibrations"].values():
        del entry["name"]
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "schema": "edgeexit.bundle/1"}))


def test_a_bundle_of_schema_1_is_read_and_gets_a_history(bundle_path: Path) -> None:
    """Its one calibration is the first of the history, and stays when another comes."""
    Bundle.open(bundle_path).write_calibration(KEY, document("drop<=1"))
    of_schema_1(bundle_path)

    old = Bundle.open(bundle_path)
    new = old.write_calibration(KEY, document("drop<=2"))

    assert ["cal-1"] == [r.name for r in old.history]
    assert "drop<=1" == active_target(old)
    assert ["drop<=1", "drop<=2"] == [r.target for r in Bundle.open(bundle_path).history]
    assert "drop<=1" == active_target(new.roll_back(KEY))


def test_compiling_the_same_model_again_keeps_the_history(model: Path, bundle_path: Path) -> None:
    """Every name, and what was active."""
    bundle = Bundle.open(bundle_path).write_calibration(KEY, document("drop<=1"))
    bundle = bundle.write_calibration(KEY, document("drop<=2"), activate=False)

    again = edgeexit.compile(model, bundle_path, seconds=0)

    assert bundle.history == again.history
    assert "drop<=1" == active_target(again)


def test_a_history_that_does_not_fit_together_is_refused(bundle_path: Path) -> None:
    """An active calibration that is not in it, in a bundle of somebody else."""
    bundle = Bundle.open(bundle_path).write_calibration(KEY, document("drop<=1"))

    with pytest.raises(BundleError, match="active calibration 'cal-1' is not in the history"):
        type(bundle.manifest)(**{**vars(bundle.manifest), "history": ()})


@pytest.mark.parametrize("name", ["../../x", "\x1b[2J", ""])
def test_a_name_in_a_manifest_that_is_no_name_is_refused(bundle_path: Path, name: str) -> None:
    """It would become part of the name of a file that is exported."""
    Bundle.open(bundle_path).write_calibration(KEY, document("drop<=1"), activate=False)
    manifest = json.loads((bundle_path / "manifest.json").read_text())
    manifest["history"][0]["name"] = name
    write_manifest(bundle_path, manifest)

    with pytest.raises(BundleError, match="cannot name a calibration"):
        Bundle.open(bundle_path)


NAMES = st.sampled_from(["a", "b", "c", "d"])


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["use", "back", "remove"]), NAMES), max_size=12))
def test_whatever_is_done_the_history_fits_together(compiled: Path, steps: list[tuple[str, str]]) -> None:
    """What is active is the last of its log, and in the history; a step that cannot be done raises InputError and nothing else."""
    manifest = Bundle.open(compiled).manifest
    file = manifest.model
    records = tuple(CalibrationRecord(name, KEY, "", "", "met", file) for name in "abcd")
    manifest = type(manifest)(**{**vars(manifest), "history": records})
    for what, name in steps:
        try:
            manifest = {
                "use": lambda m, n: history.activate(m, history.find_record(m, n)),
                "back": lambda m, n: history.roll_back(m, KEY),
                "remove": history.remove,
            }[what](manifest, name)
        except InputError:
            continue
        log = manifest.activated.get(KEY, ())
        assert manifest.calibrations.get(KEY, CalibrationEntry("", {}, "")).name == (log[-1] if log else "")
        assert all(a != b for a, b in pairwise(log))
