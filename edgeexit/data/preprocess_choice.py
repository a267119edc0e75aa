"""Which preprocessing holds where several places state one: the user's, held against what came with the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeexit.data.preprocess import Preprocess
from edgeexit.data.preprocess_files import read_preprocess
from edgeexit.errors import InputError
from edgeexit.util.arguments import check_small, make_printable

CONFIG_KEYS = ("pretrained_cfg", "default_cfg", "preprocess", "image_processor", "feature_extractor")
"""Where checkpoints, configurations and modules keep a preprocessing."""

_FILES = ("preprocess.toml", "preprocess.json", "preprocessor_config.json")
_CONFIG = "config.json"
_OF_PICTURES = ("input_size", "resize_size", *CONFIG_KEYS)
_LARGEST_FILE = 1 << 20


def find_stated_preprocess(checkpoint: Path | None, tables: Mapping[str, Any]) -> dict[str, Any]:
    """Places that state a preprocessing, each with what `read_preprocess` reads.

    Args:
        checkpoint: file of the weights, beside which configuration files are looked for; None where there is none.
        tables: tables by a name for messages, such as a checkpoint's own or attributes of a module, which may hold one.
    """
    stated: dict[str, Any] = {}
    for name, table in tables.items():
        for key in CONFIG_KEYS:
            held = table.get(key) if isinstance(table, Mapping) else getattr(table, key, None)
            if isinstance(held, Mapping) and held:
                stated[f"{key} of {name}"] = dict(held)
    if checkpoint is None:
        return stated
    for file in (checkpoint.parent / name for name in _FILES):
        if file.is_file():
            stated[make_printable(file)] = file
    config = checkpoint.parent / _CONFIG
    if config.is_file() and _is_about_pictures(config):
        stated[make_printable(config)] = config
    return stated


def _is_about_pictures(config: Path) -> bool:
    """Whether a `config.json` holds a preprocessing: those of language models and of other programs do not."""
    try:
        check_small(config, _LARGEST_FILE)
        document = json.loads(config.read_text(encoding="utf-8-sig"))
    except (InputError, OSError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and any(key in document for key in _OF_PICTURES)


def choose_preprocess(given: Preprocess | None, stated: Mapping[str, Any]) -> Preprocess | None:
    """The user's preprocessing, or else the one that came with the network; None where neither states one.

    Args:
        given: the user's.
        stated: what came with the network, by where it is; see `find_stated_preprocess`.

    Raises:
        InputError: two of them contradict each other, or without the user's, one of a network's cannot be read.

    Example:
        >>> choose_preprocess(None, {"config.json": {"input_size": [3, 224, 224]}}).size
        (224, 224)
    """
    read = {where: _read_stated(where, value, required=given is None) for where, value in stated.items()}
    known = {} if given is None else {"--preprocess": given}
    known.update((where, how) for where, how in read.items() if how is not None)
    if not known:
        return None
    first, *others = known
    for other in others:
        _refuse_contradiction(first, known[first], other, known[other])
    return known[first]


def _read_stated(where: str, value: Any, *, required: bool) -> Preprocess | None:
    """A preprocessing that came with the network; where the user gave one, those that cannot be read do not count."""
    try:
        return read_preprocess(value)
    except InputError as error:
        if not required:
            return None
        msg = f"{where} cannot be used: {error} State the preprocessing with --preprocess."
        raise InputError(msg) from error


def _refuse_contradiction(one: str, first: Preprocess, other: str, second: Preprocess) -> None:
    differences = [
        f"{key} is {_format(a)} in {one} and {_format(b)} in {other}"
        for key, a, b in _list_stated_values(first, second)
        if a != b
    ]
    if differences:
        way_out = f"Leave out --preprocess to take that of {other}" if one == "--preprocess" else "Keep one of them"
        msg = (
            f"the preprocessing is stated twice, and not alike: {'; '.join(differences)}. The network is right only on pictures that are"
            f" prepared as in its training. {way_out}, or correct the wrong one."
        )
        raise InputError(msg)


def _list_stated_values(first: Preprocess, second: Preprocess) -> list[tuple[str, Any, Any]]:
    """What both state; sizes and channels that are left out follow from the network and state nothing."""
    pairs = [(key, getattr(first, key), getattr(second, key)) for key in ("size", "resize", "channels")]
    stated = [(key, a, b) for key, a, b in pairs if a and b]
    if first.resize and second.resize:
        stated.append(("interpolation", first.interpolation, second.interpolation))
    stated.append(("scale", first.scale, second.scale))
    for key, nothing in (("mean", 0.0), ("std", 1.0)):
        a, b = (_spread(getattr(how, key) or (nothing,)) for how in (first, second))
        stated.append((key, a, b))
    return stated


def _spread(values: tuple[float, ...]) -> tuple[float, ...]:
    """One number for all channels as one for each."""
    return values * 3 if len(values) == 1 else values


def _format(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{v:g}" for v in (value[:1] if len(set(value)) == 1 and len(value) == 3 else value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
