"""A bundle is whole or refused: every byte is hashed, and every path stays inside."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx
import pytest

import edgeexit
from edgeexit.bundle import store
from edgeexit.bundle.seal import add_digest
from edgeexit.errors import BundleError
from edgeexit.graph.model import list_all_tensors
from tests.networks import chain
from tests.support.manifests import edit_manifest, write_manifest


def test_a_bundle_read_back_is_the_bundle_that_was_written(compiled: Path) -> None:
    """Manifest values survive the way through JSON."""
    bundle = edgeexit.Bundle.open(compiled)

    assert bundle.manifest == edgeexit.Bundle.open(compiled).manifest
    assert bundle.manifest.exits == 3
    assert [s.exit for s in bundle.manifest.stages] == [1, 2, 3]
    assert ("batch", 16, 8, 8) == bundle.manifest.stages[0].boundaries_out[0].shape


def test_a_large_weight_is_on_disk_once(compiled: Path) -> None:
    """Model, backbone, stages and the fused graph all point into one file."""
    bundle = edgeexit.Bundle.open(compiled)
    [weights] = [n for n in bundle.manifest.files if n.endswith(".bin")]
    value = next(
        onnx.numpy_helper.to_array(t)
        for t in onnx.load(compiled / bundle.manifest.backbone).graph.initializer
        if t.dims == [16, 16, 3, 3]
    )

    everything = b"".join(p.read_bytes() for p in compiled.iterdir() if p.is_file())

    assert everything.count(value.tobytes()) == 1
    assert bundle.manifest.files[weights].bytes < 1.1 * sum(s.weight_bytes for s in bundle.manifest.stages) + 256


def test_every_model_of_a_bundle_is_valid_onnx(compiled: Path) -> None:
    """Other tools can open each of them."""
    for name in edgeexit.Bundle.open(compiled).models:
        onnx.checker.check_model(str(compiled / name), full_check=True)


def test_a_changed_byte_in_any_file_is_found(bundle_path: Path) -> None:
    """Whatever the file, opening names it."""
    for name in edgeexit.Bundle.open(bundle_path).manifest.files:
        content = bytearray((bundle_path / name).read_bytes())
        content[len(content) // 2] ^= 1
        whole = (bundle_path / name).read_bytes()
        (bundle_path / name).write_bytes(content)

        with pytest.raises(BundleError, match=f"{name} is not the file that was written"):
            edgeexit.Bundle.open(bundle_path)
        (bundle_path / name).write_bytes(whole)


def test_a_missing_file_is_named(bundle_path: Path) -> None:
    """And what to do about it."""
    name = edgeexit.Bundle.open(bundle_path).manifest.fused
    (bundle_path / name).unlink()

    with pytest.raises(BundleError, match=f"{name} is missing: the bundle is damaged; copy it again"):
        edgeexit.Bundle.open(bundle_path)


@pytest.mark.parametrize("name", ["../outside.onnx", "/etc/hostname", "calibrations/../../outside.onnx"])
def test_a_path_that_climbs_out_is_refused(bundle_path: Path, name: str) -> None:
    """Before anything is read from there."""
    document = json.loads((bundle_path / "manifest.json").read_text())
    document["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    write_manifest(bundle_path, document)

    with pytest.raises(BundleError, match="lies outside the bundle: refused"):
        edgeexit.Bundle.open(bundle_path)


def test_a_link_that_leads_out_is_refused(bundle_path: Path, tmp_path: Path) -> None:
    """A link inside the folder is no way around the rule."""
    name = edgeexit.Bundle.open(bundle_path).manifest.fused
    shutil.move(bundle_path / name, tmp_path / "elsewhere.onnx")
    (bundle_path / name).symlink_to(tmp_path / "elsewhere.onnx")

    with pytest.raises(BundleError, match="lies outside the bundle"):
        edgeexit.Bundle.open(bundle_path)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "other.bin"])
def test_a_weight_that_points_out_of_the_bundle_is_refused(bundle_path: Path, location: str) -> None:
    """Also where the hashes are right: a bundle from a stranger is consistent and still not to be trusted."""
    bundle = edgeexit.Bundle.open(bundle_path)
    name = bundle.manifest.stages[1].file
    proto = onnx.load(bundle_path / name, load_external_data=False)
    tensor = next(t for t in list_all_tensors(proto.graph) if t.external_data)
    next(e for e in tensor.external_data if e.key == "location").value = location
    (bundle_path / name).write_bytes(proto.SerializeToString())
    entry = {"sha256": store.compute_sha256(bundle_path / name), "bytes": (bundle_path / name).stat().st_size}
    document = json.loads((bundle_path / "manifest.json").read_text())
    document["files"][name] = entry
    write_manifest(bundle_path, document)

    with pytest.raises(BundleError, match="which is not in the bundle: refused"):
        edgeexit.Bundle.open(bundle_path)


def test_a_newer_schema_is_refused_with_the_remedy(bundle_path: Path) -> None:
    """Old ones are read for ever; newer ones need a newer edgeexit."""
    edit_manifest(bundle_path, schema="edgeexit.bundle/3")

    with pytest.raises(BundleError, match=r"newer edgeexit \(schema edgeexit.bundle/3.*pip install -U edgeexit"):
        edgeexit.Bundle.open(bundle_path)


def test_all_faults_of_a_manifest_come_in_one_message(bundle_path: Path) -> None:
    """With the nearest known name for an unknown one."""
    document = json.loads((bundle_path / "manifest.json").read_text())
    document["classes"] = "ten"
    document["critrion"] = document.pop("criterion")
    document["stages"][0]["macs"] = []
    write_manifest(bundle_path, document)

    with pytest.raises(BundleError) as caught:
        edgeexit.Bundle.open(bundle_path)

    for part in (
        "classes must be a whole number",
        "critrion is unknown. Did you mean 'criterion'?",
        "criterion is missing",
        "stages[0].macs",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema": 3}', b"[" * 100_000])
def test_a_manifest_that_is_no_manifest_is_refused(bundle_path: Path, content: bytes) -> None:
    """Without a traceback, whatever the bytes are."""
    (bundle_path / "manifest.json").write_bytes(content)

    with pytest.raises(BundleError):
        edgeexit.Bundle.open(bundle_path)


def test_what_is_no_bundle_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    """A folder that is not there, and one without a manifest."""
    for path in (tmp_path / "nothing.eexit", tmp_path):
        with pytest.raises(BundleError, match=f"edgeexit compile model.onnx -o {path}"):
            edgeexit.Bundle.open(path)


def test_a_calibration_is_read_back_with_its_attachment(bundle_path: Path) -> None:
    """Under its key, as a file named by its content."""
    key = "board-1/onnxruntime-staged-float32-t1"
    bundle = edgeexit.Bundle.open(bundle_path).write_calibration(key, {"a": [1.5]}, {"replay.npz": b"table"})

    again = edgeexit.Bundle.open(bundle_path)

    assert bundle.manifest == again.manifest
    assert again.read_calibration(key) == {"a": [1.5]}
    attachment = again.attachment(key, "replay")
    assert attachment is not None
    assert attachment.read_bytes() == b"table"
    assert again.read_calibration("other/key") is None


def test_compiling_the_same_model_again_keeps_the_calibrations(model: Path, bundle_path: Path) -> None:
    """The stages are the same files, so what was measured on them still holds."""
    key = "board-1/onnxruntime-staged-float32-t1"
    edgeexit.Bundle.open(bundle_path).write_calibration(key, {"n": 1})

    again = edgeexit.compile(model, bundle_path, seconds=0)

    assert again.read_calibration(key) == {"n": 1}


def test_compiling_another_model_drops_the_calibrations(tmp_path: Path, bundle_path: Path) -> None:
    """Thresholds of another network would be wrong."""
    key = "board-1/onnxruntime-staged-float32-t1"
    edgeexit.Bundle.open(bundle_path).write_calibration(key, {"n": 1})

    again = edgeexit.compile(chain(tmp_path / "wide.onnx", exits=3, width=20), bundle_path, seconds=0)

    assert again.read_calibration(key) is None
    assert not (bundle_path / "calibrations").exists()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"edgeexit.bundle/2"', '"edgeexit.bundle/²"', "is not an edgeexit bundle"),
        ('"edgeexit.bundle/2"', f'"edgeexit.bundle/{"9" * 5000}"', "is not an edgeexit bundle"),
        ('"staged_error": ', '"staged_error": NaN, "was": ', "NaN is no value of JSON"),
        ('"staged_error": ', f'"staged_error": {10**400}, "was": ', "staged_error must be a number"),
        ('"bytes": ', f'"bytes": {1 << 63}, "was": ', "bytes must be a whole number"),
    ],
)
def test_numbers_that_are_none_are_refused(bundle_path: Path, old: str, new: str, told: str) -> None:
    """As one message, whatever Python's JSON reader makes of them."""
    manifest = bundle_path / "manifest.json"
    manifest.write_bytes(add_digest(manifest.read_text().replace(old, new, 1).encode()))

    with pytest.raises(BundleError, match=told):
        edgeexit.Bundle.open(bundle_path)


def test_a_calibration_cannot_be_written_outside_of_the_bundle(bundle_path: Path, tmp_path: Path) -> None:
    """Its key is made of what the manifest says, and a stranger's manifest says anything."""
    with pytest.raises(BundleError, match="lies outside the bundle"):
        edgeexit.Bundle.open(bundle_path).write_calibration("here/onnxruntime-staged-../../../x-t1", {})

    assert [bundle_path.name] == [p.name for p in tmp_path.iterdir()]


def test_a_model_with_functions_is_refused(bundle_path: Path) -> None:
    """Edgeexit writes none, and weights inside them are not looked at."""
    name = edgeexit.Bundle.open(bundle_path).manifest.backbone
    proto = onnx.load(bundle_path / name, load_external_data=False)
    proto.functions.add(name="f", domain="d")
    (bundle_path / name).write_bytes(proto.SerializeToString())
    document = json.loads((bundle_path / "manifest.json").read_text())
    entry = {"sha256": store.compute_sha256(bundle_path / name), "bytes": (bundle_path / name).stat().st_size}
    edit_manifest(bundle_path, files={**document["files"], name: entry})

    with pytest.raises(BundleError, match="holds functions or sparse weights"):
        edgeexit.Bundle.open(bundle_path)


def test_a_manifest_with_the_line_ends_of_windows_is_the_same_manifest(bundle_path: Path) -> None:
    """As Git and editors there write text files; any other change is found."""
    before, path = edgeexit.Bundle.open(bundle_path).manifest, bundle_path / "manifest.json"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\n", b"\r\n"))
    assert before == edgeexit.Bundle.open(bundle_path).manifest

    path.write_bytes(content.replace(b"\n", b"\r\n").replace(b"entropy", b"margin"))
    with pytest.raises(BundleError, match="was changed after it was written"):
        edgeexit.Bundle.open(bundle_path)


def test_a_path_that_cannot_even_be_looked_at_is_one_message(tmp_path: Path) -> None:
    """Whatever the system's reason."""
    with pytest.raises(BundleError, match=r"cannot be read \(File name too long\)"):
        edgeexit.Bundle.open(tmp_path / ("a" * 300))
