"""Data files and labels in common forms become what the network takes, or one message says what to do."""

from __future__ import annotations

import os
import socket
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeexit.data import (
    DataWarning,
    InputSpec,
    ModelInfo,
    Preprocess,
    check_labels,
    load_data,
    make_dataset,
)
from edgeexit.errors import InputError
from edgeexit.util.arguments import make_printable

X, Y = np.arange(24.0).reshape(4, 6) / 24, np.array([0, 2, 1, 2])
NAMES = ("cat", "dog", "horse")


def network(*inputs: InputSpec, classes: int = 3, **known: Any) -> ModelInfo:
    return ModelInfo("net.eexit", inputs or (InputSpec("input", "float32", (6,)),), classes, **known)


@pytest.mark.parametrize(
    "labels",
    [
        Y.astype(np.uint8),
        Y.astype(np.float64),
        Y[:, None],
        np.eye(3)[Y],
        np.eye(3, dtype=bool)[Y],
        np.array(["0", "2", "1", "2"]),
        np.array(NAMES)[Y],
        np.array([n.upper().encode() for n in NAMES])[Y],
        np.array([f" {n} " for n in NAMES])[Y],
        np.array(NAMES, dtype=object)[Y],
        Y.astype(object),
        Y.tolist(),
    ],
)
def test_labels_of_every_form_are_the_same_numbers(labels: Any) -> None:
    """Whole numbers of any type, columns, one-hot rows, text that names the network's classes."""
    with_names = network(class_names=NAMES) if np.asarray(labels).dtype.kind in "USO" else network()
    if np.asarray(labels).dtype.kind == "U" and str(labels[0]).isdigit():
        with_names = network()

    assert Y.tolist() == make_dataset("d", X, labels, with_names).y.tolist()


def test_one_hot_rows_of_another_width_are_refused() -> None:
    """A background class in front would move every label."""
    with pytest.raises(InputError, match="one-hot rows of 4 columns; the network has 3 classes"):
        make_dataset("d", X, np.eye(4)[Y + 1], network())


def test_labels_that_count_from_1_say_so() -> None:
    """As other tools number them."""
    with pytest.raises(InputError, match="count from 1: give y - 1"):
        check_labels(make_dataset("d", X, Y + 1, network()), 3)


def test_truth_values_are_the_classes_0_and_1() -> None:
    """As a mask gives them."""
    assert [0, 1, 0, 1] == make_dataset("d", X, np.array([False, True, False, True])).y.tolist()


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": X, "y": Y},
        {"x": X, "y": Y, "names": np.array(NAMES)},
        {"X": X, "Y": Y},
        {"input": X, "y": Y},
        {"images": X, "labels": Y},
        {"data": X, "target": Y},
        {"arr_0": X, "arr_1": Y},
        {"x_test": X, "y_test": Y},
        {"test_images": X, "test_labels": Y},
        {"anything": X, "label": Y},
        {"x": X, "labels": Y},
        {"x": X, "Y": Y},
        {"inputs": X, "classes": Y},
        {"testX": X, "testY": Y},
        {"Xte": X, "yte": Y},
    ],
)
def test_arrays_are_found_by_the_names_that_people_give(arrays: dict[str, Any], tmp_path: Path) -> None:
    """The network's input, edgeexit's own, and those of common tools."""
    np.savez(tmp_path / "d.npz", **arrays)

    data = load_data(tmp_path / "d.npz", network())

    assert (Y.tolist(), np.dtype("float32")) == (data.y.tolist(), data.x.dtype)
    np.testing.assert_allclose(X, data.x, rtol=1e-6)


def test_a_part_is_named_where_a_file_holds_several(tmp_path: Path) -> None:
    """Nobody guesses between train and test."""
    np.savez(tmp_path / "d.npz", x_train=X[:2], y_train=Y[:2], x_test=X, y_test=Y)

    with pytest.raises(InputError, match=r"d\.npz:train, .*d\.npz:test"):
        load_data(tmp_path / "d.npz", network())
    assert (2, 4) == tuple(len(load_data(f"{tmp_path}/d.npz:{part}", network())) for part in ("train", "test"))


@pytest.mark.parametrize(
    ("inputs", "labels", "fault"),
    [
        ({}, Y, "there are no inputs"),
        ("digits:test", None, "use edgeexit.data.load_data"),
        (X, np.ma.array(Y, mask=[True, False, False, False]), r"fill them \(y\.filled"),
    ],
)
def test_what_is_no_array_says_what_to_give(inputs: Any, labels: Any, fault: str) -> None:
    """Whatever was handed over in Python."""
    with pytest.raises(InputError, match=fault):
        make_dataset("data", inputs, labels, network())


def test_an_input_that_is_called_like_labels_does_not_take_their_place(tmp_path: Path) -> None:
    """`x` and `y` are what they are everywhere."""
    np.savez(tmp_path / "d.npz", x=X, y=Y)

    assert Y.tolist() == load_data(tmp_path / "d.npz", network(InputSpec("y", "float32", (6,)))).y.tolist()


def test_class_names_of_a_file_may_be_bytes(tmp_path: Path) -> None:
    """As HDF5 gives them."""
    names = np.array([n.encode() for n in NAMES])
    np.savez(tmp_path / "d.npz", x=X, y=names[Y], classes=names)

    assert Y.tolist() == load_data(tmp_path / "d.npz", network()).y.tolist()


def test_a_part_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Other samples than those that were asked for are never taken instead."""
    np.savez(tmp_path / "d.npz", x=X, y=Y)

    with pytest.raises(InputError, match=r"not parts: give .* without :test"):
        load_data(f"{tmp_path / 'd.npz'}:test", network())


def test_an_archive_of_other_files_says_that_it_is_one(tmp_path: Path) -> None:
    """A folder of pictures as it was downloaded."""
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("cat/1.png", b"")

    with pytest.raises(InputError, match=r"archive of other files \(cat/1\.png\): unpack it"):
        load_data(tmp_path / "photos.zip", network())


@pytest.mark.parametrize("spec", ["", " ", b"x.npz", None, 3])
def test_what_names_no_data_is_refused(spec: Any) -> None:
    """An empty variable of a shell is not the current folder."""
    with pytest.raises(InputError, match="must be a path or the name of a set"):
        load_data(spec)


@pytest.mark.parametrize("limit", [0, -1, 2.5])
def test_a_limit_is_at_least_one_sample(limit: Any) -> None:
    """A negative number does not count from the end."""
    with pytest.raises(InputError, match="limit must be 1"):
        load_data("digits:test", limit=limit)


def test_inputs_by_their_own_names_are_the_networks(tmp_path: Path) -> None:
    """As a tokenizer gives them; a name that is missing is told with the near miss."""
    two = network(InputSpec("input_ids", "int64", (6,)), InputSpec("mask", "bool", (6,)))
    ids = np.arange(24, dtype=np.int32).reshape(4, 6)
    np.savez(tmp_path / "d.npz", input_ids=ids, mask=ids % 2, y=Y)
    np.savez(tmp_path / "near.npz", input_ids=ids, masks=ids % 2)

    found = load_data(tmp_path / "d.npz", two).inputs

    assert isinstance(found, dict)
    assert {"input_ids": np.int64, "mask": np.bool_} == {k: v.dtype for k, v in found.items()}
    with pytest.raises(InputError, match="Did you mean 'masks' for 'mask'"):
        load_data(tmp_path / "near.npz", two)


def test_arrays_that_are_not_used_are_told(tmp_path: Path) -> None:
    """A second input that was forgotten would otherwise go unseen."""
    np.savez(tmp_path / "d.npz", x=X, y=Y, weights=Y)

    with pytest.warns(DataWarning, match="not used: weights"):
        load_data(tmp_path / "d.npz", network())


@pytest.mark.parametrize(
    ("inputs", "labels"),
    [
        ("x", "y"),
        ("X_test", "y_test"),
        ("images", "labels"),
        ("val.x", "val.y"),
        ("test_images", "test_labels"),
        ("mnist_X", "mnist_y"),
        ("Xtrain", "ytrain"),
        ("X1", "Y1"),
        ("features", "targets"),
    ],
)
def test_an_npy_takes_its_labels_from_the_file_beside_it(inputs: str, labels: str, tmp_path: Path) -> None:
    """Or from the one that is named after a comma; without either there are no labels."""
    np.save(tmp_path / f"{inputs}.npy", X)
    assert load_data(tmp_path / f"{inputs}.npy", network()).labels is None
    np.save(tmp_path / f"{labels}.npy", Y)

    assert Y.tolist() == load_data(tmp_path / f"{inputs}.npy", network()).y.tolist()
    assert Y.tolist() == load_data(f"{tmp_path}/{inputs}.npy, {tmp_path}/{labels}.npy", network()).y.tolist()


def test_a_pickled_npy_is_refused(tmp_path: Path) -> None:
    """Loading data never runs code that is in it."""
    np.save(tmp_path / "x.npy", np.array([Path], dtype=object))

    with pytest.raises(InputError, match="pickled objects, which are never loaded"):
        load_data(tmp_path / "x.npy", network())


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (np.float64, "float32"),
        (np.float32, "float16"),
        (np.float16, "float64"),
        (np.int32, "int64"),
        (np.int64, "uint8"),
        (np.float64, "int32"),
        (np.int64, "float32"),
        (bool, "float32"),
    ],
)
def test_inputs_become_the_networks_type(given: Any, dtype: str) -> None:
    """Whatever it declares, where every value has its place there."""
    x = (np.arange(12).reshape(2, 6) % 2).astype(given)

    found = make_dataset("d", x, None, network(InputSpec("x", dtype, (6,)))).x

    assert dtype == found.dtype
    np.testing.assert_array_equal(x.astype(np.float64), found.astype(np.float64))


@pytest.mark.parametrize(
    ("x", "spec", "fault"),
    [
        (np.full((2, 6), 1e39), InputSpec("x", "float32", (6,)), r"beyond 3\.403e\+38.* in 2 of 2 samples"),
        (np.full((2, 6), 1e5, np.float32), InputSpec("x", "float16", (6,)), "beyond 6.55e"),
        (np.full((2, 6), 2**31), InputSpec("x", "int32", (6,)), "-2147483648 to 2147483647"),
        (np.full((2, 6), 0.5), InputSpec("x", "uint8", (6,)), "fractions.*multiply by 255"),
        (np.full((2, 6), 2**24 + 1), InputSpec("x", "float32", (6,)), "does not hold exactly"),
        (np.full((2, 3, 8, 8), 7, np.uint8), InputSpec("x", "float32", (3, 8, 8)), "--preprocess"),
        (np.zeros((2, 7)), InputSpec("x", "float32", (6,)), r"must have shape \[samples, 6\]"),
        (np.zeros((2, 192)), InputSpec("x", "float32", (3, 8, 8)), r"x\.reshape\(-1, 3, 8, 8\)"),
        (np.ma.masked_equal(np.zeros((2, 6)), 0), InputSpec("x", "float32", (6,)), "is masked"),
        ([[1.0], [1.0, 2.0]], InputSpec("x", "float32", (6,)), "cannot be read as an array"),
    ],
)
def test_what_would_change_a_value_is_refused(x: Any, spec: InputSpec, fault: str) -> None:
    """Each with what to do."""
    with pytest.raises(InputError, match=fault):
        make_dataset("d", x, None, network(spec))


@given(hnp.arrays(np.uint8, (2, 5, 4, 3)))
def test_channels_come_first_or_last_as_the_network_has_them(pixels: np.ndarray) -> None:
    """The other order is turned where only one fits; pixels are prepared as the network's pictures are."""
    first = network(InputSpec("x", "float32", (3, 5, 4)), preprocess=Preprocess(mean=(0.5,), std=(0.25,)))
    wanted = (pixels.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.25

    for given_pixels in (pixels, pixels.transpose(0, 3, 1, 2)):
        np.testing.assert_allclose(wanted, make_dataset("d", given_pixels, None, first).x, rtol=1e-5, atol=1e-5)
    last = network(InputSpec("x", "uint8", (5, 4, 3)), preprocess=Preprocess(channels="bgr"))
    prepared = make_dataset("d", pixels, None, last)
    np.testing.assert_array_equal(
        prepared.x, make_dataset("d", prepared.x, None, last).x
    )  # arrays of the input's own type are inputs


def test_grey_pictures_without_a_channel_get_one() -> None:
    """As Keras ships MNIST; one sample alone gets its batch."""
    grey = network(InputSpec("x", "float32", (1, 5, 4)))

    assert (2, 1, 5, 4) == make_dataset("d", np.zeros((2, 5, 4)), None, grey).x.shape
    assert (1, 1, 5, 4) == make_dataset("d", np.zeros((1, 5, 4)), None, grey).x.shape


@pytest.mark.slow
def test_tensors_are_arrays() -> None:
    """Of torch, with a gradient, in a type that NumPy lacks."""
    torch = pytest.importorskip("torch")

    for x in (
        torch.ones(2, 6, requires_grad=True),
        torch.ones(2, 6, dtype=torch.bfloat16),
        [torch.ones(6), torch.ones(6)],
    ):
        assert [[1.0] * 6] * 2 == make_dataset("d", x, torch.tensor([0, 1]), network()).x.tolist()


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
@pytest.mark.parametrize("name", ["d.npz", "d.npy", "d.png", "photos"])
def test_what_is_no_file_is_refused_at_once(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading it could wait for ever, or never end."""
    monkeypatch.chdir(tmp_path)  # the name of a socket may have 107 characters
    place = tmp_path / name
    if name == "photos":
        (tmp_path / "photos" / "a").mkdir(parents=True)
        place = tmp_path / "photos" / "a" / "x.png"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.relpath(place))
    else:
        place.symlink_to("/dev/zero")

    with pytest.raises(InputError, match=f"is a {kind}, not a file"):
        load_data(tmp_path / name)


def test_names_of_files_cannot_steer_a_terminal_or_break_a_document(tmp_path: Path) -> None:
    """Control characters and bytes that are not UTF-8 are written as numbers."""
    bad = tmp_path / os.fsdecode(b"caf\xe9\x1b[2J.npz")
    with bad.open("wb") as file:
        np.savez(file, x=X)

    name = load_data(bad).name

    assert name.encode() == name.encode("ascii")
    assert name.endswith("caf\\xe9\\x1b[2J.npz")


@given(st.text(st.characters(exclude_categories=())))
def test_a_printable_name_is_text_that_any_file_holds(name: str) -> None:
    """And what is plain already stays."""
    shown = make_printable(name)

    assert shown == shown.encode().decode()
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in shown)
    assert shown == make_printable(shown)
