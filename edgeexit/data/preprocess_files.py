"""Preprocessing as the user gives it: `key=value` text, a preset, an edgeexit file, or the configuration file that came with the network.

resize=256,size=224,mean=0.485,0.456,0.406,std=0.229,0.224,0.225
imagenet
preprocess.toml                       the same keys
preprocessor_config.json              Hugging Face
config.json                           timm (pretrained_cfg)
transforms.txt                        torchvision: str(weights.transforms()), str(Compose([...]))
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeAlias

from edgeexit.data.preprocess import INTERPOLATIONS, Preprocess
from edgeexit.data.preprocess_printed import read_printed
from edgeexit.errors import InputError, did_you_mean
from edgeexit.util.arguments import as_float, check_small, make_printable, path_exists

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PRESETS: dict[str, Preprocess] = {
    "unit": Preprocess(),
    "signed": Preprocess(mean=(0.5,), std=(0.5,)),
    "raw": Preprocess(scale=1.0),
    "imagenet": Preprocess(size=(224, 224), resize=(256,), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
}
"""By name: pixels 0 to 1, -1 to 1, 0 to 255; resized, cropped and normalised as ImageNet networks of torchvision."""

HELP = (
    "How pictures are prepared: key=value,... of size, resize, interpolation, channels, scale, mean, std, layout, dtype, upright; "
    f"a preset ({', '.join(PRESETS)}); or a .toml or .json file, which may be that of torchvision, timm or Hugging Face."
)

Table: TypeAlias = "Mapping[str, Any]"
_KEYS = tuple(f.name for f in fields(Preprocess))
_LARGEST_FILE = 1 << 20
_MOST_DIGITS = 20


def read_preprocess(given: object) -> Preprocess:
    """A preprocessing from what a person gave.

    Args:
        given: a Preprocess; a mapping of its fields; the path of a file; or text as in the head of this module.

    Raises:
        InputError: no such file, key, preset or value, or every fault of the values.

    Example:
        read_preprocess("size=224x224,mean=0.485,0.456,0.406,std=0.229,0.224,0.225")
    """
    if isinstance(given, Preprocess):
        return _check_preprocess(given, "preprocess")
    if isinstance(given, Mapping):
        return _parse_any_table(given, "preprocess")
    if not isinstance(given, (str, os.PathLike)) or isinstance(os.fspath(given), bytes):
        msg = f"preprocess must be text such as 'size=224,mean=0.5,std=0.5', a file or a mapping, not {given!r}."
        raise InputError(msg)
    text = os.fspath(given)
    if isinstance(given, str) and text.strip().lower() in PRESETS:
        return PRESETS[text.strip().lower()]
    if isinstance(given, str) and "=" in text and not path_exists(Path(text)):
        return _parse_any_table(_parse_table(text), f"preprocess {text!r}")
    return _read_file(Path(text))


def _parse_table(text: str) -> dict[str, str]:
    """`size=224,mean=0.5,0.4,0.3` by key; a part without `=` belongs to the key before it."""
    table: dict[str, str] = {}
    key = ""
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if equals:
            key = name.strip()
            if key in table:
                msg = f"preprocess {text!r} names {key} twice."
                raise InputError(msg)
            table[key] = value.strip()
        elif key and part.strip():
            table[key] += f",{part.strip()}"
        elif part.strip():
            preset = PRESETS.get(part.strip())
            hint = f" Give the preset {part.strip()} alone, or its values." if preset else ""
            msg = f"preprocess {text!r}: {part!r} has no '='; write key=value,...{hint}"
            raise InputError(msg)
    return table


def _read_file(path: Path) -> Preprocess:
    where = make_printable(path)
    if not path_exists(path) or not str(path).strip("."):
        hint = did_you_mean(str(path), PRESETS)
        msg = f"no preprocessing {where!r}: no such file, no preset ({', '.join(PRESETS)}) and no key=value text.{hint}"
        raise InputError(msg)
    try:
        check_small(path, _LARGEST_FILE)
        text = path.read_text(encoding="utf-8-sig")
        document: Any = tomllib.loads(text) if path.suffix == ".toml" else read_printed(text) or json.loads(text)
    except InputError as error:
        msg = str(error) if where in str(error) else f"{where}: {error}"
        raise InputError(msg) from error
    except (OSError, ValueError, SyntaxError, RecursionError) as error:
        msg = (
            f"cannot read the preprocessing {where} as TOML (.toml), JSON or the text that torchvision prints: "
            f"{make_printable(str(error))}"
        )
        raise InputError(msg) from error
    if not isinstance(document, dict):
        msg = f"{where} holds no preprocessing: a table of names and values is needed."
        raise InputError(msg)
    return _parse_any_table(document, where)


_NESTED = ("pretrained_cfg", "default_cfg", "preprocess", "image_processor", "feature_extractor")


def _parse_any_table(table: Table, where: str) -> Preprocess:
    """A preprocessing from an edgeexit table, or from one of a library whose keys are there."""
    nested = next((table[k] for k in _NESTED if isinstance(table.get(k), dict)), None)
    if nested is not None:
        return _parse_any_table(nested, where)
    for marks, convert in _FOREIGN:
        if marks & table.keys():
            return _check_preprocess(_convert_table(convert, table, where), where)
    return _parse_own_table(table, where)


def _convert_table(convert: Callable[[Table], Preprocess], table: Table, where: str) -> Preprocess:
    try:
        return convert(table)
    except InputError as error:
        msg = f"{where}: {error}"
        raise InputError(msg) from error
    except (ValueError, TypeError, KeyError, OverflowError, ArithmeticError) as error:
        msg = f"{where}: a value cannot be read as a preprocessing ({type(error).__name__}: {error}); give the values as key=value."
        raise InputError(msg) from error


def _check_preprocess(value: Preprocess, where: str) -> Preprocess:
    faults = value.faults()
    if faults:
        msg = f"{where}: {'; '.join(faults)}."
        raise InputError(msg)
    return value


# ---------------------------------------------------------------- edgeexit's own keys


def _parse_own_table(table: Table, where: str) -> Preprocess:
    names = {"color": "channels", "colour": "channels", "crop": "size", "order": "channels"}
    known = {names.get(str(k), str(k)): v for k, v in table.items() if k != "schema"}
    faults = [f"there is no {name}.{did_you_mean(name, _KEYS)}".rstrip(".") for name in known if name not in _KEYS]
    values = {name: _parse_value(name, known[name], faults) for name in known if name in _KEYS}
    if faults or not known:
        found = "; ".join(faults) or "it is empty"
        msg = f"{where}: {found}{'' if found.endswith('?') else '.'} Keys: {', '.join(_KEYS)}."
        raise InputError(msg)
    return _check_preprocess(Preprocess(**values), where)


def _parse_value(name: str, given: Any, faults: list[str]) -> Any:
    try:
        return _READERS[name](given)
    except (ValueError, TypeError, OverflowError):
        faults.append(f"{name} is {given!r}; {_WANTED[name]} is needed")
        return None


def _parse_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    text = value.strip().lower()
    return {"gray": "grey", "l": "grey", "chw": "nchw", "hwc": "nhwc"}.get(text, text)


def _parse_items(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [v for v in re.split(r"[,x×\s\[\]()]+", value) if v]
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _parse_whole(value: Any) -> int:
    number = as_float(value) if not isinstance(value, str) else float(value)
    if isinstance(value, bool) or number != int(number):
        raise ValueError
    return int(number)


def _parse_number(value: Any) -> float:
    """A number, or a fraction as text: `1/255`."""
    if isinstance(value, str):
        over, slash, under = value.partition("/")
        if len(value) > 2 * _MOST_DIGITS or (slash and float(under) == 0):
            raise ValueError
        return float(over) / float(under) if slash else float(value)
    if isinstance(value, bool) or math.isnan(as_float(value)):
        raise ValueError
    return as_float(value)


def _parse_size(value: Any) -> tuple[int, ...]:
    """Height and width; one number is a square."""
    sizes = tuple(map(_parse_whole, _parse_items(value)))
    return sizes * 2 if len(sizes) == 1 else sizes


def _parse_numbers(value: Any) -> tuple[float, ...]:
    items = [v for v in re.split(r"[,\s\[\]()]+", value) if v] if isinstance(value, str) else _parse_items(value)
    return tuple(map(_parse_number, items))


def _parse_truth(value: Any) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if isinstance(value, bool):
        return value
    if str(value).lower() not in known:
        raise ValueError
    return known[str(value).lower()]


_READERS: dict[str, Callable[[Any], Any]] = {
    "size": _parse_size,
    "resize": lambda value: tuple(map(_parse_whole, _parse_items(value))),
    "interpolation": _parse_text,
    "channels": _parse_text,
    "scale": _parse_number,
    "mean": _parse_numbers,
    "std": _parse_numbers,
    "layout": _parse_text,
    "dtype": _parse_text,
    "upright": _parse_truth,
}
_WANTED = {
    "size": "height x width, such as 224x224",
    "resize": "one number (the shorter side) or height x width",
    "interpolation": f"one of {', '.join(INTERPOLATIONS)}",
    "channels": "rgb, bgr or grey",
    "scale": "a number, such as 1/255",
    "mean": "numbers, one for each channel",
    "std": "numbers, one for each channel",
    "layout": "nchw or nhwc",
    "dtype": "the name of a NumPy dtype",
    "upright": "true or false",
}


# ---------------------------------------------------------------- files of other libraries


def _parse_torchvision(table: Table) -> Preprocess:
    """`crop_size`, `resize_size`, `mean`, `std`, `interpolation` of torchvision's ImageClassification."""
    return Preprocess(
        size=_parse_size(table["crop_size"]),
        resize=tuple(map(_parse_whole, _parse_items(table["resize_size"]))),
        interpolation=_parse_interpolation(table.get("interpolation", "bilinear")),
        channels="rgb",
        mean=_parse_numbers(table.get("mean", (0.485, 0.456, 0.406))),
        std=_parse_numbers(table.get("std", (0.229, 0.224, 0.225))),
        upright=False,
    )


_TIMM_CROP = 0.875  # timm's default, as are ImageNet's mean and standard deviation


def _parse_timm(table: Table) -> Preprocess:
    """`input_size` [channels, height, width], `crop_pct`, `crop_mode`, `interpolation`, `mean`, `std` of timm's pretrained_cfg."""
    depth, height, width = map(_parse_whole, table["input_size"])
    mode, share = table.get("crop_mode", "center"), _parse_number(table.get("crop_pct") or _TIMM_CROP)
    if mode not in ("center", "squash") or not 0 < share <= 1:
        msg = f"crop_mode {mode!r} with crop_pct {share!r} is not supported: center or squash with a share up to 1 is."
        raise InputError(msg)
    scaled = (math.floor(height / share), math.floor(width / share))
    return Preprocess(
        size=(height, width),
        resize=scaled if mode == "squash" or height != width else scaled[:1],
        interpolation=_parse_interpolation(table.get("interpolation", "bicubic")),
        channels="grey" if depth == 1 else "rgb",
        mean=_parse_numbers(table.get("mean", PRESETS["imagenet"].mean if depth == 3 else ())),
        std=_parse_numbers(table.get("std", PRESETS["imagenet"].std if depth == 3 else ())),
        upright=False,
    )


_STEPS = {
    "do_resize",
    "do_center_crop",
    "do_rescale",
    "do_normalize",
    "do_flip_channel_order",
    "do_grayscale",
    "do_convert_rgb",
}
_NO_STEPS = {"do_reduce_labels", "do_convert_annotations"}  # of labels, not of pictures


def _parse_hugging_face(table: Table) -> Preprocess:
    """`preprocessor_config.json`: `size`, `crop_size`, `rescale_factor`, `image_mean`, `image_std`, `resample`, and the switches `do_…`."""
    asked = [k for k in table if k.startswith("do_") and k not in _STEPS | _NO_STEPS and table[k] is True]
    if asked or table.get("rescale_offset") is True:
        msg = f"{', '.join(asked or ['rescale_offset'])} is not supported: give the values as key=value."
        raise InputError(msg)
    crop, resize = _parse_hf_sizes(table)
    normalise = table.get("do_normalize", True)
    default = (0.5, 0.5, 0.5) if normalise else ()
    return Preprocess(
        size=crop,
        resize=resize,
        interpolation=_parse_interpolation(table.get("resample", "bilinear")),
        channels="bgr"
        if table.get("do_flip_channel_order") is True
        else "grey"
        if table.get("do_grayscale") is True
        else "",
        scale=_parse_number(table.get("rescale_factor", 1 / 255)) if table.get("do_rescale", True) else 1.0,
        mean=_parse_numbers(table.get("image_mean", default)) if normalise else (),
        std=_parse_numbers(table.get("image_std", default)) if normalise else (),
        upright=False,
    )


def _parse_hf_sizes(table: Table) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Crop and resize sizes; ConvNeXt's `crop_pct` enlarges the shorter side below 384."""
    crops = table.get("do_center_crop", "crop_size" in table) is True
    crop = _parse_hf_size(table["crop_size"], shorter=False) if crops else ()
    resize = _parse_hf_size(table.get("size", ()), shorter=crops) if table.get("do_resize", True) else ()
    if len(resize) == 1 and not crop:
        share = _parse_number(table.get("crop_pct") or 1.0)
        whole = resize[0] >= 384 or share == 1
        return (resize * 2, resize * 2 if whole else (int(resize[0] / share),))
    return crop or resize, resize


def _parse_hf_size(value: Any, *, shorter: bool) -> tuple[int, ...]:
    """`{"height": …, "width": …}`, `{"shortest_edge": …}`, or a number, which is the shorter side only where a crop follows."""
    if isinstance(value, Mapping):
        if not {"shortest_edge", "height"} & value.keys():
            msg = f"a size of {', '.join(map(str, value)) or 'nothing'} is not supported: give resize and size as key=value."
            raise InputError(msg)
        if "shortest_edge" in value:
            if "longest_edge" in value:
                msg = "a size with a longest_edge is not supported: give resize and size as key=value."
                raise InputError(msg)
            return (_parse_whole(value["shortest_edge"]),)
        return (_parse_whole(value["height"]), _parse_whole(value["width"]))
    sizes = tuple(map(_parse_whole, _parse_items(value)))
    return sizes if shorter or len(sizes) != 1 else sizes * 2


_PILLOW_NUMBERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")


def _parse_interpolation(value: Any) -> str:
    """By Pillow's number, or by a name such as `bicubic` or `InterpolationMode.BICUBIC`."""
    if isinstance(value, int) and 0 <= value < len(_PILLOW_NUMBERS):
        return _PILLOW_NUMBERS[value]
    name = str(value).rpartition(".")[2].lower()
    return {"random": "bilinear", "antialias": "lanczos"}.get(name, name)


_FOREIGN: tuple[tuple[frozenset[str], Callable[[Table], Preprocess]], ...] = (
    (
        frozenset({"do_resize", "do_rescale", "do_normalize", "image_mean", "image_std", "rescale_factor"}),
        _parse_hugging_face,
    ),
    (frozenset({"resize_size"}), _parse_torchvision),
    (frozenset({"input_size"}), _parse_timm),
)
"""Keys by which a file is known, and how it is read."""
