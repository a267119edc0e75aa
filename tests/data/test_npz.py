"""An .npz is read as x and y, never unpickled, and written whole or not at all."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgeexit.data import Dataset, make_dataset, read_npz, write_npz
from edgeexit.errors import InputError


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """The same arrays, the same hash."""
    data = make_dataset("d", np.random.default_rng(0).normal(size=(4, 1, 3, 3)), np.arange(4))

    write_npz(tmp_path / "d.npz", data)

    assert data.sha256 == read_npz(tmp_path / "d.npz").sha256


def test_several_inputs_are_x_with_their_names(tmp_path: Path) -> None:
    """`x_image` is the input `image`."""
    data = make_dataset("d", {"image": np.ones((2, 3)), "mask": np.ones((2, 4))})

    write_npz(tmp_path / "d.npz", data)

    assert {"image", "mask"} == set(read_npz(tmp_path / "d.npz").inputs)


def test_a_pickled_npz_is_refused_and_not_run(tmp_path: Path) -> None:
    """Loading data never runs code that is in it."""
    np.savez(tmp_path / "evil.npz", x=np.array([Path], dtype=object))

    with pytest.raises(InputError, match="pickled objects, which are never loaded"):
        read_npz(tmp_path / "evil.npz")


@pytest.mark.parametrize(
    ("arrays", "fault"),
    [
        ({"pictures": np.ones((2, 2))}, "holds pictures"),
        ({"y": np.ones(2)}, "holds y"),
        ({"x": np.ones((2, 2)), "z": np.ones(1)}, "x, z"),
    ],
)
def test_other_arrays_are_refused_with_the_form(tmp_path: Path, arrays: dict[str, np.ndarray], fault: str) -> None:
    """The message says what is there and what is needed."""
    np.savez(tmp_path / "d.npz", **arrays)  # type: ignore[arg-type]

    with pytest.raises(InputError, match=r"holds x \[samples, ...\]") as caught:
        read_npz(tmp_path / "d.npz")

    assert fault in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut"])
def test_what_is_no_npz_is_one_message(tmp_path: Path, content: bytes) -> None:
    """Empty, other or truncated files."""
    (tmp_path / "d.npz").write_bytes(content)

    with pytest.raises(InputError, match=r"d\.npz: not an \.npz file"):
        read_npz(tmp_path / "d.npz")


def test_a_truncated_npz_is_one_message(tmp_path: Path) -> None:
    """Cut anywhere, it is refused."""
    write_npz(tmp_path / "d.npz", make_dataset("d", np.random.default_rng(0).normal(size=(40, 8))))
    whole = (tmp_path / "d.npz").read_bytes()

    for cut in (10, len(whole) // 2, len(whole) - 5):
        (tmp_path / "d.npz").write_bytes(whole[:cut])
        with pytest.raises(InputError):
            read_npz(tmp_path / "d.npz")


def test_a_single_array_file_is_no_npz(tmp_path: Path) -> None:
    """`np.save` instead of `np.savez`."""
    np.save(tmp_path / "d.npy", np.ones((2, 2)))
    (tmp_path / "d.npy").rename(tmp_path / "d.npz")

    with pytest.raises(InputError, match=r"not an \.npz file"):
        read_npz(tmp_path / "d.npz")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """No traceback for a typo."""
    with pytest.raises(InputError, match="no such file"):
        read_npz(tmp_path / "none.npz")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """Whole or not at all."""
    write_npz(tmp_path / "d.npz", make_dataset("d", np.ones((2, 2))))
    before = (tmp_path / "d.npz").read_bytes()

    class Broken:
        def __array__(self, *args: object, **kwargs: object) -> np.ndarray:
            raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="No space left on device"):
        write_npz(tmp_path / "d.npz", Dataset("d", {"a": Broken()}, None))  # type: ignore[dict-item]

    assert before == (tmp_path / "d.npz").read_bytes()
    assert ["d.npz"] == [p.name for p in tmp_path.iterdir()]


def test_what_no_memory_holds_is_refused(tmp_path: Path) -> None:
    """The header alone promises 700 TB."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 3, 8, 8)})
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
        file.writestr("x.npy", header.getvalue())

    with pytest.raises(InputError, match="does not fit into memory"):
        read_npz(tmp_path / "x.npz")


@pytest.mark.parametrize(("at", "value"), [(8, 1), (10, 99)])
def test_an_encrypted_or_strangely_packed_file_is_refused(tmp_path: Path, at: int, value: int) -> None:
    """As no .npz."""
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 3), np.float32))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[content.index(b"PK\x01\x02") + at] = value
    content[content.index(b"PK\x03\x04") + at - 2] = value
    (tmp_path / "x.npz").write_bytes(content)

    with pytest.raises(InputError, match=r"not an \.npz file"):
        read_npz(tmp_path / "x.npz")
