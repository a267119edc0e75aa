"""A bundle from a stranger: whatever lies in its folder, writing into it writes nowhere else, and waits for nothing."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import edgeexit
from edgeexit.bundle import Bundle
from edgeexit.errors import BundleError
from edgeexit.util import atomic
from tests.support.manifests import edit_manifest

KEY = "board/onnxruntime-staged-float32-t1"
PRECIOUS = "precious\n"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file outside that must stay as it is."""
    path = tmp_path / "victim"
    path.write_text(PRECIOUS)
    return path


@pytest.mark.parametrize("name", ["probe", "manifest.json", ".tmp-probe", f"{Path(KEY).name}.json"])
def test_links_under_guessed_temporary_names_are_not_written_through(
    bundle_path: Path, victim: Path, name: str
) -> None:
    """Temporary names are random and created exclusively; the next writer sweeps the planted ones up."""
    folder = bundle_path / "calibrations" / "board"
    folder.mkdir(parents=True)
    for place in (bundle_path, folder):
        (place / f".tmp-{os.getpid()}-{name}").symlink_to(victim)
    bundle = Bundle.open(bundle_path)

    bundle.check_writable()
    bundle.write_calibration(KEY, {"n": 1})

    assert PRECIOUS == victim.read_text()
    assert not (bundle_path / "manifest.json").is_symlink()
    assert not [p for p in bundle_path.rglob("*") if atomic.is_temporary(p)]


@pytest.mark.parametrize("part", ["calibrations", "calibrations/board"])
@pytest.mark.parametrize("to", ["folder", "nothing", "file"])
def test_a_link_in_the_place_of_a_folder_is_refused(bundle_path: Path, tmp_path: Path, part: str, to: str) -> None:
    """Wherever it leads, nothing is written, there or here."""
    outside = tmp_path / "outside"
    if to == "folder":
        outside.mkdir()
    elif to == "file":
        outside.write_text(PRECIOUS)
    (bundle_path / part).parent.mkdir(exist_ok=True)
    (bundle_path / part).symlink_to(outside)
    bundle = Bundle.open(bundle_path)

    with pytest.raises(BundleError, match="is a link or a file where a bundle has a folder"):
        bundle.write_calibration(KEY, {"n": 1})

    assert bundle.manifest == Bundle.open(bundle_path).manifest
    assert not outside.is_dir() or not list(outside.iterdir())


def link_out(lock: Path) -> None:
    lock.symlink_to(lock.parent.parent / "made-outside")


@pytest.mark.parametrize("plant", [os.mkfifo, Path.mkdir, link_out])
def test_a_lock_that_is_no_plain_file_is_refused(
    model: Path, bundle_path: Path, tmp_path: Path, plant: Callable[[Path], None]
) -> None:
    """A pipe would be waited for without end, a link would make a file outside."""
    (bundle_path / ".lock").unlink()
    plant(bundle_path / ".lock")

    with pytest.raises(BundleError, match=r"\.lock"):
        Bundle.open(bundle_path).write_calibration(KEY, {"n": 1})
    with pytest.raises(BundleError, match=r"\.lock"):
        edgeexit.compile(model, bundle_path, seconds=0)

    assert [bundle_path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["outside", "pipe"])
def test_a_manifest_that_is_no_file_of_the_bundle_is_refused(bundle_path: Path, tmp_path: Path, where: str) -> None:
    """A link that leads out, or a pipe that nobody writes."""
    manifest = bundle_path / "manifest.json"
    manifest.rename(tmp_path / "elsewhere.json")
    if where == "pipe":
        os.mkfifo(manifest)
    else:
        manifest.symlink_to(tmp_path / "elsewhere.json")

    with pytest.raises(BundleError, match=r"to a place outside the bundle|holds no manifest\.json"):
        Bundle.open(bundle_path)


def test_every_changed_byte_of_the_manifest_is_found(bundle_path: Path) -> None:
    """Blanks between its values too; the digest covers them."""
    manifest = bundle_path / "manifest.json"
    whole = manifest.read_bytes()

    for place in (*range(0, len(whole), 97), *range(len(whole) - 80, len(whole))):
        manifest.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(BundleError, match=r"manifest\.json"):
            Bundle.open(bundle_path)


def test_a_calibration_of_a_network_that_was_compiled_anew_meanwhile_is_refused(
    model: Path, bundle_path: Path, tmp_path: Path
) -> None:
    """Its thresholds were measured on other stages or another criterion; the same network compiled again is no reason."""
    before = Bundle.open(bundle_path)
    edgeexit.compile(model, bundle_path, seconds=0)
    before.write_calibration(KEY, {"n": 1})
    edgeexit.compile(model, bundle_path, criterion="max_softmax", seconds=0)

    with pytest.raises(BundleError, match="recompiled since it was opened"):
        before.write_calibration(KEY, {"n": 2})
    with pytest.raises(BundleError, match="recompiled since it was opened"):
        before.check_writable()

    assert not Bundle.open(bundle_path).manifest.calibrations


@pytest.mark.parametrize("field", ["backbone", "fused", "model"])
def test_a_manifest_that_names_a_file_which_is_no_model_is_a_bundle_error(bundle_path: Path, field: str) -> None:
    """Whatever the file's name ends in; the engines never see it."""
    content = b'{"schema": "edgeexit.bench/1"}'
    (bundle_path / "result.json").write_bytes(content)
    files = json.loads((bundle_path / "manifest.json").read_text())["files"]
    files["result.json"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    edit_manifest(bundle_path, **{field: "result.json", "files": files})

    with pytest.raises(BundleError, match=r"result\.json is not an ONNX model"):
        edgeexit.load(bundle_path)


@pytest.mark.parametrize("part", ["calibrations", "calibrations/board", "notes"])
def test_nothing_is_removed_through_a_link(model: Path, bundle_path: Path, tmp_path: Path, part: str) -> None:
    """Files outside that are named as a bundle names its own, or its unfinished ones, stay."""
    outside = tmp_path / "outside"
    outside.mkdir()
    names = ("model-0123456789abcdef.onnx", ".tmp-1-x")
    for name in names:
        (outside / name).write_text(PRECIOUS)
    (bundle_path / part).parent.mkdir(exist_ok=True)
    (bundle_path / part).symlink_to(outside)

    Bundle.open(bundle_path).check_writable()
    edgeexit.compile(model, bundle_path, seconds=0)

    assert [PRECIOUS, PRECIOUS] == [(outside / name).read_text() for name in names]
