"""The three parts that training needs: `train` for the weights, `calibration` for thresholds, `test` for the figures at the end.

They are taken from the data where it has them, and otherwise split off by class, with a seed; `TrainingParts.notes` says which. What is
split off or found in two parts is told by the content of the samples, so that copies under another name count, too.

photos/train/cat photos/val/cat photos/test/cat   the folders; `val` is the calibration part
photos/train/cat photos/val/cat                   `val` is halved into calibration and test
photos/cat photos/dog                             80 % train, 10 % calibration, 10 % test
samples.npz, digits, mnist, cifar10               their own parts, or as above
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeexit.data.dataset import check_labels
from edgeexit.data.model import ModelInfo
from edgeexit.data.named import PARTS, SETS, load_data
from edgeexit.data.npz import list_npz_parts
from edgeexit.data.picture_parts import open_picture_parts
from edgeexit.data.preprocess import Preprocess
from edgeexit.data.sample_list import open_samples
from edgeexit.data.splits import split_by_class
from edgeexit.data.streams import DivisibleData, TrainingData
from edgeexit.errors import InputError
from edgeexit.util.arguments import make_printable
from edgeexit.util.progress import Progress, show_nothing
from edgeexit.util.units import format_count

SHARES = (0.8, 0.1, 0.1)
"""Of train, calibration and test, where the data has no parts of its own."""

MOST_UNREADABLE = 0.01
"""Share of the pictures of a part that may be unreadable, and are then left out."""


@dataclass(frozen=True)
class TrainingParts:
    """Data for training, choosing thresholds and testing; no sample is in two of them.

    Attributes:
        train, calibration, test: the parts.
        class_names: class names in the order of the labels; empty where the data does not name them.
        preprocess: how pictures are prepared; None where the data holds none.
        notes: what was split, how, and what was left out, in words, for the user and for records.
    """

    train: TrainingData
    calibration: TrainingData
    test: TrainingData
    class_names: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    notes: tuple[str, ...] = ()

    @property
    def by_name(self) -> dict[str, TrainingData]:
        """The parts as `edgeexit.training.train` takes them."""
        return {"train": self.train, "calibration": self.calibration, "test": self.test}

    @property
    def classes(self) -> int:
        """Number of classes: of the names, or else up to the largest label of the training part."""
        return len(self.class_names) or 1 + int(self.train.y.max())


@dataclass(frozen=True)
class PartOptions:
    """How data becomes parts.

    Attributes:
        seed: of what is split off; apart from the seed of the training, so that runs with other seeds have the same test part.
        shares: of train, calibration and test, where the data has no parts.
        most_unreadable: share of the pictures of a folder that may be unreadable and are left out.
        progress: watches the first pass over pictures.
    """

    seed: int = 0
    shares: tuple[float, float, float] = SHARES
    most_unreadable: float = MOST_UNREADABLE
    progress: Progress = show_nothing


def open_training_parts(
    data: object,
    model: ModelInfo,
    options: PartOptions | None = None,
) -> TrainingParts:
    """Data for training, in three parts that share no sample; pictures stay on disk until they are asked for.

    Args:
        data: a folder with one sub-folder per class, or with folders of parts that hold those; an .npz; the name of a set; a `Dataset`,
            of ours, of torch (map-style) or of Hugging Face; or a mapping of such by part.
        model: what the network expects: one input, whose shape may be left out (`inputs` empty) for pictures; the number or the names
            of its classes where they are known; how pictures are prepared.
        options: shares, seed, and how many pictures may be unreadable.

    Raises:
        InputError: no such data; no class folders; one class; labels beyond the network's classes; pictures whose preprocessing is not
            stated or does not bring them to one size; too many unreadable ones; too few samples to split; a sample in two parts.

    Example:
        >>> from edgeexit.data import ModelInfo, load_data
        >>> parts = open_training_parts(load_data("digits:calibration"), ModelInfo("net", ()))
        >>> len(parts.train), len(parts.calibration), len(parts.test)
        (401, 49, 50)
    """
    how = options or PartOptions()
    found, notes = _open(data, model, how)
    parts, more = _complete(found, how)
    _refuse_one_class(parts["train"])
    for part in parts.values():
        check_labels(part, model.classes or len(parts["train"].class_names) or 1 + int(parts["train"].y.max()))
    _refuse_shared(parts)
    preprocess = getattr(getattr(parts["train"], "pictures", None), "how", None)
    return TrainingParts(
        parts["train"],
        parts["calibration"],
        parts["test"],
        parts["train"].class_names,
        preprocess,
        (*notes, *more, *_describe_missing(parts)),
    )


def _open(data: object, model: ModelInfo, options: PartOptions) -> tuple[dict[str, DivisibleData], tuple[str, ...]]:
    """The parts that the data has; a single one without a name is under `""`."""
    if isinstance(data, Mapping):
        if not data or not set(data) <= set(PARTS):
            msg = f"the parts of the data are {', '.join(map(repr, data)) or 'none'}; train, calibration and test are needed"
            raise InputError(msg)
        opened = {str(part): _open_object(one, model, options) for part, one in data.items()}
        return {part: one for part, (one, _) in opened.items()}, tuple(n for _, notes in opened.values() for n in notes)
    if not isinstance(data, (str, os.PathLike)):
        whole, notes = _open_object(data, model, options)
        return {"": whole}, notes
    text, path = os.fspath(data), Path(data)
    if path.is_dir():
        return open_picture_parts(path, model, options.most_unreadable, options.progress)
    if text in SETS:
        return {part: load_data(f"{text}:{part}", _with_input(model)) for part in PARTS}, ()
    if path.suffix.lower() == ".npz" and path.is_file():
        named = {part: f"{text}:{key}" for part, key in list_npz_parts(path).items()} or {"": text}
        return {part: load_data(spec, _with_input(model)) for part, spec in named.items()}, ()
    return {"": load_data(text, _with_input(model))}, ()


def _open_object(data: Any, model: ModelInfo, options: PartOptions) -> tuple[DivisibleData, tuple[str, ...]]:
    """Training data of ours as it is, another library's read once; and in words what the user should know."""
    if hasattr(data, "batches") and hasattr(data, "sample_hashes"):
        return data, ()
    return open_samples(data, model, most_unreadable=options.most_unreadable, progress=options.progress)


def _with_input(model: ModelInfo) -> ModelInfo | None:
    """What arrays are fitted to; nothing where the network's input is not known."""
    return model if model.inputs else None


def _complete(
    found: Mapping[str, DivisibleData], options: PartOptions
) -> tuple[dict[str, TrainingData], tuple[str, ...]]:
    """All three parts, and in words what was split off."""
    if set(found) == {""} or set(found) == {"train"}:
        (whole,) = found.values()
        return _split(whole, PARTS, options.shares, options.seed)
    if "train" not in found:
        msg = f"there is no train part, only {' and '.join(found)}; exits are trained on it"
        raise InputError(msg)
    if {"calibration", "test"} <= set(found):
        return {part: found[part] for part in PARTS}, ()
    (other,) = (data for part, data in found.items() if part != "train")
    halves, notes = _split(other, ("calibration", "test"), (0.5, 0.5), options.seed)
    return {"train": found["train"], **halves}, notes


def _split(
    whole: DivisibleData, names: tuple[str, ...], shares: tuple[float, ...], seed: int
) -> tuple[dict[str, TrainingData], tuple[str, ...]]:
    try:
        where = split_by_class(whole.y, whole.sample_hashes(), seed, shares)
    except InputError as error:
        msg = f"{whole.name} cannot be split into {', '.join(names)}: {error}"
        raise InputError(msg) from error
    sizes = ", ".join(f"{name} {len(places):,}" for name, places in zip(names, where, strict=True))
    note = f"{whole.name}: {format_count(len(whole), 'sample')} split by class with seed {seed} into {sizes}"
    return {name: whole.take(places) for name, places in zip(names, where, strict=True)}, (note,)


def _refuse_one_class(train: TrainingData) -> None:
    found = np.unique(train.y)
    if len(found) < 2:
        name = train.class_names[int(found[0])] if int(found[0]) < len(train.class_names) else f"class {found[0]}"
        msg = f"{train.name} has samples of one class only ({make_printable(name)}); a classifier needs two or more"
        raise InputError(msg)


def _refuse_shared(parts: Mapping[str, TrainingData]) -> None:
    """A sample in two parts: thresholds or figures would be those of samples that the exits were trained on."""
    hashes = {name: part.sample_hashes() for name, part in parts.items()}
    for one, other in (("train", "calibration"), ("train", "test"), ("calibration", "test")):
        known = {h: i for i, h in enumerate(hashes[one])}
        shared = [i for i, h in enumerate(hashes[other]) if h in known]
        if shared:
            pair = _show_sample(parts[one], known[hashes[other][shared[0]]]), _show_sample(parts[other], shared[0])
            msg = (
                f"{format_count(len(shared), 'sample')} of the {other} part {'is' if len(shared) == 1 else 'are'} in the {one} part,"
                f" too, first {pair[1]}, which is {pair[0]}. The network knows them, so what is chosen or measured on them would not"
                " hold: take them out of one of the parts."
            )
            raise InputError(msg)


def _show_sample(part: TrainingData, place: int) -> str:
    """`photos/train: cat/1.png`, or `sample 3 of samples.npz`."""
    pictures = getattr(part, "pictures", None)
    return f"sample {place} of {part.name}" if pictures is None else f"{part.name}: {pictures.shown[place]}"


def _describe_missing(parts: Mapping[str, TrainingData]) -> tuple[str, ...]:
    """Classes that the train part has and another lacks, in words."""
    notes = []
    for name in ("calibration", "test"):
        missing = sorted(set(parts["train"].y.tolist()) - set(parts[name].y.tolist()))
        if missing:
            names = parts["train"].class_names
            shown = ", ".join(make_printable(names[m]) if names else str(m) for m in missing)
            notes.append(f"the {name} part has no samples of {format_count(len(missing), 'class', 'classes')}: {shown}")
    return tuple(notes)
