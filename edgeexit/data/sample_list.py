"""Data that another library hands out sample by sample, such as a map-style Dataset of torch or of Hugging Face, as training data.

It needs a length and `dataset[i]`, which gives an input and a label: as a pair, or as a table with `image` and `label`, whose names may be
other usual ones. Samples are read when a batch needs them, one after another in the calling thread: what reads them need not be safe for
threads, and random changes that it draws from torch's generator are the same in a run that is resumed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.data.arrays import as_array, find_input_faults
from edgeexit.data.faults import SampleFault, describe_faults
from edgeexit.data.model import ModelInfo
from edgeexit.data.picture import prepare
from edgeexit.data.preprocess import Preprocess
from edgeexit.data.streams import Batch, Places
from edgeexit.errors import InputError
from edgeexit.util.progress import Progress, show_nothing

_INPUTS = ("image", "img", "pixel_values", "x", "input", "inputs", "data", "features")
_LABELS = ("label", "labels", "fine_label", "y", "target", "targets")


@dataclass(frozen=True, eq=False)
class SampleList:
    """Labelled samples of another library, known to be readable and of one shape.

    Attributes:
        name: name for messages and records.
        read: gives the input of a sample of `source`, by its place there.
        places: of the samples in `source`.
        y: labels int64 [n].
        hashes: 16 bytes per sample, of its input.
        shape: of one sample.
        class_names: class names in the order of the labels; empty where they are not known.
        changing: whether a sample is another one each time it is read.
    """

    name: str
    read: Callable[[int], NDArray[Any]]
    places: Places
    y: NDArray[np.int64]
    hashes: tuple[bytes, ...]
    shape: tuple[int, ...]
    class_names: tuple[str, ...] = ()
    changing: bool = False

    def __len__(self) -> int:
        return len(self.places)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the hashes of all inputs and of the labels; of the labels alone where inputs change."""
        inputs = b"" if self.changing else b"".join(self.hashes)
        return hashlib.sha256(inputs + self.y.astype("<i8").tobytes()).hexdigest()

    def sample_hashes(self) -> list[bytes]:
        """One 16-byte hash per sample, of its input as it was read first."""
        return list(self.hashes)

    def take(self, indices: Places, /) -> SampleList:
        """The samples at these places, in this order."""
        where = np.asarray(indices, np.int64)
        hashes = tuple(self.hashes[i] for i in where.tolist())
        return replace(self, places=self.places[where], y=self.y[where], hashes=hashes)

    def batches(self, places: Iterable[Places]) -> Iterator[Batch]:
        """Inputs and labels of the samples at these places, one batch for each array of them.

        Raises:
            InputError: a sample can no longer be read, or has another shape than before.
        """
        for where in places:
            samples = [self._read(i) for i in self.places[where].tolist()]
            yield np.stack(samples), self.y[where]

    def _read(self, place: int) -> NDArray[Any]:
        sample = self.read(place)
        if sample.shape != self.shape:
            msg = f"{self.name}: sample {place} has shape {list(sample.shape)} and had {list(self.shape)} before"
            raise InputError(msg)
        return sample


def open_samples(
    dataset: Any, model: ModelInfo, *, most_unreadable: float, progress: Progress = show_nothing
) -> tuple[SampleList, tuple[str, ...]]:
    """Read every sample once: those that can be read, and in words what the user should know.

    Args:
        dataset: has a length and gives a sample by its place.
        model: what the network expects; its preprocessing is applied to samples that are pictures of Pillow.
        most_unreadable: share of the samples that may be unreadable; those are left out.
        progress: watches the samples.

    Raises:
        InputError: no length, no samples, samples of several shapes, labels that are no whole numbers, or too many unreadable ones.
    """
    name = type(dataset).__name__
    if not (hasattr(type(dataset), "__len__") and hasattr(type(dataset), "__getitem__")) or len(dataset) == 0:
        msg = (
            f"the data {name} has no samples by number: a Dataset with a length and dataset[i] is needed, not one that is only iterated"
            " over, because the order of the samples belongs to the seed"
        )
        raise InputError(msg)
    reader = _Reader(dataset, name, model)
    found = [_look(reader, i, progress) for i in range(len(dataset))]
    progress(f"check {name}", len(found), len(found))
    faults = [SampleFault(i, "", f) for i, f in enumerate(found) if isinstance(f, str)]
    notes = describe_faults(name, "sample", len(found), faults, most_unreadable)
    good = [(i, f) for i, f in enumerate(found) if not isinstance(f, str)]
    _refuse_several_shapes(name, [(i, f.shape) for i, f in good])
    labels = np.array([f.label for _, f in good], np.int64)
    places = np.array([i for i, _ in good], np.int64)
    hashes = tuple(f.digest for _, f in good)
    names = model.class_names or _find_class_names(dataset)
    changing = _hash(reader.read_input(int(places[0]))) != hashes[0]
    notes += (_CHANGING.format(name),) if changing else ()
    return SampleList(name, reader.read_input, places, labels, hashes, good[0][1].shape, names, changing), notes


_CHANGING = (
    "{} changes its samples at random: copies in two parts cannot be told, and thresholds are chosen on changed samples."
    " Give calibration and test parts without random changes."
)


def _hash(sample: NDArray[Any]) -> bytes:
    return hashlib.blake2b(sample.tobytes(), digest_size=16).digest()


@dataclass(frozen=True)
class _Seen:
    """A sample that could be read."""

    label: int
    shape: tuple[int, ...]
    digest: bytes


@dataclass(frozen=True)
class _Reader:
    """Inputs and labels of a dataset in our form."""

    dataset: Any
    name: str
    model: ModelInfo

    def read_input(self, place: int) -> NDArray[Any]:
        """Read the input of a sample; an error names it."""
        return self.read(place)[0]

    def read(self, place: int) -> tuple[NDArray[Any], int]:
        """Read a sample; an error names it."""
        what = f"{self.name}: sample {place}"
        try:
            sample = self.dataset[place]
        except Exception as error:  # the user's code may raise anything
            msg = f"{what} cannot be read ({type(error).__name__}: {error})"
            raise InputError(msg) from error
        given, label = _unpack(sample, what)
        return self._convert_input(given, what), _convert_label(label, what)

    def _convert_input(self, given: Any, what: str) -> NDArray[Any]:
        if hasattr(given, "getbands"):  # a picture of Pillow
            return prepare(given, self._complete_preprocess(given, what))
        array = as_array(given, what)
        faults = find_input_faults(what, array[None], 2)
        if faults:
            raise InputError(faults[0])
        return np.ascontiguousarray(array, np.float32 if array.dtype.kind == "f" else array.dtype)

    def _complete_preprocess(self, picture: Any, what: str) -> Preprocess:
        how, spec = self.model.preprocess, self.model.image_input
        if how is None:
            msg = f"{what} is a picture, and nothing says how pictures are prepared for the network: give a preprocessing, or a transform"
            raise InputError(msg)
        size = how.size or (how.resize if len(how.resize) == 2 else (picture.height, picture.width))
        shape = (1 if how.channels == "grey" else 3, *size) if spec is None else spec.shape
        return how.complete(shape, "float32" if spec is None else spec.dtype)


def _unpack(sample: Any, what: str) -> tuple[Any, Any]:
    """Input and label of a sample."""
    if isinstance(sample, Mapping):
        keys = [next((k for k in known if k in sample), None) for known in (_INPUTS, _LABELS)]
        if None not in keys:
            return sample[keys[0]], sample[keys[1]]
    elif isinstance(sample, Sequence) and not isinstance(sample, str) and len(sample) == 2:
        return sample[0], sample[1]
    held = ", ".join(map(str, sample)) if isinstance(sample, Mapping) else type(sample).__name__
    msg = f"{what} is no pair of input and label, and no table with image and label ({held})"
    raise InputError(msg)


def _convert_label(label: Any, what: str) -> int:
    value = as_array(label, what)
    if value.size != 1 or value.dtype.kind not in "iub" or int(value.reshape(())) < 0:
        msg = f"{what} has the label {label!r}; a whole number from 0 is needed"
        raise InputError(msg)
    return int(value.reshape(()))


def _look(reader: _Reader, place: int, progress: Progress) -> _Seen | str:
    """A sample's label, shape and hash, or why it cannot be used."""
    progress(f"check {reader.name}", place, len(reader.dataset))
    try:
        sample, label = reader.read(place)
    except InputError as error:
        return str(error).removeprefix(f"{reader.name}: ")
    return _Seen(label, sample.shape, _hash(sample))


def _refuse_several_shapes(name: str, shapes: Sequence[tuple[int, tuple[int, ...]]]) -> None:
    first, shape = shapes[0]
    other = next(((i, s) for i, s in shapes if s != shape), None)
    if other is not None:
        msg = f"{name}: sample {first} has shape {list(shape)} and sample {other[0]} {list(other[1])}; bring them to one size"
        raise InputError(msg)


def _find_class_names(dataset: Any) -> tuple[str, ...]:
    """`classes` of torchvision's datasets."""
    names = getattr(dataset, "classes", ())
    return tuple(names) if isinstance(names, (list, tuple)) and all(isinstance(n, str) for n in names) else ()
