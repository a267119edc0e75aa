"""Measure what a bundle records of the data that it is compiled with: the accuracy of the last exit, and statistics of the inputs."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from edgeexit.backends import Settings
from edgeexit.bundle import Bundle
from edgeexit.data import Dataset, check_labels
from edgeexit.data.classes import warn
from edgeexit.data.labels import chance_agreement, is_near_chance
from edgeexit.data.reference import DataReference, describe_data
from edgeexit.errors import InputError
from edgeexit.runtime.inputs import model_info
from edgeexit.runtime.opened import Backbone
from edgeexit.util import units
from edgeexit.util.progress import Progress

_MOST_SAMPLES = 2000
_MOST_S = 10.0
_FEWEST_SAMPLES = 20
_MOST_GUESSED = 0.5  # above it, guessing is what the labels of one frequent class allow
_SEED = 0


def _predict_label(backbone: Backbone, data: Dataset, i: int) -> int:
    try:
        return backbone(data.take(slice(i, i + 1)).inputs).label
    except InputError as error:
        msg = f"{data.name}: sample {i}: {error}"
        raise InputError(msg) from error


def measure_reference(bundle: Bundle, settings: Settings, data: Dataset, progress: Progress) -> DataReference | None:
    """Run the network straight to its last exit on up to 2,000 labelled samples, drawn at random, for up to ten seconds.

    Returns:
        The reference; None, with a warning, where the last exit does no better than guessing.

    Raises:
        InputError: a label that the network does not have, or an input that it gives NaN for, with its number.
    """
    info = model_info(bundle)
    if data.labels is None:
        return describe_data(data, info, None, "compile")
    labels = check_labels(data, bundle.manifest.classes)
    chosen = np.random.default_rng(_SEED).permutation(len(data))[:_MOST_SAMPLES]
    end, answers = monotonic() + _MOST_S, list[int]()
    with Backbone(bundle, settings) as backbone:
        for count, i in enumerate(chosen.tolist(), 1):
            answers.append(_predict_label(backbone, data, i))
            if count % 64 == 0 or count == len(chosen):
                progress("measuring the last exit's accuracy", count, len(chosen))
            if monotonic() > end:
                break
    progress("measuring the last exit's accuracy", len(chosen), len(chosen))
    return _attach_plausible_accuracy(
        describe_data(data, info, None, "compile"), np.array(answers), labels[chosen[: len(answers)]], bundle
    )


def _attach_plausible_accuracy(
    found: DataReference, answers: NDArray[np.int64], labels: NDArray[np.int64], bundle: Bundle
) -> DataReference | None:
    """The reference with the accuracy of these answers; None where they are guesses, as of a network that was not trained."""
    accuracy = float(np.mean(answers == labels))
    chance = chance_agreement(answers, labels, bundle.manifest.classes)
    guessed = accuracy < _MOST_GUESSED and is_near_chance(accuracy, chance) and len(np.unique(labels)) > 1
    if not guessed or len(answers) < _FEWEST_SAMPLES:
        return replace(found, accuracy=accuracy)
    right = f"the last exit is right on {units.percent(accuracy)} of {found.data}, close to chance ({units.percent(chance)})"
    warn(f"{right}: nothing is recorded of these data. Check how inputs are prepared and how labels are numbered.")
    return None
