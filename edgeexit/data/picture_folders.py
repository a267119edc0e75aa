"""Pictures in folders: which files belong to which class, and what is no class folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeexit.data.classes import clean_name, warn
from edgeexit.data.picture import SUFFIXES, is_picture
from edgeexit.errors import InputError
from edgeexit.util.arguments import make_printable
from edgeexit.util.units import format_count

PART_FOLDERS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "calibration": ("calibration", "calib", "val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""Names of the folders of each part of a data set, in small letters, the first that is there first."""

_PART_NAMES = frozenset(name for names in PART_FOLDERS.values() for name in names)
_LITTER = frozenset({"__macosx", "@eadir", "thumbs.db", "desktop.ini", "lost+found"})
_MOST_FILES = 10_000_000
_MOST_SHOWN = 4


@dataclass(frozen=True)
class PictureListing:
    """Files, each as text from the folder on and with its class folder; no classes where pictures lie in the folder itself."""

    files: tuple[Path, ...]
    shown: tuple[str, ...]
    classes: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


def list_pictures(path: Path, name: str, known: frozenset[str]) -> PictureListing:
    """Every picture at a path. An empty folder among class folders is a class too; `known` are the network's, in small letters."""
    if not path.is_dir():
        return PictureListing((path,), (path.name,))
    entries = sorted(p for p in path.iterdir() if not _is_litter(p))
    folders = [p for p in entries if p.is_dir()]
    if not any(_is_known(f, known) for f in folders):
        _refuse_parts(path)
        _refuse_wrapper(path, folders)
    loose = [p for p in entries if is_picture(p) and not p.is_dir()]
    others: dict[Path, Counter[str]] = {folder: Counter() for folder in folders}
    inside = {folder: _list_images(folder, others[folder], path) for folder in folders}
    other = sum(others.values(), Counter[str]())
    files = [f for found in inside.values() for f in found]
    if not files:
        if not loose:
            _refuse_empty(name, other, [p for p in entries if not p.is_dir()])
        return PictureListing(tuple(loose), tuple(p.name for p in loose))
    if known:
        folders = [f for f in folders if inside[f] or _is_known(f, known)]
    else:
        _refuse_without_pictures(name, [f for f in folders if not inside[f] and others[f]])
    other.update({"beside the class folders": len(loose)} if loose else {})
    _warn_left_out(name, other)
    return PictureListing(
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


def find_part_folders(path: Path) -> dict[str, Path]:
    """The folder of each part of a data set that has class folders inside; empty where the class folders lie in `path` itself.

    Args:
        path: a folder.

    Returns:
        by part (`train`, `calibration`, `test`), those that are there.
    """
    folders = {p.name.casefold(): p for p in sorted(_list_subfolders(path))}
    parts = {name: p for name, p in folders.items() if name in _PART_NAMES and _list_subfolders(p)}
    if not len(parts) >= min(2, len(folders)) > 0:
        return {}
    return {
        part: next(parts[n] for n in names if n in parts)
        for part, names in PART_FOLDERS.items()
        if any(n in parts for n in names)
    }


def _refuse_parts(path: Path) -> None:
    """Class folders inside folders for training, validation and test: those would be taken for the classes."""
    parts = find_part_folders(path)
    if parts:
        shown = ", ".join(make_printable(f) for f in parts.values())
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
