"""A phase that trains heads of added exits only: on features of the frozen network, which are computed once for all epochs.

frozen network, samples as they are    one pass over the data into a cache of features, then epochs over the cache      minutes
augmentation, or fine-tuning           every epoch runs the whole network                                               hours
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from edgeexit.data import TrainingData
from edgeexit.nets.attach import NetworkWithExits
from edgeexit.training.augment import Augment
from edgeexit.training.features import FeatureCache, HeadsOnRows, cache_features
from edgeexit.training.freezing import matches_pattern
from edgeexit.training.phases import TrainingPhase
from edgeexit.training.process_group import ProcessGroup
from edgeexit.util.progress import Progress

FOLDER = "features"
"""The folder of the caches within that of the run, by part of the data; it is removed when all phases are done."""


@dataclass(frozen=True)
class FeaturePhase:
    """What takes the place of a network and its data.

    Attributes:
        heads: the network's own heads, as a network whose samples are rows of features.
        parts: the rows by part: `train`, and the others that were asked for.
    """

    heads: HeadsOnRows
    parts: Mapping[str, FeatureCache]


def explain_no_features(module: nn.Module, phase: TrainingPhase, augment: Augment) -> str | None:
    """Why features cannot be computed once for all epochs; empty where they can, None where no exits were added to the network."""
    if not isinstance(module, NetworkWithExits):
        return None
    if not module.frozen:
        return "the network itself is trained too, so its features change with every step"
    if augment != Augment():
        return "the images are changed at random, so that every epoch has other features"
    own = [name for name, _ in module.named_parameters() if name.startswith("heads.")]
    other = [p for p in (*phase.train, *phase.groups) if not any(matches_pattern(name, p) for name in own)]
    return f"the phase names {', '.join(other)}, which is no part of the heads" if other else ""


def open_feature_phase(
    network: NetworkWithExits, parts: Mapping[str, TrainingData], folder: Path, group: ProcessGroup, progress: Progress
) -> FeaturePhase:
    """Compute the features of each part, or take those that are in the folder.

    Args:
        network: with frozen weights.
        parts: the data by part, `train` among it.
        folder: of the caches.
        group: the processes that train together; one computes, the others wait for it and read.
        progress: watches the samples.

    Raises:
        InputError: labels beyond the classes, or the disk is full.
    """
    if not group.is_main:
        group.wait()
    caches = {part: cache_features(network, data, folder / part, progress=progress) for part, data in parts.items()}
    if group.is_main:
        group.wait()
    return FeaturePhase(HeadsOnRows(network, caches["train"].layout), caches)
