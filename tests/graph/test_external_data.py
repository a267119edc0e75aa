"""Weights in files of their own: of any size, stored once, and never outside the bundle."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper

import edgeexit
from edgeexit.errors import ModelError
from tests.networks import chain
from tests.support.onnx_writer import Writer, check, loaded, original

IMAGE = (3, 6, 6)
ROWS, WIDTH = 70_000_000, 8  # 2.24 GB in float32, beyond what a protobuf message holds


def with_outside_weights(path: Path) -> Path:
    """Every weight of the model in one file beside it."""
    model = onnx.load(str(path))
    external_data_helper.convert_model_to_external_data(model, location="weights.data", size_threshold=0)
    onnx.save(model, path)
    return path


def test_outside_weights_give_the_same_answers(tmp_path: Path) -> None:
    """Read from the file beside the model, written to the file of the bundle."""
    w = Writer()
    x = w.conv("x", 3, 16)
    w.head(x, 16, "z1")
    w.head(w.conv(x, 16, 16), 16, "z2")
    path = with_outside_weights(w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2"]))

    check(path, {"x": np.random.default_rng(0).standard_normal((4, *IMAGE)).astype(np.float32)}, ["z1", "z2"])


def test_a_weight_that_two_stages_read_is_stored_once(tmp_path: Path) -> None:
    """Also when it is spelled twice in the model: weights are known by their content."""
    w = Writer()
    x = w.conv("x", 3, 16)
    kernel = w.rng.standard_normal((16, 16, 3, 3)).astype(np.float32)
    exits = []
    for k in (1, 2, 3):
        x = w.op("Tanh", w.op("Conv", x, w.constant(kernel), pads=[1, 1, 1, 1]))
        exits.append(w.head(x, 16, f"z{k}"))
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, exits)

    bundle = edgeexit.compile(path, tmp_path / "b.eexit", seconds=0)

    [weights] = [entry.bytes for name, entry in bundle.manifest.files.items() if name.endswith(".bin")]
    assert weights < 2 * kernel.nbytes


@pytest.mark.parametrize("element", [TensorProto.INT4, TensorProto.UINT4, TensorProto.INT8, TensorProto.FLOAT16])
def test_weights_that_are_not_held_as_bytes_are_written_as_such(tmp_path: Path, element: int) -> None:
    """As onnx's own `make_tensor` spells them, one number per entry; two of four bits go into one byte of the file."""
    w = Writer()
    numbers = w.rng.integers(0, 8, (64, 64))
    w.weights.append(helper.make_tensor("packed", element, numbers.shape, numbers.ravel().tolist()))
    w.op("MatMul", "x", w.weight(64, 3), out="z1")
    wide = w.op("Cast", "packed", to=TensorProto.FLOAT)
    w.op("MatMul", w.op("Tanh", w.op("MatMul", "x", wide)), w.weight(64, 3), out="z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", 64]}, ["z1", "z2"], opset=21)

    check(path, {"x": w.rng.standard_normal((3, 64)).astype(np.float32)}, ["z1", "z2"])


def test_an_outside_weight_is_read_once_however_many_exits_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To know it and to copy it: backbone, fused form and stages take what was copied."""
    path, opened, usual = with_outside_weights(chain(tmp_path / "m.onnx", exits=4, width=64)), [], Path.open

    def count(file: Path, *arguments: Any, **options: Any) -> Any:
        opened.append(file.name)
        return usual(file, *arguments, **options)

    monkeypatch.setattr(Path, "open", count)
    edgeexit.compile(path, tmp_path / "b.eexit", seconds=0)

    assert 0 < opened.count("weights.data") <= 2 * len(onnx.load(path, load_external_data=False).graph.initializer)


WHOLE_HASH = hashlib.sha256


@cache
def zeros(length: int) -> bytes:
    """So many; made anew for each chunk they would take longer than to compare it."""
    return bytes(length)


class BriefHash:
    """SHA-256 in which a chunk of zeros counts by its length: that of gigabytes of them, five times, takes longer than all else."""

    def __init__(self, content: bytes = b"") -> None:
        self.hash = WHOLE_HASH(content)
        self.digest, self.hexdigest = self.hash.digest, self.hash.hexdigest

    def update(self, chunk: bytes) -> None:
        self.hash.update(str(len(chunk)).encode() if chunk == zeros(len(chunk)) else chunk)


@pytest.fixture
def roomy(tmp_path: Path) -> Iterator[Path]:
    """A folder for holes: in memory where that can be, as a hole that is read from a disk fills memory with zeros page by page."""
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK):
        with tempfile.TemporaryDirectory(dir=memory) as folder:
            yield Path(folder)
    elif shutil.disk_usage(tmp_path).free < 8 * 2**30:
        pytest.skip("needs 8 GiB of free disk, in case the file system has no holes")
    else:
        yield tmp_path


@pytest.mark.slow
def test_weights_beyond_two_gigabytes(roomy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in: a table of 2.24 GB, nearly all of it a hole in the file; it stays a hole in the bundle."""
    monkeypatch.setattr(hashlib, "sha256", BriefHash)
    path = giant(roomy)
    samples = {"ids": np.array([[0, 1, 2], [ROWS - 3, ROWS - 2, ROWS - 1]])}

    expected = original(path, ["z1", "z2"], samples)

    bundle = edgeexit.compile(path, roomy / "b.eexit", seconds=0)

    for mode, note in (("staged", "its weights are"), ("fused", "")):
        with loaded(bundle, mode) as runner:
            assert note in runner.note
            for i, row in enumerate(expected):
                for k, logits in enumerate(row, 1):
                    answer = runner.forced(samples["ids"][i : i + 1], exit=k)
                    np.testing.assert_allclose(answer.logits, logits[0], atol=1e-5)
    used = sum(p.stat().st_blocks * 512 for p in roomy.rglob("*") if p.is_file())
    assert used < 2**30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 16 * 2**20  # KiB


def giant(tmp_path: Path) -> Path:
    w = Writer()
    words = w.op("ReduceMean", w.op("Gather", "table", "ids"), axes=[1], keepdims=0)
    w.op("Gemm", words, w.weight(WIDTH, 3), out="z1")
    w.op("Gemm", w.op("Tanh", w.op("Gemm", words, w.weight(WIDTH, 64))), w.weight(64, 3), out="z2")
    path = w.save(tmp_path / "m.onnx", {"ids": ["n", 3]}, ["z1", "z2"], elements={"ids": TensorProto.INT64})
    with (tmp_path / "table.bin").open("wb") as stream:
        stream.write(w.rng.standard_normal((3, WIDTH)).astype(np.float32).tobytes())
        stream.seek((ROWS - 3) * WIDTH * 4)
        stream.write(w.rng.standard_normal((3, WIDTH)).astype(np.float32).tobytes())
    model = onnx.load(str(path))
    table = model.graph.initializer.add(name="table", data_type=TensorProto.FLOAT, dims=[ROWS, WIDTH])
    table.data_location = TensorProto.EXTERNAL
    table.external_data.add(key="location", value="table.bin")
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("elsewhere", [False, True])
def test_links_of_a_model_and_its_weights_into_one_folder_are_followed(tmp_path: Path, elsewhere: bool) -> None:
    """As a model hub's cache keeps them; a link that leads anywhere else is refused with what to do."""
    plain = chain(tmp_path / "plain.onnx")
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    model = onnx.load(plain)
    onnx.save(model, blobs / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    (blobs / "model.onnx").rename(blobs / "1111")
    (blobs / "model.onnx_data").rename((tmp_path if elsewhere else blobs) / "2222")
    (snapshot / "model.onnx").symlink_to("../../blobs/1111")
    (snapshot / "model.onnx_data").symlink_to("../../2222" if elsewhere else "../../blobs/2222")

    if elsewhere:
        with pytest.raises(ModelError, match=r"outside the model's folder.*cp -rL"):
            edgeexit.compile(snapshot / "model.onnx", tmp_path / "b.eexit", seconds=0)
    else:
        assert edgeexit.compile(snapshot / "model.onnx", tmp_path / "b.eexit", seconds=0).manifest.exits == 2
