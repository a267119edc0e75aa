"""Training data in three parts: from the user's folders where they have parts, otherwise split by class; no sample in two of them."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgeexit.data import (
    DataWarning,
    InputSpec,
    ModelInfo,
    PartOptions,
    Preprocess,
    TrainingData,
    load_data,
    make_dataset,
    open_training_parts,
    read_in_order,
    write_npz,
)
from edgeexit.data.splits import split_by_class
from edgeexit.errors import InputError

UNIT = ModelInfo("net", (), preprocess=Preprocess())


def save(path: Path, seed: int, *, size: tuple[int, int] = (6, 4)) -> None:
    """A picture of random pixels, its file of the kind that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def make_folder(
    root: Path, counts: dict[str, int], *, seed: int = 0, size: tuple[int, int] = (6, 4), suffix: str = "png"
) -> Path:
    """Class folders with so many pictures each, all different."""
    for k, (name, count) in enumerate(counts.items()):
        for i in range(count):
            save(root / name / f"{i:03}.{suffix}", seed + 1000 * k + i, size=size)
    return root


def read_all(data: TrainingData, batch: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Every sample, batch by batch."""
    batches = list(read_in_order(data, batch))
    return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])


def hashes(data: TrainingData) -> set[bytes]:
    return set(data.sample_hashes())


@pytest.mark.parametrize("suffix", ["png", "jpg", "ppm", "bmp"])
def test_a_folder_of_classes_is_split_by_class(suffix: str, tmp_path: Path) -> None:
    """Each class in the same shares, no picture in two parts, none left out, and it is said."""
    parts = open_training_parts(make_folder(tmp_path, {"dog": 20, "cat": 30}, suffix=suffix), UNIT)

    assert ("cat", "dog") == parts.class_names
    assert [[24, 16], [3, 2], [3, 2]] == [np.bincount(part.y).tolist() for part in parts.by_name.values()]
    assert not any(hashes(a) & hashes(b) for a, b in combinations(parts.by_name.values(), 2))
    assert 50 == sum(len(hashes(part)) for part in parts.by_name.values())
    assert any("50 samples split by class with seed 0 into train 40, calibration 5, test 5" in n for n in parts.notes)


def test_the_split_depends_on_its_seed_only(tmp_path: Path) -> None:
    """The same folder gives the same parts again."""
    folder = make_folder(tmp_path, {"cat": 20, "dog": 20})
    one, two, other = (open_training_parts(folder, UNIT, PartOptions(seed=s)) for s in (3, 3, 4))

    assert one.test.sha256 == two.test.sha256
    assert one.test.sha256 != other.test.sha256


def test_pictures_stream_as_they_would_load(tmp_path: Path) -> None:
    """The preprocessing of training is that of calibration, bit for bit."""
    folder = make_folder(tmp_path / "train", {"cat": 9, "dog": 8}, size=(20, 30), suffix="jpg")
    make_folder(tmp_path / "val", {"cat": 2, "dog": 2}, seed=10**6, size=(20, 30))
    how = Preprocess(size=(8, 8), resize=(10,), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    model = ModelInfo("net", (InputSpec("x", "float32", (3, 8, 8)),), 2, preprocess=how)

    train = open_training_parts(tmp_path, model).train
    x, y = read_all(train)

    loaded = load_data(folder, model)
    np.testing.assert_array_equal(loaded.x, x)
    np.testing.assert_array_equal(loaded.y, y)
    assert loaded.sample_hashes() == train.sample_hashes()


def test_the_users_own_parts_are_taken(tmp_path: Path) -> None:
    """`val` is what thresholds are chosen on."""
    for k, name in enumerate(("train", "val", "test")):
        make_folder(tmp_path / name, {"cat": 4 + k, "dog": 4}, seed=10**5 * k)

    parts = open_training_parts(tmp_path, UNIT)

    assert [8, 9, 10] == [len(part) for part in parts.by_name.values()]
    assert ["train", "val", "test"] == [Path(part.name).name for part in parts.by_name.values()]
    assert () == parts.notes


@pytest.mark.parametrize("held_out", ["val", "test", "Validation"])
def test_one_held_out_part_is_halved(held_out: str, tmp_path: Path) -> None:
    """Calibration and test both need samples that the network was not trained on."""
    make_folder(tmp_path / "train", {"cat": 8, "dog": 8})
    make_folder(tmp_path / held_out, {"cat": 10, "dog": 6}, seed=10**5)

    parts = open_training_parts(tmp_path, UNIT)

    assert [16, 8, 8] == [len(part) for part in parts.by_name.values()]
    assert "split by class with seed 0 into calibration 8, test 8" in parts.notes[0]


def test_copies_of_a_picture_stay_in_one_part(tmp_path: Path) -> None:
    """Whatever their names are: otherwise thresholds would be chosen on what was trained on."""
    make_folder(tmp_path, {"cat": 12, "dog": 12})
    for i in range(12):
        shutil.copy(tmp_path / "cat" / f"{i:03}.png", tmp_path / "cat" / f"copy{i}.png")

    parts = open_training_parts(tmp_path, UNIT)

    assert 36 == sum(len(part) for part in parts.by_name.values())
    assert not any(hashes(a) & hashes(b) for a, b in combinations(parts.by_name.values(), 2))


@given(
    counts=st.lists(st.integers(3, 40), min_size=1, max_size=5),
    seed=st.integers(0, 2**31),
    shares=st.lists(st.floats(0.05, 1), min_size=2, max_size=3),
)
@settings(deadline=None)
def test_a_split_by_class_is_a_partition(counts: list[int], seed: int, shares: list[float]) -> None:
    """Every sample is in one part, and every part has every class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    whole = sum(shares)
    parts = split_by_class(labels, [str(i).encode() for i in range(len(labels))], seed, [s / whole for s in shares])

    assert list(range(len(labels))) == sorted(np.concatenate(parts).tolist())
    assert all(set(range(len(counts))) == set(labels[p].tolist()) for p in parts)


def test_batches_come_in_the_order_that_was_asked_for(tmp_path: Path) -> None:
    """Whatever the threads do, also with places that come twice."""
    train = open_training_parts(make_folder(tmp_path, {"cat": 20, "dog": 20}), UNIT).train
    x, y = read_all(train)
    places = [np.random.default_rng(i).integers(0, len(train), 1 + 9 * i) for i in range(6)]

    for where, (inputs, labels) in zip(places, train.batches(places), strict=True):
        np.testing.assert_array_equal(x[where], inputs)
        np.testing.assert_array_equal(y[where], labels)


def test_three_batches_are_in_memory_at_most(tmp_path: Path) -> None:
    """The one that was used, the one in use, and the next one: memory does not grow with the folder."""
    train = open_training_parts(make_folder(tmp_path, {"cat": 50, "dog": 50}), UNIT).train
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    for inputs, _ in train.batches(np.arange(i, i + 4) for i in range(0, 80, 4)):
        alive.append(weakref.ref(inputs if inputs.base is None else inputs.base))
        most = max(most, sum(ref() is not None for ref in alive))

    assert 20 == len(alive)
    assert most <= 2  # and one that is being read


def test_batches_may_be_left_before_the_end(tmp_path: Path) -> None:
    """As Ctrl-C does: the threads end, and reading begins anew."""
    train = open_training_parts(make_folder(tmp_path, {"cat": 20, "dog": 20}), UNIT).train
    batches = train.batches(np.arange(i, i + 4) for i in range(0, 32, 4))

    first, _ = next(batches)
    batches.close()  # type: ignore[attr-defined]

    np.testing.assert_array_equal(first, read_all(train)[0][:4])


# ---------------------------------------------------------------- what cannot be used


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize("break_it", [cut_off, lambda p: p.write_bytes(b""), lambda p: p.write_text("no picture")])
def test_few_unreadable_pictures_are_left_out_and_named(break_it: Callable[[Path], None], tmp_path: Path) -> None:
    """With their number, and how many they are of how many."""
    folder = make_folder(tmp_path, {"cat": 100, "dog": 100})
    break_it(folder / "cat" / "007.png")

    parts = open_training_parts(folder, UNIT)

    assert 199 == sum(len(part) for part in parts.by_name.values())
    assert "1 image of 200 cannot be read: image 8 of 200 (cat/007.png: " in parts.notes[0]
    assert parts.notes[0].endswith("; left out")


def test_many_unreadable_pictures_are_refused(tmp_path: Path) -> None:
    """Above the stated share: a disk or a download is broken, and training on the rest would hide it."""
    folder = make_folder(tmp_path, {"cat": 50, "dog": 50})
    for i in (3, 5, 8):
        cut_off(folder / "dog" / f"{i:03}.png")

    with pytest.raises(
        InputError, match=r"3 images of 100 cannot be read: image 54 of 100 \(dog/003\.png.*At most 1\.0 %"
    ):
        open_training_parts(folder, UNIT)
    assert 97 == sum(
        len(part) for part in open_training_parts(folder, UNIT, PartOptions(most_unreadable=0.03)).by_name.values()
    )


def test_a_picture_that_goes_away_is_named(tmp_path: Path) -> None:
    """After the first pass it is an error: an epoch that leaves it out would not be the one before."""
    folder = make_folder(tmp_path, {"cat": 10, "dog": 10})
    parts = open_training_parts(folder, UNIT)
    for file in folder.glob("cat/*"):
        file.unlink()

    with pytest.raises(InputError, match=r"cat/0.*No such file"):
        read_all(parts.train)


def test_sizes_that_nothing_unites_are_refused(tmp_path: Path) -> None:
    """With what to give; with a resize the same folder is fine."""
    folder = make_folder(tmp_path, {"cat": 6, "dog": 6})
    save(folder / "dog" / "wide.png", 77, size=(6, 9))
    sized = ModelInfo("net", (InputSpec("x", "float32", (3, 6, 4)),), 2, preprocess=Preprocess())

    with pytest.raises(
        InputError, match=r"1 of 13 images do not have the 6x4 pixels.*6x9 as dog/wide\.png.*resize=6x4"
    ):
        open_training_parts(folder, sized)
    with pytest.raises(InputError, match="several sizes"):
        open_training_parts(folder, UNIT)
    assert (3, 5, 5) == open_training_parts(folder, replace(UNIT, preprocess=Preprocess(resize=(5, 5)))).train.shape


def test_the_preprocessing_has_to_be_stated(tmp_path: Path) -> None:
    """It is not guessed for training either."""
    with pytest.raises(InputError, match=r"nothing says how they are prepared.*--preprocess"):
        open_training_parts(make_folder(tmp_path, {"cat": 6, "dog": 6}), ModelInfo("net", ()))


def test_one_class_is_refused(tmp_path: Path) -> None:
    """There is nothing to tell apart."""
    with pytest.raises(InputError, match=r"one class only \(cat\)"):
        open_training_parts(make_folder(tmp_path, {"cat": 9}), UNIT)


def test_pictures_without_class_folders_are_refused(tmp_path: Path) -> None:
    """With where to put them."""
    save(tmp_path / "1.png", 1)

    with pytest.raises(InputError, match=r"no class folders, and 1 image lies in the folder itself"):
        open_training_parts(tmp_path, UNIT)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """With the suffixes that are read."""
    with pytest.raises(InputError, match="holds no images"):
        open_training_parts(tmp_path, UNIT)


def test_more_classes_than_the_network_has_are_refused(tmp_path: Path) -> None:
    """Labels beyond its outputs cannot be learned."""
    folder = make_folder(tmp_path, {"a": 6, "b": 6, "c": 6})
    with pytest.raises(InputError, match=r"3 classes.*the network has 2"):
        open_training_parts(folder, replace(UNIT, classes=2))
    whole = load_data("digits:calibration")
    with pytest.raises(InputError, match=r"label 9 of sample .* the model has 7 classes"):
        open_training_parts(whole, ModelInfo("net", (), 7))


def test_a_class_that_training_lacks_is_refused(tmp_path: Path) -> None:
    """A folder that is spelt otherwise in one part would be a class of its own."""
    make_folder(tmp_path / "train", {"cat": 6, "dog": 6})
    make_folder(tmp_path / "val", {"cat": 6, "dogs": 6}, seed=10**5)

    with pytest.raises(InputError, match="train part has no images of dogs"):
        open_training_parts(tmp_path, UNIT)


def test_a_sample_in_two_parts_is_refused(tmp_path: Path) -> None:
    """By content: it may have another name."""
    make_folder(tmp_path / "train", {"cat": 6, "dog": 6})
    make_folder(tmp_path / "val", {"cat": 6, "dog": 6}, seed=10**5)
    shutil.copy(tmp_path / "train" / "cat" / "002.png", tmp_path / "val" / "cat" / "new.png")

    with pytest.raises(InputError, match=r"1 sample of the (calibration|test) part is in the train part.*cat/new\.png"):
        open_training_parts(tmp_path, UNIT)


def test_too_few_samples_of_a_class_are_refused(tmp_path: Path) -> None:
    """Each part needs one of each class."""
    with pytest.raises(InputError, match="each of 3 parts needs a sample of every class, and class 1 has 2"):
        open_training_parts(make_folder(tmp_path, {"cat": 9, "dog": 2}), UNIT)


def test_folders_that_cannot_be_listed_are_named(tmp_path: Path) -> None:
    """Not passed over in silence."""
    with pytest.raises(InputError, match="no data at"):
        open_training_parts(str(tmp_path / "missing"), UNIT)


# ---------------------------------------------------------------- data that is no folder


def test_a_named_set_has_its_own_parts() -> None:
    """Digits come with the package, except for their training part."""
    with pytest.raises(InputError):
        open_training_parts("digit", UNIT)


def test_an_npz_has_its_own_parts_or_is_split(tmp_path: Path) -> None:
    """x_train and x_val are found; x alone is split by class."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5)).astype(np.float32), np.arange(60) % 3
    np.savez(
        tmp_path / "parts.npz",
        x_train=x[:40],
        y_train=y[:40],
        x_val=x[40:50],
        y_val=y[40:50],
        x_test=x[50:],
        y_test=y[50:],
    )
    write_npz(tmp_path / "whole.npz", make_dataset("whole", x, y))

    own = open_training_parts(tmp_path / "parts.npz", ModelInfo("net", ()))
    split = open_training_parts(str(tmp_path / "whole.npz"), ModelInfo("net", ()))

    np.testing.assert_array_equal(x[40:50], read_all(own.calibration)[0])
    assert [40, 10, 10] == [len(part) for part in own.by_name.values()]
    assert [48, 6, 6] == [len(part) for part in split.by_name.values()]


def test_classes_are_numbered_by_the_networks_names(tmp_path: Path) -> None:
    """Where they are known, they win over the order of the folders."""
    folder = make_folder(tmp_path, {"cat": 6, "dog": 6})

    parts = open_training_parts(folder, replace(UNIT, class_names=("dog", "cat")))

    assert ("dog", "cat") == parts.class_names
    cats = [i for i, file in enumerate(parts.train.pictures.shown) if file.startswith("cat")]  # type: ignore[attr-defined]
    assert {1} == set(parts.train.y[cats].tolist())


def test_classes_that_are_numbers_are_said_to_be_text(tmp_path: Path) -> None:
    """`10` stands before `2`, as in torchvision, and the user should know."""
    folder = make_folder(tmp_path, {str(i): 3 for i in range(11)})

    with pytest.warns(DataWarning, match="order of their names as text"):
        open_training_parts(folder, UNIT)
