"""A folder of images is data: one sub-folder per class, a stated preprocessing, and no guessing."""

from __future__ import annotations

import io
import random
import tempfile
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgeexit.data import DataWarning, InputSpec, ModelInfo, Preprocess, load_data, make_dataset
from edgeexit.data.picture import read_picture
from edgeexit.errors import InputError


def save(path: Path, size: tuple[int, int] = (4, 3), mode: str = "RGB", value: int | tuple[int, int, int] = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def test_sub_folders_are_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    """And files are in the order of theirs."""
    save(tmp_path / "dog" / "1.png")
    save(tmp_path / "cat" / "2.png", value=(255, 51, 0))
    save(tmp_path / "cat" / "1.png")

    data = load_data(tmp_path)

    assert [0, 0, 1] == data.y.tolist()
    assert (3, 3, 3, 4) == data.x.shape
    assert [1.0, np.float32(0.2), 0.0] == data.x[1, :, 0, 0].tolist()


def test_grey_images_have_one_channel(tmp_path: Path) -> None:
    """As MNIST has."""
    save(tmp_path / "a" / "1.png", mode="L", value=255)

    assert (1, 1, 3, 4) == load_data(tmp_path).x.shape


def test_images_without_sub_folders_have_no_labels(tmp_path: Path) -> None:
    """Enough for agreement with the backbone."""
    save(tmp_path / "1.png")

    assert load_data(tmp_path).labels is None


def test_images_of_several_sizes_are_refused(tmp_path: Path) -> None:
    """Nobody guesses here how a network's training images were resized."""
    save(tmp_path / "a" / "1.png", size=(4, 3))
    save(tmp_path / "a" / "2.png", size=(5, 3))

    with pytest.raises(InputError, match="several sizes"):
        load_data(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """With the suffixes that are read."""
    with pytest.raises(InputError, match=r"holds no images \(\.png"):
        load_data(tmp_path)


def test_a_folder_of_parts_is_not_one_of_classes(tmp_path: Path) -> None:
    """Else `train` would be class 0 and `val` class 1."""
    save(tmp_path / "train" / "cat" / "1.png")
    save(tmp_path / "val" / "cat" / "1.png")

    with pytest.raises(InputError, match=r"parts of a data set.*give one of them"):
        load_data(tmp_path)


def test_a_folder_of_other_files_says_what_it_holds(tmp_path: Path) -> None:
    """Pictures of a kind that is not read are not passed over in silence."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.heic").write_bytes(b"0")

    with pytest.raises(InputError, match=r"it holds 1 other file \(\.heic\)"):
        load_data(tmp_path)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    """Which file it is."""
    save(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "2.png").write_bytes(b"\x89PNG cut")

    with pytest.raises(InputError, match=r"cannot read the image .*2\.png"):
        load_data(tmp_path)


def pixels(size: tuple[int, int] = (3, 4), seed: int = 0) -> np.ndarray:
    """Colour pixels [height, width, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def network(*shape: int, dtype: str = "float32", classes: int | None = None, **known: Any) -> ModelInfo:
    """What a network of one picture input expects."""
    return ModelInfo("net.eexit", (InputSpec("x", dtype, shape),), classes, **known)


UNIT = Preprocess()


def test_grey_of_16_bits_keeps_its_range(tmp_path: Path) -> None:
    """Scaled by 65535, not clipped at 255."""
    ramp = np.linspace(0, 65535, 12).astype(np.uint16).reshape(3, 4)
    Image.fromarray(ramp).save(tmp_path / "1.png")

    np.testing.assert_allclose(ramp / 65535, load_data(tmp_path).x[0, 0], atol=1e-6)


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK", "L", "LA", "1"])
def test_every_kind_of_colour_becomes_the_networks_channels(mode: str, tmp_path: Path) -> None:
    """Palettes, transparency, print colours and grey."""
    Image.fromarray(pixels()).convert(mode if mode != "LA" else "L").convert(mode).save(
        tmp_path / ("1.tif" if mode == "CMYK" else "1.png")
    )

    assert (1, 3, 3, 4) == load_data(tmp_path, network(3, 3, 4, preprocess=UNIT)).x.shape
    assert (1, 1, 3, 4) == load_data(tmp_path, network(1, 3, 4, preprocess=UNIT)).x.shape


def test_grey_among_colour_is_colour(tmp_path: Path) -> None:
    """As ImageNet has some."""
    save(tmp_path / "a" / "1.png", mode="L", value=51)
    save(tmp_path / "a" / "2.png", value=(255, 0, 0))

    np.testing.assert_allclose(load_data(tmp_path).x[0, :, 0, 0], 0.2)


def test_pictures_stand_upright_unless_said_otherwise(tmp_path: Path) -> None:
    """Phones store the rotation beside the pixels."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels((8, 12))).save(tmp_path / "1.jpg", exif=exif)

    assert (1, 3, 12, 8) == load_data(tmp_path).x.shape
    as_stored = network(3, 8, 12, preprocess=Preprocess(upright=False))
    assert (1, 3, 8, 12) == load_data(tmp_path, as_stored).x.shape


def test_folders_in_class_folders_are_searched(tmp_path: Path) -> None:
    """A class is the first folder; circles of links end."""
    save(tmp_path / "a" / "1.png")
    save(tmp_path / "a" / "monday" / "2.png")
    save(tmp_path / "b" / "tuesday" / "deep" / "3.tif")
    (tmp_path / "b" / "again").symlink_to(tmp_path / "b")

    data = load_data(tmp_path)

    assert [0, 0, 1] == data.y.tolist()
    assert ("a/1.png", "a/monday/2.png", "b/tuesday/deep/3.tif") == data.files


def test_what_systems_leave_behind_is_no_class_and_no_picture(tmp_path: Path) -> None:
    """Of macOS, notebooks and network drives."""
    save(tmp_path / "cat" / "1.png")
    save(tmp_path / "dog" / "1.png")
    for litter in ("__MACOSX", ".ipynb_checkpoints", "@eaDir"):
        save(tmp_path / litter / "1.png")
    (tmp_path / "cat" / "._1.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"\0")

    assert [0, 1] == load_data(tmp_path).y.tolist()


def test_files_that_are_left_out_are_told(tmp_path: Path) -> None:
    """With their suffixes."""
    save(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "2.heic").write_bytes(b"\0")

    with pytest.warns(DataWarning, match=r"1 file left out \(\.heic\)"):
        assert 1 == len(load_data(tmp_path))


def test_an_unknown_preprocessing_is_not_guessed(tmp_path: Path) -> None:
    """An error where something is measured or kept, else a warning; 8-bit inputs take pixels as they are."""
    save(tmp_path / "1.png", size=(4, 5), value=(255, 51, 0))

    with pytest.raises(InputError, match=r"records no preprocessing for them.*--preprocess"):
        load_data(tmp_path, network(3, 5, 4), strict=True)
    with pytest.warns(DataWarning, match="pixels / 255"):
        load_data(tmp_path, network(3, 5, 4))
    whole = load_data(tmp_path, network(5, 4, 3, dtype="uint8"), strict=True).x
    assert ([255, 51, 0], "uint8") == (whole[0, 0, 0].tolist(), str(whole.dtype))


def test_pictures_are_resized_and_cropped_as_said(tmp_path: Path) -> None:
    """The shorter side, then the middle; by hand the same."""
    picture = Image.fromarray(pixels((20, 30)))
    picture.save(tmp_path / "1.png")

    found = load_data(tmp_path / "1.png", network(3, 8, 8, preprocess=Preprocess(size=(8, 8), resize=(10,)))).x[0]

    by_hand = picture.resize((15, 10), Image.Resampling.BILINEAR).crop((4, 1, 12, 9))
    np.testing.assert_allclose(np.asarray(by_hand).transpose(2, 0, 1) / 255, found, atol=1e-6)


def test_another_size_without_resizing_says_how(tmp_path: Path) -> None:
    """And which file."""
    save(tmp_path / "1.png")

    with pytest.raises(InputError, match=r"1\.png: it has 3x4 pixels .* takes 8x8.*resize=8x8"):
        load_data(tmp_path, network(3, 8, 8, preprocess=UNIT))


def test_classes_go_by_the_networks_names(tmp_path: Path) -> None:
    """So a missing folder moves no label; an unknown one is refused."""
    for name in ("Dog", "horse"):
        save(tmp_path / name / "1.png")
    known = network(3, 3, 4, classes=3, class_names=("cat", "dog", "horse"), preprocess=UNIT)

    with pytest.warns(DataWarning, match="no samples of 1 of the 3 classes: cat"):
        assert [1, 2] == load_data(tmp_path, known).y.tolist()
    save(tmp_path / "hors" / "1.png")
    with pytest.raises(InputError, match=r"the class hors, which net\.eexit does not have\. Did you mean 'horse'"):
        load_data(tmp_path, known)


def test_fewer_folders_than_classes_may_be_wrong_labels(tmp_path: Path) -> None:
    """Nothing says which class is missing."""
    save(tmp_path / "a" / "1.png")

    with pytest.raises(InputError, match="1 of the network's 4 classes"):
        load_data(tmp_path, network(3, 3, 4, classes=4, preprocess=UNIT), strict=True)
    with pytest.warns(DataWarning, match="labels may be wrong"):
        load_data(tmp_path, network(3, 3, 4, classes=4, preprocess=UNIT))


def test_numbered_folders_are_told_apart_as_text(tmp_path: Path) -> None:
    """10 stands before 2, as torchvision has it; a missing number moves none of the others."""
    for number in range(12):
        save(tmp_path / str(number) / "1.png")
    known = network(3, 3, 4, classes=12, preprocess=UNIT)

    with pytest.warns(DataWarning, match="2 is class 4.*10 is class 2"):
        whole = load_data(tmp_path, known)
    (tmp_path / "0" / "1.png").unlink()
    (tmp_path / "0").rmdir()
    with pytest.warns(DataWarning, match="2 is class 4"):
        assert whole.y.tolist()[1:] == load_data(tmp_path, known).y.tolist()


def test_a_limit_decodes_no_more_than_it_says(tmp_path: Path) -> None:
    """The damaged second picture is never opened."""
    save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"damaged")

    assert 1 == len(load_data(tmp_path, network(3, 3, 4, preprocess=UNIT), limit=1))


def test_more_pictures_than_memory_holds_are_refused(tmp_path: Path) -> None:
    """Before any is decoded, with what they would take."""
    save(tmp_path / "1.png")
    large = network(3, 1 << 20, 1 << 20, preprocess=Preprocess(resize=(3, 4)))

    with pytest.raises(InputError, match="does not fit into memory: 1 picture"):
        load_data(tmp_path, replace(large, preprocess=None, inputs=(replace(large.inputs[0], dtype="uint8"),)))


def test_a_picture_too_large_is_named(tmp_path: Path) -> None:
    """Pillow's guard against decompression bombs is one message."""
    Image.new("1", (20_000, 10_000)).save(tmp_path / "huge.png")

    with pytest.raises(InputError, match=r"huge\.png: it is too large"):
        load_data(tmp_path, network(3, 3, 4, preprocess=UNIT))


@settings(max_examples=60)
@given(st.sampled_from(["PNG", "JPEG", "BMP", "WEBP", "PPM", "GIF", "TIFF"]), st.randoms(use_true_random=False))
def test_a_damaged_picture_is_read_or_named(kind: str, rng: random.Random) -> None:
    """Whatever Pillow raises."""
    sink = io.BytesIO()
    Image.fromarray(pixels((16, 16))).save(sink, kind)
    content = bytearray(sink.getvalue())
    for _ in range(rng.randint(1, 6)):
        content[rng.randrange(min(len(content), 200))] = rng.randrange(256)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x.{kind.lower()}"
        path.write_bytes(content[: rng.randrange(1, len(content) + 1)])
        try:
            load_data(path)
        except InputError as error:
            assert path.name in str(error)


def test_names_are_compared_in_composed_letters(tmp_path: Path) -> None:
    """The file names of a Mac are decomposed."""
    for name in (unicodedata.normalize("NFD", "café"), "tea"):
        (tmp_path / name).mkdir()
        save(tmp_path / name / "1.png")

    assert load_data(
        tmp_path, network(3, 3, 4, classes=2, class_names=("tea", "café"), preprocess=Preprocess())
    ).y.tolist() == [0, 1]


@pytest.mark.parametrize("pattern", ["{}", "class_{}"])
def test_numbers_that_sort_otherwise_as_text_are_told(pattern: str, tmp_path: Path) -> None:
    """Folders 1 to 10 are classes 0, 2, ..., 9, 1 in the order of torchvision."""
    for i in range(1, 11):
        (tmp_path / pattern.format(i)).mkdir()
        save(tmp_path / pattern.format(i) / "1.png")

    with pytest.warns(DataWarning, match=f"{pattern.format(2)} is class 2"):
        load_data(tmp_path, network(3, 3, 4, classes=10, preprocess=Preprocess()))


def test_class_folders_one_folder_deeper_are_not_one_class(tmp_path: Path) -> None:
    """As archives are unpacked, with what a Mac adds."""
    (tmp_path / "__MACOSX").mkdir()
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        save(tmp_path / "photos" / name / "1.png")

    with pytest.raises(InputError, match=r"one folder, with 2 folders inside: give .*photos"):
        load_data(tmp_path, network(3, 3, 4, classes=2, preprocess=Preprocess()))


def test_a_link_to_the_whole_folder_adds_no_pictures_to_a_class(tmp_path: Path) -> None:
    """Those of the other classes would get its label."""
    for name in "ab":
        (tmp_path / name).mkdir()
        save(tmp_path / name / "1.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)

    assert load_data(tmp_path).y.tolist() == [0, 1]


def test_a_part_among_other_folders_is_still_a_part(tmp_path: Path) -> None:
    """Folders for training and test are no classes, whatever lies beside them."""
    for name in ("train/a", "test/a", "extra"):
        (tmp_path / name).mkdir(parents=True)
        save(tmp_path / name / "1.png")

    with pytest.raises(InputError, match="parts of a data set"):
        load_data(tmp_path)


@pytest.mark.parametrize(
    ("content", "fault"),
    [("empty", "empty or of no known format"), ("link", "No such file"), ("deep", "32-bit"), ("line", "crop it")],
)
def test_every_fault_of_a_picture_names_its_file(content: str, fault: str, tmp_path: Path) -> None:
    """And says what to do, or what it is."""
    path = tmp_path / "odd.tif"
    if content == "link":
        path.symlink_to(tmp_path / "gone.tif")
    elif content == "empty":
        path.touch()
    else:
        Image.new("F" if content == "deep" else "L", (20_000, 1)).save(path)

    with pytest.raises(InputError, match=f"odd.tif.*{fault}"):
        read_picture(path, Preprocess(resize=(256,), size=(8, 8), channels="grey"))


def test_whole_numbers_of_any_type_are_pixels() -> None:
    """Where the preprocessing is known; what lies beyond 255 is refused."""
    pixels = np.arange(96).reshape(2, 4, 4, 3)
    info = network(3, 4, 4, preprocess=Preprocess())

    np.testing.assert_array_equal(
        make_dataset("d", pixels.astype(np.uint8), None, info).x, make_dataset("d", pixels, None, info).x
    )
    with pytest.raises(InputError, match="pixels, 0 to 255"):
        make_dataset("d", pixels * 100, None, info)


def test_a_folder_of_other_files_is_no_class(tmp_path: Path) -> None:
    """Annotations beside the class folders are refused, or left out where the class names are known."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        save(tmp_path / name / "1.png")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "1.xml").touch()

    with pytest.raises(InputError, match="only other files, in annotations"):
        load_data(tmp_path, network(3, 3, 4, classes=3, preprocess=UNIT))
    with pytest.warns(DataWarning, match="1 file left out"):
        found = load_data(tmp_path, network(3, 3, 4, classes=2, class_names=("cat", "dog"), preprocess=UNIT))
    assert [0, 1] == found.y.tolist()


def test_folders_inside_the_folder_of_a_known_class_are_part_of_it(tmp_path: Path) -> None:
    """One class folder with a folder for each year is no archive that was unpacked too deep."""
    for year in ("2020", "2021"):
        (tmp_path / "cat" / year).mkdir(parents=True)
        save(tmp_path / "cat" / year / "1.png")

    with pytest.warns(DataWarning, match="no samples of"):
        found = load_data(tmp_path, network(3, 3, 4, classes=2, class_names=("dog", "cat"), preprocess=UNIT))
    assert [1, 1] == found.y.tolist()
