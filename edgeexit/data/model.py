"""Data that a network expects: its inputs, classes and preprocessing of pictures."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from edgeexit.data.preprocess import Preprocess
from edgeexit.errors import InputError


@dataclass(frozen=True)
class InputSpec:
    """One input of a network.

    Attributes:
        name: name of the input.
        dtype: NumPy dtype name.
        shape: shape of one sample, without the batch.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}[samples{''.join(f', {n}' for n in self.shape)}]"


@dataclass(frozen=True)
class ModelInfo:
    """Data that a network expects.

    Attributes:
        name: name for messages: the bundle's or the model's path.
        inputs: inputs of the network.
        classes: number of classes; None where it is not known yet.
        class_names: class names in the order of the network's outputs; empty where they are not known.
        preprocess: how a picture becomes an input; None where it is not known.
    """

    name: str
    inputs: tuple[InputSpec, ...]
    classes: int | None = None
    class_names: tuple[str, ...] = ()
    preprocess: Preprocess | None = None

    @property
    def image_input(self) -> InputSpec | None:
        """The only input, where one picture fits it; None otherwise."""
        only = self.inputs[0] if len(self.inputs) == 1 else None
        return only if only is not None and len(only.shape) == 3 else None


def infer_preprocess(info: ModelInfo) -> Preprocess | None:
    """The preprocessing with everything taken from the network's input; None where there is none.

    Raises:
        InputError: it does not fit the input, or the network takes no picture.
    """
    if info.preprocess is None:
        return None
    spec = info.image_input
    if spec is None:
        msg = f"{info.name} takes {', '.join(map(str, info.inputs))}, which are not images, so a preprocessing cannot be applied."
        raise InputError(msg)
    return info.preprocess.complete(spec.shape, spec.dtype)


def find_near_name(name: str, known: tuple[str, ...]) -> str | None:
    """The name among `known` that differs only in case, or else the nearest one; None where none is near."""
    same = [k for k in known if k.lower() == name.lower()]
    return next(iter(same or difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)), None)
