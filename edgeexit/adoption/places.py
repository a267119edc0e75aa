"""`places="auto"`: where exits pay on this device, by measured cost and by heads that are trained for a moment.

survey ─► candidates ─► time each, in turn ─► train all heads briefly from cached features ─► answers on other samples ─► choose a set
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from edgeexit.adoption.candidates import Candidate, add_peeks, build_trial, list_candidates
from edgeexit.adoption.choice import Choice, Trial, choose_candidates
from edgeexit.adoption.timing import time_exits
from edgeexit.calibration.targets import Target
from edgeexit.data import Dataset
from edgeexit.nets.attach import MakeHead, NetworkWithExits
from edgeexit.nets.attach.logits import Read
from edgeexit.nets.attach.survey import survey_places
from edgeexit.nets.example import Example
from edgeexit.training.augment import Augment
from edgeexit.training.determinism import derive_seed, seed_torch, use_deterministic_algorithms
from edgeexit.training.features import HeadsOnRows, cache_features
from edgeexit.training.heads import PHASE, make_head_recipe
from edgeexit.training.loop import TrainingSetup, fit
from edgeexit.training.losses import loss
from edgeexit.training.metrics import record_exits
from edgeexit.training.process_group import join_process_group
from edgeexit.util.progress import Progress, show_nothing

_EPOCHS, _BATCH = 6, 50  # some hundred steps of a few thousand samples: enough to tell which places are better


@dataclass(frozen=True)
class PlaceSearch:
    """How places are searched.

    Attributes:
        budget: most exits that are added.
        head: name of the heads, or the user's function; "auto" tries several kinds.
        criterion: name of the exit criterion.
        target: bounds on the answers, such as `drop<=0.5`.
        seconds: wall time of the timing.
        threads: worker threads of the timing.
        seed: random seed of the heads and of their training.
    """

    budget: int
    head: str | MakeHead
    criterion: str
    target: Target
    seconds: float = 5.0
    threads: int = 1
    seed: int = 0


@dataclass(frozen=True)
class PlacesFound:
    """Where exits are best put.

    Attributes:
        trial: what was found of every candidate.
        choice: which of them are best.
    """

    trial: Trial
    choice: Choice

    @property
    def chosen(self) -> list[Candidate]:
        """The candidates that were chosen, from input to output."""
        return [self.trial.candidates[i] for i in self.choice.chosen]


def find_places(
    module: nn.Module,
    example: Example,
    known: Dataset,
    unseen: Dataset,
    search: PlaceSearch,
    *,
    folder: Path,
    read: Read | None = None,
    progress: Progress = show_nothing,
) -> PlacesFound:
    """The places at which exits lower the mean latency most on this device.

    Args:
        module: the classifier.
        example: an input [1, ...].
        known: samples on which heads are trained for a moment.
        unseen: samples on which neither the network nor the heads were trained.
        search: how.
        folder: an empty folder for features, which are removed again.
        read: takes the logits out of what forward returns.
        progress: watches.

    Raises:
        ModelError: no exit can be added.
    """
    survey = survey_places(module, example, read)
    candidates = list_candidates(survey, search.head)
    with seed_torch(derive_seed(search.seed, "places")):
        trial = build_trial(module, candidates, survey.classes, read)
    seconds = time_exits(
        add_peeks(trial, survey.classes), example, seconds=search.seconds, threads=search.threads, progress=progress
    )
    count = len(candidates)
    way_s, whole_s = seconds[:count], seconds[count:-1]
    _train_briefly(trial, known, folder, search.seed, progress)
    logits = record_exits(trial, unseen, batch=250).logits
    found = Trial(
        tuple(candidates), logits, unseen.y, way_s, np.maximum(whole_s - way_s, 0), float(seconds[-1]), search.criterion
    )
    return PlacesFound(found, choose_candidates(found, search.target, search.budget))


def _train_briefly(trial: NetworkWithExits, known: Dataset, folder: Path, seed: int, progress: Progress) -> None:
    """Train the heads of all candidates for a moment, in place."""
    phase = replace(make_head_recipe(epochs=_EPOCHS).phases[PHASE], batch=_BATCH)
    with join_process_group() as group, use_deterministic_algorithms():
        cache = cache_features(trial.to(group.device), known, folder, progress=progress)
        heads, setup = HeadsOnRows(trial, cache.layout), TrainingSetup(cache, Augment(), seed, group)
        fit(heads, loss(phase.loss, **phase.options), phase, setup, name=PHASE, progress=progress)
    cache.remove()
    trial.eval()
