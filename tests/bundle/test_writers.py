"""Writers of a bundle: one at a time, all of the new one or all of the old one, and nobody else's files."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import edgeexit
from edgeexit.bundle import replace_bundle, store
from edgeexit.bundle.store import LOCK
from edgeexit.errors import BundleError, InputError
from edgeexit.runtime import Settings
from edgeexit.runtime.loading import open_runner
from edgeexit.util import atomic
from tests.networks import chain, images


def test_compiling_over_a_folder_that_is_no_bundle_is_refused(model: Path, tmp_path: Path) -> None:
    """Nobody's files are overwritten."""
    (tmp_path / "thesis.txt").write_text("mine")

    with pytest.raises(BundleError, match="exists and is not a bundle"):
        edgeexit.compile(model, tmp_path, seconds=0)

    assert ["thesis.txt"] == [p.name for p in tmp_path.iterdir()]


def test_a_folder_that_is_no_bundle_is_refused_before_the_model_is_read(tmp_path: Path) -> None:
    """A large one takes minutes to split."""
    (tmp_path / "thesis.txt").write_text("mine")

    with pytest.raises(BundleError, match="exists and is not a bundle"):
        edgeexit.compile(tmp_path / "missing.onnx", tmp_path, seconds=0)


def test_a_strangers_file_in_a_bundle_survives_a_new_compile(model: Path, bundle_path: Path) -> None:
    """Only files of our own naming are swept away."""
    (bundle_path / "notes-2024.txt").write_text("mine")

    edgeexit.compile(model, bundle_path, seconds=0)

    assert (bundle_path / "notes-2024.txt").read_text() == "mine"


def test_a_strangers_folder_and_link_in_a_bundle_survive_a_new_compile(
    model: Path, bundle_path: Path, tmp_path: Path
) -> None:
    """Empty as they may be; what is committed is told as committed."""
    (bundle_path / "notes").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (bundle_path / "link").symlink_to(tmp_path / "elsewhere")

    edgeexit.compile(model, bundle_path, seconds=0)

    assert (bundle_path / "notes").is_dir()
    assert (bundle_path / "link").is_symlink()


def test_a_bundle_that_is_committed_while_another_writer_waits_is_whole_when_that_one_fails(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second writer goes by what is there once the lock is its own."""
    other = chain(tmp_path / "other.onnx", width=20)
    locked = store.lock_folder

    @contextmanager
    def waiting(folder: Path) -> Iterator[None]:
        monkeypatch.setattr("edgeexit.bundle.bundle.lock_folder", locked)
        edgeexit.compile(other, bundle_path, seconds=0)
        with locked(folder):
            yield

    monkeypatch.setattr("edgeexit.bundle.bundle.lock_folder", waiting)
    with pytest.raises(RuntimeError, match="fails"), replace_bundle(bundle_path):
        raise RuntimeError("fails")

    assert "other.onnx" == edgeexit.Bundle.open(bundle_path).manifest.source.name


def test_a_second_writer_is_refused(model: Path, bundle_path: Path) -> None:
    """The lock is the system's, so it ends with its holder however that dies."""
    with store.lock_folder(bundle_path):
        with pytest.raises(BundleError, match="another process is writing"):
            edgeexit.compile(model, bundle_path, seconds=0)
        with pytest.raises(BundleError, match="another process is writing"):
            edgeexit.Bundle.open(bundle_path).write_calibration("here/onnxruntime-staged-float32-t1", {})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(model: Path, tmp_path: Path) -> None:
    """One message with the way out."""
    tmp_path.chmod(0o500)

    with pytest.raises(BundleError, match="give write permission, or another path"):
        edgeexit.compile(model, tmp_path / "b.eexit", seconds=0)


def test_a_path_that_cannot_be_made_is_refused(model: Path) -> None:
    """Where even root may not write."""
    with pytest.raises(BundleError, match=r"cannot be written|writing .* failed"):
        edgeexit.compile(model, "/proc/edgeexit.eexit", seconds=0)


def test_a_full_disk_leaves_the_old_bundle_as_it_was(
    tmp_path: Path, bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure may come at any write; each of them is tried."""
    other = chain(tmp_path / "other.onnx", exits=2)
    before = {p.name: p.read_bytes() for p in bundle_path.iterdir()}
    real, survived = atomic.move_into_place, 0
    for allowed in range(20):
        left = [allowed]

        def full(unfinished: Path, final: Path, left: list[int] = left) -> None:
            if not left[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            left[0] -= 1
            real(unfinished, final)

        with monkeypatch.context() as patch:
            patch.setattr("edgeexit.bundle.bundle.move_into_place", full)
            patch.setattr("edgeexit.util.atomic.move_into_place", full)
            try:
                edgeexit.compile(other, bundle_path, seconds=0)
            except BundleError as error:
                assert "No space left on device. What was there before is unchanged" in str(error)
                assert before == {p.name: p.read_bytes() for p in bundle_path.iterdir()}
                survived += 1
            else:
                break

    assert survived >= 6, "every file of the new bundle and the manifest must have failed once"
    assert edgeexit.Bundle.open(bundle_path).manifest.exits == 2


KILLED_WRITER = """
import sys, edgeexit
from pathlib import Path
models, bundle = [Path(p) for p in sys.argv[1:3]], Path(sys.argv[3])
print("ready", flush=True)
for round in range(1000):
    b = edgeexit.compile(models[round % 2], bundle, seconds=0)
    b.write_calibration("board/onnxruntime-staged-float32-t1", {"exits": b.manifest.exits}, {"replay.npz": b"x" * 100_000})
"""


@pytest.mark.slow
def test_a_writer_killed_at_any_point_leaves_the_old_bundle_or_the_new_one(tmp_path: Path) -> None:
    """Kill -9 at twelve random moments of compiling and calibrating in turn: the bundle opens and runs each time."""
    two, three = chain(tmp_path / "two.onnx", exits=2), chain(tmp_path / "three.onnx", exits=3)
    path = tmp_path / "b.eexit"
    edgeexit.compile(two, path, seconds=0)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(12):
        writer = subprocess.Popen([sys.executable, "-c", KILLED_WRITER, three, two, path], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.5))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()

        bundle = edgeexit.Bundle.open(path)
        calibration = bundle.read_calibration("board/onnxruntime-staged-float32-t1")

        assert calibration in (None, {"exits": bundle.manifest.exits})
        with open_runner(bundle, Settings()) as runner:
            runner(images(1))
        seen.add(bundle.manifest.exits)

    edgeexit.compile(two, path, seconds=0)
    leftovers = [p.name for p in path.iterdir() if p.name.startswith(".") and p.name != LOCK]
    assert leftovers == [], "the next writer sweeps up what killed ones left"


@pytest.mark.parametrize("version", ["3", "²"])
def test_a_compile_that_fails_loses_nothing_of_a_bundle_that_cannot_be_read(
    tmp_path: Path, model: Path, bundle_path: Path, version: str
) -> None:
    """Of a newer edgeexit, or damaged: its files are somebody's until a new bundle stands in their place."""
    manifest = bundle_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace("edgeexit.bundle/2", f"edgeexit.bundle/{version}", 1))
    before = {p.name: p.read_bytes() for p in bundle_path.iterdir() if p.name != LOCK}
    wrong = np.zeros((1, 3, 5, 5), np.float32)

    with pytest.raises(InputError, match="must have shape"):
        edgeexit.compile(model, bundle_path, inputs=wrong, seconds=0)
    with pytest.raises(InputError, match="must have shape"):
        edgeexit.compile(chain(tmp_path / "other.onnx", width=20), bundle_path, inputs=wrong, seconds=0)

    assert before == {p.name: p.read_bytes() for p in bundle_path.iterdir() if p.name != LOCK}


def test_a_reader_gets_the_bundle_that_replaced_the_one_it_was_reading(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old files vanish under it; that is no damage."""
    other, real, calls = chain(tmp_path / "other.onnx", exits=2), store.compute_sha256, []

    def slow(path: Path) -> str:
        calls.append(path)
        if len(calls) == 2:
            edgeexit.compile(other, bundle_path, seconds=0)
        return real(path)

    monkeypatch.setattr("edgeexit.bundle.reading.compute_sha256", slow)

    assert 2 == edgeexit.Bundle.open(bundle_path).manifest.exits
