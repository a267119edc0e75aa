"""Pictures as data: a folder with one sub-folder per class, a folder of pictures, or one picture.

Without a network the preprocessing is pixels / 255 as float32 [3, height, width] ([1, height, width] where all are grey), turned upright
as EXIF says. With one it is what the network's bundle, or the user, says; what is not known is not guessed (`open_pictures`).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeexit.data.classes import assign_class_numbers, clean_name, warn
from edgeexit.data.dataset import Dataset
from edgeexit.data.model import InputSpec, ModelInfo
from edgeexit.data.picture import SUFFIXES, is_picture, read_picture, read_picture_kind
from edgeexit.data.preprocess import UNIT_RANGE, Preprocess
from edgeexit.errors import InputError
from edgeexit.util.arguments import make_printable
from edgeexit.util.units import bytes_, format_count

_PART_NAMES = frozenset(
    {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "calibration", "calib"}
)
_LITTER = frozenset({"__macosx", "@eadir", "thumbs.db", "desktop.ini", "lost+found"})
_MOST_FILES = 10_000_000
_MOST_SHOWN = 4


@dataclass(frozen=True)
class ImageFiles:
    """Pictures on disk, read when asked.

    Attributes:
        name: name of the folder or file, for messages.
        files: files in order: by class, then by path.
        shown: each as text, from the folder on.
        labels: one per file; empty where there are no classes.
        class_names: class names in the order of the labels; empty where they are not all known.
        how: each is prepared, completed for the input.
        spec: the input.
    """

    name: str
    files: tuple[Path, ...]
    shown: tuple[str, ...]
    labels: tuple[int, ...]
    class_names: tuple[str, ...]
    how: Preprocess
    spec: InputSpec

    def __len__(self) -> int:
        return len(self.files)

    def read(self, start: int = 0, stop: int | None = None) -> Dataset:
        """Those of the files from `start` up to `stop`, each read once into its place.

        Raises:
            InputError: one cannot be read (it is named), or all together do not fit into memory.
        """
        files = self.files[start:stop]
        shape = (len(files), *self.spec.shape)
        self._refuse_too_large(shape)
        try:
            inputs = np.empty(shape, self.spec.dtype)
            for i, file in enumerate(files):
                inputs[i] = read_picture(file, self.how)
        except MemoryError as error:
            raise self._make_size_error(shape) from error
        labels = np.array(self.labels[start:stop], np.int64) if self.labels else None
        return Dataset(self.name, inputs, labels, self.shown[start:stop], self.class_names)

    def _refuse_too_large(self, shape: tuple[int, ...]) -> None:
        free = _read_free_memory()
        if free is not None and np.dtype(self.spec.dtype).itemsize * np.prod(shape, dtype=np.float64) > free:
            raise self._make_size_error(shape)

    def _make_size_error(self, shape: tuple[int, ...]) -> InputError:
        needed = bytes_(float(np.dtype(self.spec.dtype).itemsize * np.prod(shape, dtype=np.float64)))
        msg = (
            f"{self.name} does not fit into memory: {format_count(shape[0], 'picture')} as {self.spec} take {needed}. "
            "Give a smaller folder."
        )
        return InputError(msg)


def read_image_folder(folder: Path) -> Dataset:
    """Every picture of `folder/<class>/`, labels numbered in the order of the class names; or of `folder/` itself, without labels.

    Raises:
        InputError: no pictures, pictures of several sizes, or one that cannot be read.
        MissingExtra: Pillow is not installed.
    """
    return open_pictures(folder, None).read()


def open_pictures(path: Path, model: ModelInfo | None, *, strict: bool = False) -> ImageFiles:
    """The pictures at a path, known to suit a network; none is decoded yet.

    Args:
        path: a folder or one file.
        model: what the network expects; None takes pixels / 255 and the size of the pictures.
        strict: raise an error where the preprocessing, or the numbers of the classes, are not known, instead of a warning.

    Raises:
        InputError: no pictures; a network without a picture's input; what is not known, with `strict`.
        MissingExtra: Pillow is not installed.
    """
    name = make_printable(path)
    known = frozenset(clean_name(n).casefold() for n in (model.class_names if model is not None else ()))
    found = _list_pictures(path, name, known)
    spec, how = (
        _make_default_preprocess(found.files, name) if model is None else _infer_input(model, name, strict=strict)
    )
    numbers, class_names = (
        assign_class_numbers(found.folders, model, name, strict=strict)
        if found.folders
        else ({}, model.class_names if model else ())
    )
    labels = [numbers[c] for c in found.classes]
    order = sorted(range(len(found.files)), key=lambda i: labels[i] if labels else 0)  # stable: by path within a class
    return ImageFiles(
        name,
        tuple(found.files[i] for i in order),
        tuple(make_printable(found.shown[i]) for i in order),
        tuple(labels[i] for i in order) if labels else (),
        class_names,
        how,
        spec,
    )


def _infer_input(model: ModelInfo, name: str, *, strict: bool) -> tuple[InputSpec, Preprocess]:
    """The network's input, and how pictures are prepared for it.

    Raises:
        InputError: the network takes no pictures, the preprocessing does not fit it, or, with `strict`, is not known.
    """
    spec = model.image_input
    if spec is None:
        msg = f"{name} holds pictures, but the network takes {', '.join(map(str, model.inputs))}: give the inputs as an .npz."
        raise InputError(msg)
    how = model.preprocess
    if how is None and spec.dtype != "uint8":  # 8-bit pixels are as they are
        advice = (
            "Say how the network's training images were prepared, as --preprocess imagenet, --preprocess unit (pixels / 255),"
            " --preprocess mean=0.5,std=0.25 or the configuration file that came with the network; edgeexit compile --preprocess keeps it."
        )
        if strict:
            msg = f"{name} holds pictures, and {model.name} records no preprocessing for them. {advice}"
            raise InputError(msg)
        warn(
            f"{model.name} does not say how pictures are prepared for the network; {name} is read as pixels / 255 without"
            f" normalisation, and the predictions are wrong if training did otherwise. {advice}"
        )
    return spec, (how or UNIT_RANGE).complete(spec.shape, spec.dtype)


def _make_default_preprocess(files: Sequence[Path], name: str) -> tuple[InputSpec, Preprocess]:
    """Pixels / 255, in the size that all pictures have."""
    kinds = [read_picture_kind(f) for f in files]
    sizes = {size: f for f, (_, size) in zip(reversed(files), reversed(kinds), strict=True)}
    if len(sizes) > 1:
        listed = "; ".join(f"{h}x{w} as {f.name}" for (h, w), f in sorted(sizes.items())[:_MOST_SHOWN])
        msg = (
            f"the images of {name} have several sizes ({make_printable(listed)}); resize them as they were for training"
        )
        raise InputError(msg)
    depth = 1 if all(grey for grey, _ in kinds) else 3
    spec = InputSpec("x", "float32", (depth, *kinds[0][1]))
    return spec, replace(UNIT_RANGE, layout="nchw").complete(spec.shape, spec.dtype)


def _read_free_memory() -> float | None:
    """Bytes that the system says are free for use; None where it does not say."""
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as lines:
            found = next(line for line in lines if line.startswith("MemAvailable"))
        return float(found.split()[1]) * 1024
    except (OSError, StopIteration, ValueError, IndexError):
        return None


# ---------------------------------------------------------------- what lies in the folder


@dataclass(frozen=True)
class _Listing:
    """Files, each as text from the folder on and with its class folder; no classes where pictures lie in the folder itself."""

    files: tuple[Path, ...]
    shown: tuple[str, ...]
    classes: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


def _list_pictures(path: Path, name: str, known: frozenset[str]) -> _Listing:
    """Every picture at a path. An empty folder among class folders is a class too; `known` are the network's, in small letters."""
    if not path.is_dir():
        return _Listing((path,), (path.name,))
    entries = sorted(p for p in path.iterdir() if not _is_litter(p))
    folders = [p for p in entries if p.is_dir()]
    if not any(_is_known(f, known) for f in folders):
        _refuse_parts(path, folders)
        _refuse_wrapper(path, folders)
    loose = [p for p in entries if is_picture(p) and not p.is_dir()]
    others: dict[Path, Counter[str]] = {folder: Counter() for folder in folders}
    inside = {folder: _list_images(folder, others[folder], path) for folder in folders}
    other = sum(others.values(), Counter[str]())
    files = [f for found in inside.values() for f in found]
    if not files:
        if not loose:
            _refuse_empty(name, other, [p for p in entries if not p.is_dir()])
        return _Listing(tuple(loose), tuple(p.name for p in loose))
    if known:
        folders = [f for f in folders if inside[f] or _is_known(f, known)]
    else:
        _refuse_without_pictures(name, [f for f in folders if not inside[f] and others[f]])
    other.update({"beside the class folders": len(loose)} if loose else {})
    _warn_left_out(name, other)
    return _Listing(
        tuple(files),
        tuple(str(f.relative_to(path)) for f in files),
        tuple(make_printable(folder.name) for folder in folders for _ in inside[folder]),
        tuple(make_printable(folder.name) for folder in folders),
    )


def _is_known(folder: Path, known: frozenset[str]) -> bool:
    return clean_name(make_printable(folder.name)).casefold() in known


def _refuse_without_pictures(name: str, folders: Sequence[Path]) -> None:
    """Notes or annotations beside the class folders would be taken for a class and move the labels of the others."""
    if folders:
        shown = ", ".join(make_printable(f.name) for f in folders[:_MOST_SHOWN])
        msg = f"{name}: no pictures, only other files, in {shown}: take it out of the class folders, or give the class names (--classes)."
        raise InputError(msg)


def _refuse_empty(name: str, other: Counter[str], beside: Sequence[Path]) -> None:
    kinds = Counter(p.suffix.lower() or "without a suffix" for p in beside) + other
    found = ", ".join(make_printable(kind) for kind, _ in kinds.most_common(_MOST_SHOWN))
    there = f"; it holds {format_count(sum(kinds.values()), 'other file')} ({found})" if kinds else ""
    msg = f"{name} holds no images ({', '.join(SUFFIXES)}), neither itself nor in sub-folders, one per class{there}"
    raise InputError(msg)


def _is_litter(path: Path) -> bool:
    """Files that systems leave behind: hidden ones, those of macOS archives, thumbnails."""
    return path.name.startswith(".") or path.name.casefold() in _LITTER


def _list_images(folder: Path, other: Counter[str], root: Path) -> list[Path]:
    """Pictures in a class folder and the folders inside, in order; suffixes of what is no picture are counted.

    Links in a circle are cut, and so are those to the root or above it, where the other classes are.
    """
    found: list[Path] = []
    seen: set[str] = {str(p) for p in (root.resolve(), *root.resolve().parents)}
    for here, inner, names in os.walk(folder, followlinks=True, onerror=_refuse_unreadable):
        real = os.path.realpath(here)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(n for n in inner if not _is_litter(Path(n)))
        for file in (Path(here) / n for n in names):
            if is_picture(file) and not _is_litter(file):
                found.append(file)
            elif not _is_litter(file):
                other[file.suffix.lower() or "without a suffix"] += 1
        if len(found) > _MOST_FILES:
            msg = f"{make_printable(folder)} holds more than {_MOST_FILES} pictures."
            raise InputError(msg)
    return sorted(found)


def _refuse_unreadable(error: OSError) -> None:
    """A folder that cannot be listed would otherwise be left out in silence."""
    raise error


def _refuse_parts(path: Path, folders: Sequence[Path]) -> None:
    """Class folders inside folders for training, validation and test: those would be taken for the classes."""
    parts = [f for f in folders if f.name.casefold() in _PART_NAMES and _list_subfolders(f)]
    if len(parts) >= min(2, len(folders)) > 0:
        shown = ", ".join(make_printable(path / f.name) for f in parts)
        msg = f"{make_printable(path)} holds parts of a data set, each with class folders inside: give one of them ({shown})."
        raise InputError(msg)


def _refuse_wrapper(path: Path, folders: Sequence[Path]) -> None:
    """The class folders one folder deeper, as archives are unpacked: all pictures would be of one class."""
    if len(folders) != 1 or len(_list_subfolders(folders[0])) < 2 or any(map(is_picture, folders[0].iterdir())):
        return
    inner = make_printable(path / folders[0].name)
    msg = f"{make_printable(path)} holds one folder, with {format_count(len(_list_subfolders(folders[0])), 'folder')} inside: give {inner}."
    raise InputError(msg)


def _list_subfolders(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.is_dir() and not _is_litter(p)]


def _warn_left_out(name: str, other: Counter[str]) -> None:
    if other:
        kinds = ", ".join(make_printable(kind) for kind, _ in other.most_common(_MOST_SHOWN))
        warn(
            f"{name}: {format_count(sum(other.values()), 'file')} left out ({kinds}); "
            f"pictures are {', '.join(SUFFIXES)} in the class folders."
        )
