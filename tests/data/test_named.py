"""Data is found by a short text; what cannot be found says where it was looked for."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from edgeexit.data import load_data
from edgeexit.data.cifar10 import make_cifar10_split, read_batch
from edgeexit.data.mnist import make_mnist_split, read_idx
from edgeexit.errors import InputError

FOLDER = Path(os.environ.get("EDGEEXIT_DATA", ""))
needs_mnist = pytest.mark.skipif(not (FOLDER / "mnist").is_dir(), reason="needs MNIST under $EDGEEXIT_DATA/mnist")
needs_cifar = pytest.mark.skipif(
    not (FOLDER / "cifar-10-batches-bin").is_dir(), reason="needs CIFAR-10 under $EDGEEXIT_DATA/cifar-10-batches-bin"
)


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("digit:test", "Did you mean 'digits'"),
        ("digits:tset", "Did you mean 'test'"),
        ("digits", "does not say which part"),
        ("nothing/here", "not an .npz, not a folder"),
        ("here.npz", "no such file"),
    ],
)
def test_what_is_not_there_is_answered_with_the_near_miss(spec: str, hint: str) -> None:
    """No traceback for a typo."""
    with pytest.raises(InputError) as caught:
        load_data(spec)

    assert hint in str(caught.value)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_set_that_is_not_on_the_machine_says_how_to_get_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command to fetch it, and the folder it may be put into."""
    monkeypatch.setenv("EDGEEXIT_DATA", str(tmp_path))

    with pytest.raises(InputError, match=f"python -m edgeexit.data {name}; or set EDGEEXIT_DATA"):
        load_data(f"{name}:test")


def test_a_file_that_is_not_the_official_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hash is told."""
    monkeypatch.setenv("EDGEEXIT_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz").write_bytes(b"other")

    with pytest.raises(
        InputError, match="is not the official file: its SHA-256 is " + hashlib.sha256(b"other").hexdigest()
    ):
        load_data("mnist:test")


def idx(shape: tuple[int, ...], body: bytes, kind: int = 8) -> bytes:
    return gzip.compress(struct.pack(f">HBB{len(shape)}I", 0, kind, len(shape), *shape) + body)


def test_an_idx_file_is_an_array_of_bytes(tmp_path: Path) -> None:
    """The format of MNIST's official page."""
    (tmp_path / "a.gz").write_bytes(idx((2, 3), bytes(range(6))))

    assert [[0, 1, 2], [3, 4, 5]] == read_idx(tmp_path / "a.gz").tolist()


@pytest.mark.parametrize(
    "content",
    [b"", b"plain", idx((2, 3), b"short"), idx((2,), b"ab", kind=13), gzip.compress(b"\0")],
    ids=[
        "empty",
        "not gzip",
        "short",
        "another kind",
        "no header",
    ],  # gzip stamps the time, which is no name for a test
)
def test_a_bad_idx_file_is_one_message(tmp_path: Path, content: bytes) -> None:
    """Empty, not gzip, cut, another type, no header."""
    (tmp_path / "a.gz").write_bytes(content)

    with pytest.raises(InputError, match="IDX"):
        read_idx(tmp_path / "a.gz")


@pytest.mark.parametrize("size", [0, 3072, 3074])
def test_a_cifar_batch_holds_whole_records(tmp_path: Path, size: int) -> None:
    """A cut file is refused."""
    (tmp_path / "b.bin").write_bytes(bytes(size))

    with pytest.raises(InputError, match="not a whole number of CIFAR-10 records"):
        read_batch(tmp_path / "b.bin")


@pytest.mark.parametrize(
    ("split", "sizes"), [(make_mnist_split, [50_000, 10_000]), (make_cifar10_split, [40_000, 10_000])]
)
def test_training_and_calibration_parts_are_disjoint(split: object, sizes: list[int]) -> None:
    """Thresholds are chosen on images that the network was not trained on."""
    parts = split()  # type: ignore[operator]

    assert sizes == [len(p) for p in parts.values()]
    assert sum(sizes) == len(np.unique(np.concatenate(list(parts.values()))))


@needs_mnist
def test_mnist_is_read_as_lenet_takes_it() -> None:
    """Shapes, range, the known first labels of the test file."""
    data = load_data("mnist:test")

    assert (10_000, 1, 28, 28) == data.x.shape
    assert (0.0, 1.0) == (data.x.min(), data.x.max())
    assert [7, 2, 1, 0, 4] == data.y[:5].tolist()


@needs_cifar
def test_cifar10_is_read_and_standardised() -> None:
    """Shapes, colours about 0 with deviation about 1, the known first labels of the test file."""
    data = load_data("cifar10:test")

    assert (10_000, 3, 32, 32) == data.x.shape
    assert [3, 8, 8, 0, 6] == data.y[:5].tolist()
    np.testing.assert_allclose(0.0, data.x.mean(axis=(0, 2, 3)), atol=0.03)
    np.testing.assert_allclose(1.0, data.x.std(axis=(0, 2, 3)), atol=0.03)


def test_a_path_that_cannot_be_looked_at_is_refused() -> None:
    """Whatever the system's reason."""
    with pytest.raises(InputError, match="File name too long"):
        load_data("a" * 300)
