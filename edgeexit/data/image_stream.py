"""Pictures on disk as training data: each is decoded when it is asked for.

All are read once before training begins, so that what cannot be read is known by then. That first pass also gives every picture the hash
of its input, by which pictures that lie in two parts are found.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgeexit.data.faults import SampleFault, describe_faults
from edgeexit.data.images import ImageFiles
from edgeexit.data.picture import find_picture_kind, import_pillow, read_picture, silence_pillow_in_threads
from edgeexit.data.prefetch import count_workers, read_ahead
from edgeexit.data.streams import Batch, Places
from edgeexit.errors import InputError, MissingExtra
from edgeexit.util.progress import Progress, show_nothing

_MOST_SHOWN = 4
_AT_ONCE = 512  # pictures between two looks at the progress


@dataclass(frozen=True, eq=False)
class ImageStream:
    """Labelled pictures on disk, known to be readable; a batch is decoded while the one before it is used.

    Attributes:
        pictures: the files, their labels and how each is prepared.
        hashes: 16 bytes per picture, of its input; see `Dataset.sample_hashes`.
    """

    pictures: ImageFiles
    hashes: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.pictures.name

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the labels."""
        return self.pictures.class_names

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample, without the batch."""
        return self.pictures.spec.shape

    @cached_property
    def y(self) -> NDArray[np.int64]:
        """Labels [n]."""
        return np.array(self.pictures.labels, np.int64)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the hashes of all inputs and of the labels."""
        return hashlib.sha256(b"".join(self.hashes) + self.y.astype("<i8").tobytes()).hexdigest()

    def sample_hashes(self) -> list[bytes]:
        """One 16-byte hash per sample; those of a `Dataset` with the same inputs."""
        return list(self.hashes)

    def take(self, indices: Places, /) -> ImageStream:
        """The pictures at these places, in this order."""
        where = [int(i) for i in indices]
        return ImageStream(self.pictures.take(where), tuple(self.hashes[i] for i in where))

    def batches(self, places: Iterable[Places]) -> Iterator[Batch]:
        """Inputs and labels of the pictures at these places, one batch for each array of them.

        Raises:
            InputError: a picture has been changed or taken away since the first pass, and cannot be read.
        """
        silence_pillow_in_threads()
        asked: list[Places] = []

        def note() -> Iterator[Places]:
            for where in places:
                asked.append(where)
                yield where

        for inputs in read_ahead(note(), self._read, self.pictures.spec):
            yield inputs, self.y[asked.pop(0)]

    def _read(self, place: int) -> NDArray[np.float32]:
        return read_picture(self.pictures.files[place], self.pictures.how)


def examine_pictures(
    pictures: ImageFiles, *, most_unreadable: float, progress: Progress = show_nothing
) -> tuple[ImageStream, tuple[str, ...]]:
    """Read every picture once: those that can be read, and in words which were left out.

    Args:
        pictures: labelled files.
        most_unreadable: share of them that may be unreadable; those are left out.
        progress: watches the pictures.

    Raises:
        InputError: pictures of another size than the network's where nothing resizes them, or more unreadable ones than that.
        MissingExtra: Pillow is not installed.
    """
    import_pillow()
    silence_pillow_in_threads()
    if not pictures.how.resize:
        _refuse_other_sizes(pictures)
    found = list(_hash_all(pictures, progress))
    faults = [
        SampleFault(i, pictures.shown[i], _explain(pictures, i, f))
        for i, f in enumerate(found)
        if isinstance(f, InputError)
    ]
    notes = describe_faults(pictures.name, "image", len(pictures), faults, most_unreadable)
    good = [i for i, f in enumerate(found) if isinstance(f, bytes)]
    stream = ImageStream(pictures.take(good), tuple(f for f in found if isinstance(f, bytes)))
    return stream, notes


def _hash_all(pictures: ImageFiles, progress: Progress) -> Iterator[bytes | InputError]:
    """The hash of each picture's input, or why it cannot be read."""

    def look(place: int) -> bytes | InputError:
        try:
            sample = read_picture(pictures.files[place], pictures.how)
        except MissingExtra:
            raise
        except InputError as error:
            return error
        return hashlib.blake2b(sample.tobytes(), digest_size=16).digest()

    count, what = len(pictures), f"check {pictures.name}"
    with ThreadPoolExecutor(count_workers(), thread_name_prefix="edgeexit-data") as pool:
        for start in range(0, count, _AT_ONCE):
            progress(what, start, count)
            yield from pool.map(look, range(start, min(start + _AT_ONCE, count)))
    progress(what, count, count)


def _explain(pictures: ImageFiles, place: int, fault: InputError) -> str:
    """`image file is truncated`, without the name of the file."""
    return str(fault).removeprefix("cannot read the image ").removeprefix(str(pictures.files[place])).lstrip(": ")


def _refuse_other_sizes(pictures: ImageFiles) -> None:
    """Nobody guesses here how pictures of other sizes were resized in training."""
    sizes: Counter[tuple[int, int]] = Counter()
    example: dict[tuple[int, int], str] = {}
    for file, shown in zip(pictures.files, pictures.shown, strict=True):
        kind = find_picture_kind(file)
        if kind is not None:  # what cannot be read is found, named and counted when all are read
            sizes[kind[1]] += 1
            example.setdefault(kind[1], shown)
    other = sizes.total() - sizes[pictures.how.size if len(pictures.how.size) == 2 else (0, 0)]
    if other:
        wanted = "x".join(map(str, pictures.how.size))
        listed = "; ".join(f"{h}x{w} as {example[h, w]}" for h, w in list(sizes)[:_MOST_SHOWN])
        msg = (
            f"{pictures.name}: {other} of {sizes.total()} images do not have the {wanted} pixels (height x width) of the network's"
            f" input ({listed}), and the preprocessing does not say how they are resized: add resize={wanted}, or"
            f" resize={max(pictures.how.size) * 8 // 7},size={wanted} to cut out the middle."
        )
        raise InputError(msg)
