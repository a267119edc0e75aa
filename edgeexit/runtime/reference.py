"""Measure what a bundle records of the data that it is compiled with: the accuracy of the last exit, and statistics of the inputs."""

from __future__ import annotations

from time import monotonic

import numpy as np

from edgeexit.backends import Settings
from edgeexit.bundle import Bundle
from edgeexit.data import Dataset, check_labels
from edgeexit.data.reference import Reference, describe_data
from edgeexit.errors import InputError
from edgeexit.progress import Progress
from edgeexit.runtime.inputs import model_info
from edgeexit.runtime.runner import Backbone

_MOST_SAMPLES = 2000
_MOST_S = 10.0
_SEED = 0


def _label_of(backbone: Backbone, data: Dataset, i: int) -> int:
    try:
        return backbone(data.take(slice(i, i + 1)).inputs).label
    except InputError as error:
        msg = f"{data.name}: sample {i}: {error}"
        raise InputError(msg) from error


def measure_reference(bundle: Bundle, settings: Settings, data: Dataset, progress: Progress) -> Reference:
    """Run the network straight to its last exit on up to 2,000 labelled samples, drawn at random, for up to ten seconds.

    Raises:
        InputError: a label that the network does not have, or an input that it gives NaN for, with its number.
    """
    info = model_info(bundle)
    if data.labels is None:
        return describe_data(data, info, None, "compile")
    labels = check_labels(data, bundle.manifest.classes)
    chosen = np.random.default_rng(_SEED).permutation(len(data))[:_MOST_SAMPLES]
    end, right, count = monotonic() + _MOST_S, 0, 0
    with Backbone(bundle, settings) as backbone:
        for count, i in enumerate(chosen.tolist(), 1):
            right += _label_of(backbone, data, i) == labels[i]
            if count % 64 == 0 or count == len(chosen):
                progress("measuring the last exit's accuracy", count, len(chosen))
            if monotonic() > end:
                break
    progress("measuring the last exit's accuracy", len(chosen), len(chosen))
    return describe_data(data, info, right / count, "compile")
