"""A short fingerprint of the training data, which travels in the model, so that calibrating on training data is refused.

It holds the smallest 8-byte hashes of the samples (a bottom-k sketch: the same samples are picked whichever set they are met in). With
1,024 of 50,000 samples kept, a set that shares 300 samples or more with the training data goes unseen less than twice in a thousand.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass

from edgeexit.data.dataset import Dataset
from edgeexit.data.streams import TrainingData
from edgeexit.errors import InputError
from edgeexit.util.documents import parse_json

KEY = "edgeexit.training"
"""The metadata property of an ONNX file that holds the fingerprint of what it was trained on."""

KEPT = 1024
_BYTES = 8


@dataclass(frozen=True)
class Fingerprint:
    """Fingerprint of a training set.

    Attributes:
        name: name of the set.
        samples: number of samples.
        hashes: the smallest 8-byte hashes of its samples.
    """

    name: str
    samples: int
    hashes: frozenset[bytes]

    def as_text(self) -> str:
        """JSON, hashes in order as base64."""
        packed = base64.b64encode(b"".join(sorted(self.hashes))).decode("ascii")
        return json.dumps({"name": self.name, "samples": self.samples, "hashes": packed})

    def find_shared(self, dataset: Dataset) -> list[int]:
        """Places in `dataset` whose inputs are among the samples kept."""
        return [i for i, h in enumerate(dataset.sample_hashes()) if h[:_BYTES] in self.hashes]

    def refuse(self, dataset: Dataset) -> None:
        """Do nothing if none of the samples kept is in `dataset`.

        Raises:
            InputError: some are. Thresholds chosen on samples that the network was trained on are too optimistic.
        """
        shared = self.find_shared(dataset)
        if shared:
            kept = (
                f" ({len(self.hashes)} of its {self.samples} samples are known)"
                if len(self.hashes) < self.samples
                else ""
            )
            msg = (
                f"{dataset.name} has samples that the model was trained on: {len(shared)} are in {self.name}{kept}, first sample "
                f"{shared[0]}. The network is more confident on its training data, so thresholds chosen on them would not"
                f" hold on new data; use "
                "samples that it has not seen."
            )
            raise InputError(msg)


def compute_fingerprint(dataset: TrainingData, *, kept: int = KEPT) -> Fingerprint:
    """Compute the fingerprint of a training set."""
    hashes = sorted({h[:_BYTES] for h in dataset.sample_hashes()})
    return Fingerprint(dataset.name, len(dataset), frozenset(hashes[:kept]))


def read_fingerprint(text: str) -> Fingerprint:
    """What `as_text` wrote.

    Raises:
        InputError: damaged.
    """
    try:
        document = parse_json(text)
        packed = base64.b64decode(document["hashes"], validate=True)
        hashes = frozenset(packed[i : i + _BYTES] for i in range(0, len(packed), _BYTES))
        return Fingerprint(str(document["name"]), int(document["samples"]), hashes)
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error) as error:
        msg = f"the model's record of its training data ({KEY}) cannot be read: {error}"
        raise InputError(msg) from error
