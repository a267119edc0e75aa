"""The parts of a folder of pictures, with classes that have the same numbers in all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeexit.data.classes import assign_class_numbers, clean_name
from edgeexit.data.image_stream import examine_pictures
from edgeexit.data.images import ImageFiles, find_common_size, number_pictures
from edgeexit.data.model import InputSpec, ModelInfo
from edgeexit.data.picture import find_picture_kind, import_pillow
from edgeexit.data.picture_folders import PictureListing, find_part_folders, list_pictures
from edgeexit.data.preprocess import CHANNELS, Preprocess
from edgeexit.data.streams import DivisibleData
from edgeexit.errors import InputError
from edgeexit.util.arguments import make_printable
from edgeexit.util.progress import Progress
from edgeexit.util.units import format_count


def open_picture_parts(
    path: Path, model: ModelInfo, most_unreadable: float, progress: Progress
) -> tuple[dict[str, DivisibleData], tuple[str, ...]]:
    """The parts of a folder, every picture read once, and in words what was left out.

    Args:
        path: a folder of class folders, which is one part under the name `""`, or of folders of parts.
        model: what the network expects; without `inputs` the input is what the preprocessing makes of the pictures.
        most_unreadable: share of the pictures of a part that may be unreadable.
        progress: watches the pictures.

    Raises:
        InputError: no class folders; classes that the network does not have, or that the train part lacks; no preprocessing; pictures
            that do not come to the network's size; too many unreadable ones.
    """
    try:
        known = frozenset(clean_name(n).casefold() for n in model.class_names)
        folders = find_part_folders(path) or {"": path}
        listings = {part: list_pictures(folder, make_printable(folder), known) for part, folder in folders.items()}
    except OSError as error:
        msg = f"{make_printable(str(error.filename or path))} cannot be read ({error.strerror})"
        raise InputError(msg) from error
    _refuse_without_classes(folders, listings)
    how = _require_preprocess(model, path)
    spec = _find_input(model, how, listings, make_printable(path))
    numbers, names = _number_classes(listings, model, make_printable(path))
    ready = how.complete(spec.shape, spec.dtype)
    parts: dict[str, DivisibleData] = {}
    notes: list[str] = []
    for part, found in listings.items():
        every = ImageFiles(make_printable(folders[part]), found.files, found.shown, (), names, ready, spec)
        labelled = number_pictures(every, [numbers[c] for c in found.classes])
        parts[part], said = examine_pictures(labelled, most_unreadable=most_unreadable, progress=progress)
        notes += said
    return parts, tuple(notes)


def _refuse_without_classes(folders: Mapping[str, Path], listings: Mapping[str, PictureListing]) -> None:
    for part, found in listings.items():
        if not found.classes:
            where = make_printable(folders[part])
            msg = (
                f"{where} has no class folders, and {format_count(len(found.files), 'image')}"
                f" {'lies' if len(found.files) == 1 else 'lie'} in the folder itself: training needs to know the"
                f" class of each. Put those of one class into a folder of its name, as {where}/cat/1.png."
            )
            raise InputError(msg)


def _require_preprocess(model: ModelInfo, path: Path) -> Preprocess:
    if model.preprocess is None:
        msg = (
            f"{make_printable(path)} holds pictures, and nothing says how they are prepared for the network. Give it as the network was"
            " trained: --preprocess imagenet, --preprocess unit (pixels / 255), --preprocess mean=0.5,std=0.25 or the configuration file"
            " that came with the network."
        )
        raise InputError(msg)
    return model.preprocess


def _find_input(model: ModelInfo, how: Preprocess, listings: Mapping[str, PictureListing], name: str) -> InputSpec:
    """The network's input, or what the preprocessing makes of the pictures where that is not known."""
    if model.inputs:
        if model.image_input is None:
            msg = f"{name} holds pictures, but the network takes {', '.join(map(str, model.inputs))}: give the inputs as an .npz."
            raise InputError(msg)
        return model.image_input
    size = how.size or (how.resize if len(how.resize) == 2 else ())
    kinds = [] if size and how.channels else _read_kinds([f for found in listings.values() for f in found.files])
    size = size or find_common_size([file for file, _, _ in kinds], [size for _, _, size in kinds], name)
    depth = CHANNELS.get(how.channels) or (1 if all(grey for _, grey, _ in kinds) else 3)
    return InputSpec("input", how.dtype or "float32", (*size, depth) if how.layout == "nhwc" else (depth, *size))


def _number_classes(
    listings: Mapping[str, PictureListing], model: ModelInfo, name: str
) -> tuple[dict[str, int], tuple[str, ...]]:
    """The number of each class folder of any part, and the names of all classes."""
    found = list(dict.fromkeys(c for listing in listings.values() for c in listing.folders))
    first = listings.get("train") or next(iter(listings.values()))
    strange = [c for c in found if c not in set(first.classes)]
    if len(found) < 2 and not model.class_names:
        msg = f"{name} has one class only ({found[0]}); a classifier needs two or more, each in a folder of its own"
        raise InputError(msg)
    if strange and not model.class_names:
        shown = ", ".join(strange[:4]) + (", ..." if len(strange) > 4 else "")
        msg = (
            f"{name}: the train part has no images of {shown}, which another part has; class folders must have the same names in all"
            " parts"
        )
        raise InputError(msg)
    numbers, names = assign_class_numbers(found, model, name, strict=True)
    return numbers, names


def _read_kinds(files: Sequence[Path]) -> list[tuple[Path, bool, tuple[int, int]]]:
    """Pictures, whether each is grey, and its size; those that cannot be read are named and counted when all are read."""
    import_pillow()
    kinds = [(file, *kind) for file in files if (kind := find_picture_kind(file)) is not None]
    if not kinds:
        msg = f"none of {format_count(len(files), 'image')} can be read, the first is {make_printable(files[0])}"
        raise InputError(msg)
    return kinds
