"""Whether calibration data can be what they are taken for, checked before anything is timed or written.

A broken input pipeline meets every bound relative to the last exit (`drop`, `agreement`): nothing is lost where nothing was right. So the
data are held against what any network and any target need, and against what the bundle recorded when it was compiled.

    CHECKS    plain functions of the Evidence, each yielding its findings; a finding of a new kind is one more function here
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from edgeexit.bundle import Manifest
from edgeexit.calibration.replay import Indices
from edgeexit.calibration.targets import Bound, Target
from edgeexit.data import Dataset
from edgeexit.data.labels import chance_agreement, is_near_chance
from edgeexit.data.reference import find_input_differences, range_differences
from edgeexit.errors import InputError
from edgeexit.graph.expected_data import make_input_specs
from edgeexit.util import units


@dataclass(frozen=True)
class Finding:
    """One finding that makes the data implausible.

    Attributes:
        code: stable name, for programs: one_class, near_chance, below_recorded_accuracy, unlike_recorded_inputs, too_few_samples.
        text: what is wrong, with its values; one sentence.
        remedy: what to do; one sentence.
    """

    code: str
    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.text} {self.remedy}"


@dataclass(frozen=True, eq=False)
class Evidence:
    """Input of the plausibility checks.

    Attributes:
        data: inputs, and labels where there are any.
        answers: int64 [M], the label that the network, run directly to its last exit, gives each sample.
        classes: number of classes of the network.
        target: what is to be met.
        manifest: manifest of the bundle, for what was recorded when it was compiled.
    """

    data: Dataset
    answers: Indices
    classes: int
    target: Target
    manifest: Manifest

    @property
    def accuracy(self) -> float | None:
        """Of the last exit; None without labels."""
        return None if self.data.labels is None else float(np.mean(self.answers == self.data.labels))


Check: TypeAlias = Callable[[Evidence], Iterator[Finding]]


def find_implausible(evidence: Evidence) -> tuple[Finding, ...]:
    """Findings of all CHECKS, in their order."""
    return tuple(finding for check in CHECKS for finding in check(evidence))


def refuse_implausible(findings: Sequence[Finding], name: str) -> None:
    """Do nothing without findings.

    Raises:
        InputError: with every finding, and how to calibrate all the same.
    """
    if findings:
        listed = " ".join(map(str, findings))
        msg = f"{name} cannot be used to calibrate this bundle. {listed} To calibrate anyway: --force (in Python, force=True)."
        raise InputError(msg)


def check_one_class(evidence: Evidence) -> Iterator[Finding]:
    """Labels of one class only, such as the first files of a sorted folder."""
    labels = evidence.data.labels
    if labels is not None and evidence.classes > 1 and (labels == labels[0]).all():
        text = f"All {len(labels)} samples have the label {labels[0]}; the network has {evidence.classes} classes."
        yield Finding("one_class", text, "Give samples of every class, drawn at random, as in the application.")


def check_chance(evidence: Evidence) -> Iterator[Finding]:
    """A last exit that is right no more often than guessing: other preprocessing, other labels, or another network."""
    labels, accuracy = evidence.data.labels, evidence.accuracy
    if labels is None or accuracy is None or (labels == labels[0]).all():
        return
    chance = chance_agreement(evidence.answers, labels, evidence.classes)
    if is_near_chance(accuracy, chance):
        text = (
            f"The last exit is right on {units.percent(accuracy)} of the {len(labels)} samples, close to chance ({units.percent(chance)} "
            "for these labels)."
        )
        remedy = (
            "Check that the inputs are preprocessed as in training (size, scale, mean and standard deviation, colour order, layout) and "
            "that the labels are numbered as in training."
        )
        yield Finding("near_chance", text, remedy)


_FAR = 0.1
"""Allowed loss of the last exit's accuracy on other data of the same kind, as a share."""
_STANDARD_ERRORS = 3.0
_CHECK_PREPARATION = (
    "Check that they are prepared as in training (scale, mean and standard deviation, colour order, layout); edgeexit inspect shows what "
    "the bundle says of it."
)


def check_recorded_accuracy(evidence: Evidence) -> Iterator[Finding]:
    """A last exit that is far less accurate than it was on the data that the bundle was compiled, exported or trained with."""
    reference, accuracy = evidence.manifest.reference, evidence.accuracy
    if reference is None or reference.accuracy is None or accuracy is None:
        return
    then = reference.accuracy
    error = math.sqrt(then * (1 - then) * (1 / len(evidence.data) + 1 / max(1, reference.samples)))
    if accuracy < then - max(_FAR, _STANDARD_ERRORS * error):
        text = (
            f"The last exit is right on {units.percent(accuracy)} of the {len(evidence.data)} samples; it was on {units.percent(then)} of "
            f"{reference.data} ({reference.source})."
        )
        yield Finding("below_recorded_accuracy", text, _CHECK_PREPARATION)


def check_recorded_inputs(evidence: Evidence) -> Iterator[Finding]:
    """Inputs of another scale, offset or order of channels than the recorded data, or than the recorded preprocessing makes."""
    for difference in recorded_differences(evidence.manifest, evidence.data):
        yield Finding("unlike_recorded_inputs", f"{difference[0].upper()}{difference[1:]}.", _CHECK_PREPARATION)


def recorded_differences(manifest: Manifest, data: Dataset) -> list[str]:
    """One clause for each input that differs from the data or the preprocessing that a bundle records."""
    specs, how = make_input_specs(manifest.inputs), manifest.preprocess
    found = [] if manifest.reference is None else find_input_differences(manifest.reference, data, specs, how)
    return found if found or how is None or len(specs) != 1 else range_differences(how, data, specs[0])


def check_samples(evidence: Evidence) -> Iterator[Finding]:
    """Fewer samples than a bound on the answers can be judged with: one sample must not weigh more than the bound allows to lose."""
    samples = len(evidence.data)
    for bound in evidence.target.answer_bounds:
        needed = count_fewest_samples(bound)
        if needed is not None and samples < needed:
            weight = f"one of them is {100 / samples:.3g} points, more than the bound allows"
            text = f"{bound} cannot be judged with {samples} samples: {weight}."
            yield Finding(
                "too_few_samples", text, f"At least {needed} are needed, and some thousands to decide it well."
            )


def count_fewest_samples(bound: Bound) -> int | None:
    """Samples needed for one of them to weigh no more than a bound on the answers allows to lose; None where it allows nothing."""
    allowed = bound.kind.compute_allowed_loss(bound)
    return math.ceil(1 / allowed - 1e-9) if allowed is not None and allowed > 0 else None


CHECKS: tuple[Check, ...] = (
    check_one_class,
    check_chance,
    check_recorded_accuracy,
    check_recorded_inputs,
    check_samples,
)
"""The checks, in the order in which their findings are listed."""
