"""Thresholds that belong to a method: from the export through the model's metadata and the manifest to the Runner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from typer.testing import CliRunner

import edgeexit
from edgeexit.bundle import Bundle
from edgeexit.bundle.manifest import parse_manifest
from edgeexit.cli.app import app
from edgeexit.compiler.output_kinds import OutputWarning
from edgeexit.errors import BundleError, InputError, ModelError
from edgeexit.graph.criterion_record import CRITERION_KEY
from edgeexit.runtime import CalibrationWarning, Runner, Settings
from edgeexit.runtime.calibrations import find_settings_key
from edgeexit.util.documents import to_document
from tests.exporter.networks import Net


def scored_net() -> Net:
    """As EENet returns them: logits of all exits, and scores of the early ones."""
    torch.manual_seed(3)
    return Net(lambda logits, scores: (logits, scores[:2]))


def exported(path: Path, **options: Any) -> Path:
    edgeexit.export(scored_net(), torch.zeros(1, 6), path, **options)
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network without a word on its criterion; an export takes seconds, a note none."""
    return exported(tmp_path_factory.mktemp("base") / "m.onnx")


def annotate(base: Path, path: Path, note: str | dict[str, Any]) -> Path:
    """A copy of a file with this note on its criterion."""
    model = onnx.load(base)
    text = note if isinstance(note, str) else json.dumps(note)
    helper.set_model_props(model, {p.key: p.value for p in model.metadata_props} | {CRITERION_KEY: text})
    onnx.save(model, path)
    return path


HALF = {"name": "learned", "thresholds": {"exit1": 0.5, "exit2": 0.5}}


def noted(path: Path) -> Any:
    """What the file says of its criterion."""
    return json.loads({p.key: p.value for p in onnx.load(path).metadata_props}[CRITERION_KEY])


def load(path: Path) -> Runner:
    with pytest.warns(CalibrationWarning):
        return edgeexit.load(path, mode="staged")


def test_thresholds_of_a_network_with_scores_are_those_of_learned(tmp_path: Path) -> None:
    """One number stands for every early exit."""
    path = exported(tmp_path / "m.onnx", thresholds=0.5)

    assert {"name": "learned", "thresholds": {"exit1": 0.5, "exit2": 0.5}} == noted(path)


def test_a_bundle_without_a_calibration_leaves_where_the_method_says(tmp_path: Path) -> None:
    """The criterion is the model's own too, so that `compile` needs no option; load says what it uses."""
    bundle = edgeexit.compile(exported(tmp_path / "m.onnx", thresholds=[0.45, 0.55]), tmp_path / "b.eexit", seconds=0)
    assert ("learned", (0.45, 0.55)) == (bundle.manifest.criterion, bundle.manifest.thresholds)
    xs = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32) * 4

    told = r"thresholds that the model came with \(learned 0.45, 0.55\), which were not chosen for this device. Run: edgeexit calibrate"
    for mode in ("staged", "fused"):
        with pytest.warns(CalibrationWarning, match=told):
            runner = edgeexit.load(bundle.path, mode=mode)
        with runner:
            assert [0.45, 0.55] == pytest.approx(runner.thresholds)
            assert runner.has_default_thresholds
            first = [runner.forced(x[None], exit=1).score for x in xs]
            left = [runner(x[None]).exit for x in xs]
            assert [s >= 0.45 for s in first] == [exit == 1 for exit in left]
            assert len(set(left)) > 1
            runner.thresholds = [1.0, 1.0]
            assert not runner.has_default_thresholds


def test_a_calibration_always_wins(base: Path, tmp_path: Path) -> None:
    """Also where it is the same as nothing: never leaving early."""
    bundle = edgeexit.compile(annotate(base, tmp_path / "m.onnx", HALF), tmp_path / "b.eexit", seconds=0)
    document = {
        "schema": "edgeexit.calibration/1",
        "created": "2026-01-01T00:00:00+00:00",
        "target": "drop<=1",
        "met": True,
        "inner_thresholds": [0.75, "inf"],
    }
    bundle.write_calibration(find_settings_key(Settings()), document)

    with edgeexit.load(bundle.path, mode="staged") as runner:
        assert (0.75, float("inf")) == runner.inner_thresholds
        assert not runner.has_default_thresholds


def test_another_criterion_has_no_use_for_them(base: Path, tmp_path: Path) -> None:
    """A probability of 0.5 is no entropy of 0.5."""
    path = annotate(base, tmp_path / "m.onnx", HALF)

    bundle = edgeexit.compile(path, tmp_path / "b.eexit", criterion="entropy", seconds=0)

    assert ("entropy", ()) == (bundle.manifest.criterion, bundle.manifest.thresholds)
    with load(bundle.path) as runner:
        assert (float("inf"),) * 2 == runner.inner_thresholds


@pytest.mark.parametrize(
    ("asked", "used"),
    [({}, "most_confident"), ({"fallback": "last"}, "last"), ({"criterion": "entropy"}, "last")],
)
def test_the_fallback_of_a_method_travels_with_its_criterion(
    base: Path, tmp_path: Path, asked: dict[str, Any], used: str
) -> None:
    """Shallow-Deep Networks answer with the most confident exit. What the caller asks for wins."""
    note = {"name": "max_softmax", "thresholds": {}, "fallback": "most_confident"}

    bundle = edgeexit.compile(annotate(base, tmp_path / "m.onnx", note), tmp_path / "b.eexit", seconds=0, **asked)

    assert used == bundle.manifest.fallback


def test_a_fallback_needs_its_criterion(tmp_path: Path) -> None:
    """And has to be one that there is."""
    assert (
        "most_confident"
        == noted(exported(tmp_path / "m.onnx", criterion="margin", fallback="most-confident"))["fallback"]
    )
    with pytest.raises(InputError, match="name the criterion too"):
        exported(tmp_path / "n.onnx", fallback="most_confident")
    with pytest.raises(InputError, match="most_confident"):
        exported(tmp_path / "n.onnx", criterion="margin", fallback="most_confidant")


def test_the_criterion_alone_travels_too(tmp_path: Path) -> None:
    """A network trained for `max_softmax` needs no thresholds to be compiled with it."""
    path = exported(tmp_path / "m.onnx", criterion="max-softmax")

    assert {"name": "max_softmax", "thresholds": {}} == noted(path)
    assert "max_softmax" == edgeexit.compile(path, tmp_path / "b.eexit", seconds=0).manifest.criterion


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"thresholds": [0.5, 0.5, 0.5]},
            r"must be 2 numbers \(score\), one per exit but the last \(exit1, exit2\), or one for all of them; got \[0.5, 0.5, 0.5\]",
        ),
        ({"thresholds": []}, "must be 2 numbers"),
        ({"thresholds": float("nan")}, "must be 2 numbers"),
        ({"thresholds": [0.5, float("inf")]}, "must be 2 numbers"),
        ({"thresholds": "half"}, "must be 2 numbers"),
        ({"thresholds": 0.5, "criterion": "lerned"}, "no criterion named 'lerned'. Did you mean 'learned'"),
        ({"metadata": {CRITERION_KEY: "{}"}}, "give those arguments instead"),
    ],
)
def test_what_cannot_be_thresholds_is_refused(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    """In one message, before a file is written."""
    with pytest.raises(InputError, match=told):
        exported(tmp_path / "m.onnx", **options)
    assert not (tmp_path / "m.onnx").exists()


def test_thresholds_without_scores_need_a_criterion(tmp_path: Path) -> None:
    """They have a unit."""
    module = Net(lambda logits, _: logits)

    with pytest.raises(InputError, match="thresholds are in the unit of a criterion: name it too"):
        edgeexit.export(module, torch.zeros(1, 6), tmp_path / "m.onnx", thresholds=0.5)
    edgeexit.export(module, torch.zeros(1, 6), tmp_path / "m.onnx", criterion="margin", thresholds=0.5)
    assert {"name": "margin", "thresholds": {"exit1": 0.5, "exit2": 0.5}} == noted(tmp_path / "m.onnx")


def test_exits_that_are_left_out_take_their_thresholds_along(base: Path, tmp_path: Path) -> None:
    """Thresholds belong to exits: without the first exit the second keeps its own; an exit that has none is told."""
    both = {"name": "learned", "thresholds": {"exit1": 0.25, "exit2": 0.75}}
    path = annotate(base, tmp_path / "m.onnx", both)
    bundle = edgeexit.compile(path, tmp_path / "b.eexit", exits=["exit2", "exit3"], seconds=0)
    assert (0.75,) == bundle.manifest.thresholds

    path = annotate(base, tmp_path / "m.onnx", {"name": "learned", "thresholds": {"exit1": 0.25}})
    with pytest.warns(OutputWarning, match="a learned threshold for 'exit1', and none for the early exit 'exit2'"):
        assert () == edgeexit.compile(path, tmp_path / "b.eexit", seconds=0).manifest.thresholds


@pytest.mark.parametrize(
    "note", ["[]", "{", '{"name": 3, "thresholds": {}}', '{"name": "learned", "thresholds": {"a": NaN}}']
)
def test_damaged_metadata_are_told_and_naming_the_criterion_helps(base: Path, tmp_path: Path, note: str) -> None:
    """As with the exits' own metadata."""
    path = annotate(base, tmp_path / "m.onnx", note)

    with pytest.raises(
        ModelError, match=r"'edgeexit.criterion' are not a name and thresholds by exit .* name the criterion instead"
    ):
        edgeexit.compile(path, tmp_path / "b.eexit", seconds=0)
    assert () == edgeexit.compile(path, tmp_path / "b.eexit", criterion="learned", seconds=0).manifest.thresholds


def test_a_manifest_with_another_number_of_thresholds_is_inconsistent(base: Path, tmp_path: Path) -> None:
    """One per early exit or none; a manifest of an earlier version has none."""
    path = annotate(base, tmp_path / "m.onnx", HALF)
    manifest = edgeexit.compile(path, tmp_path / "b.eexit", seconds=0).manifest
    document = to_document(manifest)

    with pytest.raises(BundleError, match=r"thresholds must be none or 2 numbers, not \[0.5\]"):
        parse_manifest({**document, "thresholds": [0.5]}, "it")
    del document["thresholds"]
    assert () == parse_manifest(document, "it").thresholds


def test_the_commands_say_which_thresholds_are_used(tmp_path: Path) -> None:
    """As typed: export --thresholds, compile, inspect and run."""
    (tmp_path / "net.py").write_text("from tests.exporter.test_default_thresholds import scored_net as make\n")
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 6), np.float32), y=np.zeros(2, np.int64))

    def typed(*words: object) -> str:
        result = CliRunner().invoke(app, [str(w) for w in words], catch_exceptions=False)
        assert 0 == result.exit_code, result.output
        return " ".join(result.output.split())

    model, bundle = tmp_path / "m.onnx", tmp_path / "m.eexit"
    typed("export", f"{tmp_path / 'net.py'}:make", "--input", "6", "--thresholds", "0.5", "-o", model)
    assert "at the thresholds that the model came with: 0.5, 0.5" in typed("compile", model, "--seconds", "0")
    assert "without a calibration an input leaves at the thresholds that the model came with (0.5, 0.5 score)" in typed(
        "inspect", bundle
    )
    assert [0.5, 0.5] == json.loads(typed("inspect", bundle, "--json"))["thresholds"]
    with pytest.warns(CalibrationWarning):
        assert "Thresholds: those that the model came with" in typed("run", bundle, "--data", tmp_path / "x.npz")
    assert "default thresholds" in Bundle.open(bundle)._repr_html_()
