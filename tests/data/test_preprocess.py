"""Preprocessing is one value, given in many forms, that says how a picture becomes an input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeexit.data import Preprocess, read_preprocess
from edgeexit.errors import InputError
from edgeexit.util.documents import dumps, parse_document

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("unit", Preprocess()),
        ("raw", Preprocess(scale=1.0)),
        ("size=32,mean=0.5,0.4,0.3,std=0.2", Preprocess(size=(32, 32), mean=(0.5, 0.4, 0.3), std=(0.2,))),
        ("size=24x32, resize=40, interpolation=Bicubic", Preprocess((24, 32), (40,), "bicubic")),
        ("channels=gray,layout=HWC,scale=1/127.5", Preprocess(channels="grey", layout="nhwc", scale=1 / 127.5)),
        ("upright=no", Preprocess(upright=False)),
    ],
)
def test_text_names_keys_and_values(text: str, wanted: Preprocess) -> None:
    """A part without '=' belongs to the key before it."""
    assert wanted == read_preprocess(text)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("maen=0.5", "there is no maen. Did you mean 'mean'"),
        ("mean=0.5,mean=0.4", "names mean twice"),
        ("std=0", "std must be above 0"),
        ("mean=nan", "finite"),
        ("size=0", "size is 0x0"),
        ("size=8,resize=4x4", "does not fit into resize"),
        ("channels=cmyk", "channels is 'cmyk'"),
        ("scale=1/0", "a number, such as 1/255"),
        ("imagenett", "Did you mean 'imagenet'"),
        ("no/such/file.toml", "no such file"),
        ({}, "it is empty"),
        ("x" * 5000, "no such file"),
        (f"size=8,mean={'x' * 5000}", "numbers, one for each channel"),
        ("\0=1", "there is no"),
        (3, "must be text"),
        ("channels=grey,mean=0.1,0.2,0.3", "one for each channel"),
        ("mean=123.7,116.3,103.5", "give scale=1 for pixels of 0 to 255"),
        ("scale=1,mean=0.485,0.456,0.406", "give scale=1/255 for pixels of 0 to 1"),
        ("resize=200,size=224", "does not fit into pictures whose shorter side is resized to 200"),
        ("", "no preset"),
    ],
)
def test_a_fault_says_what_is_needed(given: Any, fault: str) -> None:
    """Near misses are suggested."""
    with pytest.raises(InputError) as caught:
        read_preprocess(given)

    assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        (  # torchvision
            {"crop_size": [224], "resize_size": [256], "interpolation": "InterpolationMode.BILINEAR", **IMAGENET},
            {"size": (224, 224), "resize": (256,), "interpolation": "bilinear"},
        ),
        (  # timm
            {"architecture": "x", "pretrained_cfg": {"input_size": [3, 224, 224], "crop_pct": 0.9, "interpolation": "bicubic", **IMAGENET}},
            {"size": (224, 224), "resize": (248,), "interpolation": "bicubic"},
        ),
        (  # timm, squashed
            {"input_size": [3, 224, 224], "crop_pct": 1.0, "crop_mode": "squash", **IMAGENET},
            {"size": (224, 224), "resize": (224, 224)},
        ),
        (  # a vision transformer of Hugging Face
            {"do_resize": True, "size": 224, "resample": 2, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
            {"size": (224, 224), "resize": (224, 224), "mean": (0.5, 0.5, 0.5)},
        ),
        (  # CLIP
            {"crop_size": 224, "do_center_crop": True, "size": {"shortest_edge": 224}, "resample": 3, "do_normalize": True,
             "do_rescale": True, "rescale_factor": 0.00392156862745098, "image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]},
            {"size": (224, 224), "resize": (224,), "interpolation": "bicubic", "std": (0.27, 0.26, 0.28)},
        ),
        (  # ConvNeXt
            {"crop_pct": 0.875, "do_normalize": True, "do_resize": True, "size": {"shortest_edge": 224}, "image_mean": [0.5] * 3,
             "image_std": [0.5] * 3, "resample": 3},
            {"size": (224, 224), "resize": (256,)},
        ),
        ({"do_normalize": False, "do_rescale": False, "size": {"height": 8, "width": 6}}, {"size": (8, 6), "scale": 1.0, "mean": ()}),
    ],
)  # fmt: skip
def test_files_of_other_libraries_are_read(document: dict[str, Any], wanted: dict[str, Any], tmp_path: Path) -> None:
    """By the keys that they have; these libraries do not turn pictures upright."""
    (tmp_path / "config.json").write_text(json.dumps(document))

    found = read_preprocess(tmp_path / "config.json")

    assert wanted == {key: getattr(found, key) for key in wanted}
    assert not found.upright


def test_a_file_may_begin_with_a_byte_order_mark_or_nest_its_values(tmp_path: Path) -> None:
    """As editors of Windows write it, and processors of Hugging Face."""
    nested = {
        "image_processor": {
            "do_resize": True,
            "size": {"height": 8, "width": 8},
            "do_normalize": False,
            "do_grayscale": True,
        }
    }
    (tmp_path / "config.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(nested).encode())

    found = read_preprocess(tmp_path / "config.json")

    assert ((8, 8), "grey", ()) == (found.size, found.channels, found.mean)


def test_timm_takes_its_own_defaults(tmp_path: Path) -> None:
    """What its configuration leaves out is what timm takes then, not nothing."""
    found = read_preprocess({"input_size": [3, 224, 224]})

    assert ((256,), (0.485, 0.456, 0.406)) == (found.resize, found.mean)


@pytest.mark.parametrize(
    ("given", "dtype"),
    [("raw", "int8"), ("unit", "int8"), ("mean=0.5,std=0.5", "uint8"), ("scale=1/255,mean=0.1", "int32")],
)
def test_pixels_that_the_inputs_type_does_not_hold_are_refused(given: str, dtype: str) -> None:
    """They would wrap around, or all become the same few numbers."""
    with pytest.raises(InputError, match="pictures become numbers from"):
        read_preprocess(given).complete((3, 8, 8), dtype)


def test_what_torchvision_prints_is_read(tmp_path: Path) -> None:
    """`str(weights.transforms())` in a text file."""
    printed = "ImageClassification(\n    crop_size=[224]\n    resize_size=[232]\n    mean=[0.485, 0.456, 0.406]\n"
    printed += "    std=[0.229, 0.224, 0.225]\n"
    (tmp_path / "transforms.txt").write_text(printed + "    interpolation=InterpolationMode.BILINEAR\n)")

    assert ((224, 224), (232,)) == (
        read_preprocess(tmp_path / "transforms.txt").size,
        read_preprocess(tmp_path / "transforms.txt").resize,
    )


@pytest.mark.parametrize(
    "normalise",
    [
        "Normalize(mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.1])",
        "Normalize(mean=tensor([0.5000, 0.4000, 0.3000]), std=tensor([0.2, 0.2, 0.1]))",
        "Normalize(mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1))",
    ],
)
@pytest.mark.parametrize("size", ["(24, 24)", "[24]", "24"])
def test_what_compose_prints_is_read(normalise: str, size: str, tmp_path: Path) -> None:
    """The transforms of one's own evaluation; a step of training is refused by name."""
    steps = [
        "Resize(size=28, interpolation=bicubic, max_size=None, antialias=True)",
        f"CenterCrop(size={size})",
        "ToTensor()",
        normalise,
    ]
    path = tmp_path / "transforms.txt"
    path.write_text("Compose(\n    " + "\n    ".join(steps) + "\n)\n")

    expected = Preprocess((24, 24), (28,), "bicubic", mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1), upright=False)
    assert expected == read_preprocess(path)

    path.write_text("Compose(\n    PILToTensor()\n)\n")
    assert read_preprocess(path).scale == 1

    path.write_text("Compose(\n    RandomHorizontalFlip(p=0.5)\n    ToTensor()\n)\n")
    with pytest.raises(InputError, match=r"transforms\.txt: the step RandomHorizontalFlip is not supported"):
        read_preprocess(path)


@pytest.mark.parametrize(
    "document",
    [
        {"do_resize": True, "do_pad": True},
        {"do_resize": True, "do_sharpen": True},
        {"do_resize": True, "size": {"longest_edge": 8}},
        {"input_size": [3, 8, 8], "crop_mode": "border"},
        {"input_size": 3},
        [],
    ],
)
def test_what_cannot_be_done_is_refused_by_name(document: Any, tmp_path: Path) -> None:
    """A step that is left out would change every answer."""
    (tmp_path / "config.json").write_text(json.dumps(document))

    with pytest.raises(InputError, match=r"config\.json"):
        read_preprocess(tmp_path / "config.json")


def test_own_keys_are_read_from_toml(tmp_path: Path) -> None:
    """The same keys as in text."""
    (tmp_path / "p.toml").write_text('size = [28, 28]\nchannels = "grey"\nmean = 0.1307\nstd = [0.3081]\n')

    assert Preprocess(size=(28, 28), channels="grey", mean=(0.1307,), std=(0.3081,)) == read_preprocess(
        tmp_path / "p.toml"
    )


@given(
    st.lists(st.integers(0, 255), min_size=12, max_size=12),
    st.sampled_from(["rgb", "bgr"]),
    st.sampled_from(["nchw", "nhwc"]),
)
def test_pixels_are_scaled_normalised_and_ordered(values: list[int], channels: str, layout: str) -> None:
    """(x / 255 - mean) / std, with mean and std in the order of the channels."""
    pixels = np.array(values, np.uint8).reshape(2, 2, 3)
    how = Preprocess(channels=channels, layout=layout, mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3))

    sample = how.apply(pixels)

    ordered = pixels[..., ::-1] if channels == "bgr" else pixels
    wanted = (ordered / 255 - np.array([0.5, 0.4, 0.3])) / np.array([0.1, 0.2, 0.3])
    np.testing.assert_allclose(wanted if layout == "nhwc" else wanted.transpose(2, 0, 1), sample, rtol=1e-4, atol=1e-5)
    assert np.float32 == sample.dtype


def test_what_is_left_out_is_taken_from_the_networks_input() -> None:
    """Size, channels, layout and dtype; pixels of a network that takes 8 bits stay as they are."""
    floats, whole = Preprocess().complete((3, 8, 6), "float16"), Preprocess().complete((8, 6, 1), "uint8")

    assert ((8, 6), "rgb", "nchw", "float16", 1 / 255) == (
        floats.size,
        floats.channels,
        floats.layout,
        floats.dtype,
        floats.scale,
    )
    assert ((8, 6), "grey", "nhwc", "uint8", 1.0) == (
        whole.size,
        whole.channels,
        whole.layout,
        whole.dtype,
        whole.scale,
    )


def test_a_preprocessing_that_does_not_fit_the_input_is_refused() -> None:
    """With everything that does not fit."""
    with pytest.raises(InputError, match=r"size is 9x9, the input has 8x8; the dtype is uint8"):
        Preprocess(size=(9, 9), dtype="uint8").complete((3, 8, 8), "float32")


def test_a_preprocessing_is_the_same_after_a_manifest() -> None:
    """Written as JSON and read again, it compares equal: 1/255 is kept to the last bit."""
    how = read_preprocess("imagenet")

    assert how == parse_document(Preprocess, json.loads(dumps(how)), "here")
