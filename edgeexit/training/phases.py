"""One phase of training as a recipe writes it: frozen values, each with its range.

[phases.policies]                        the name: key of the history and of the results, and policies.pt
epochs = 20
start = "classifiers"                    the weights of an earlier phase; what is new stays fresh
train = ["policies.*"]                   everything else is frozen
optimizer = { name = "sgd", rate = 0.1, momentum = 0.9 }
schedule = { name = "exponential", factor = 0.9, every = 4 }
stop = { watch = "calibration_loss", patience = 5 }
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edgeexit.util.documents import within

FRESH = "fresh"

Watch = Literal["loss", "calibration_loss", "calibration_accuracy"]
Role = Literal["", "model", "plain"]
ROLES: tuple[Role, ...] = ("model", "plain")


@dataclass(frozen=True)
class OptimizerSettings:
    """The optimiser of a phase.

    Attributes:
        name: name in `edgeexit.training.optimizers.OPTIMIZERS`: `adam`, `adamw` or `sgd`.
        rate: step size where the schedule's factor is 1.
        weight_decay: weight decay.
        options: the optimiser's own, such as `momentum`, `nesterov`, `betas`; in a recipe they stand beside the name.
    """

    name: str = "adam"
    rate: float = field(default=1e-3, metadata=within(1e-9, 10))
    weight_decay: float = field(default=0.0, metadata=within(0, 1))
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ScheduleSettings:
    """How the step size changes over a phase.

    Attributes:
        name: name in `edgeexit.training.schedules.SCHEDULES`: `constant`, `cosine`, `steps` or `exponential`.
        warmup: epochs over which the step size rises from zero.
        options: the schedule's own, such as `at` and `factor`; in a recipe they stand beside the name.
    """

    name: str = "constant"
    warmup: int = field(default=0, metadata=within(0))
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ParameterGroup:
    """What is different for some parameters of a phase; None is what the phase says.

    Attributes:
        rate: their step size.
        weight_decay: their weight decay.
        schedule: their schedule.
    """

    rate: float | None = field(default=None, metadata=within(1e-9, 10))
    weight_decay: float | None = field(default=None, metadata=within(0, 1))
    schedule: ScheduleSettings | None = None


@dataclass(frozen=True)
class EarlyStopping:
    """When a phase ends before its last epoch.

    Attributes:
        watch: the figure of an epoch: `loss` of the training data, `calibration_loss`, or `calibration_accuracy` of the last exit.
        patience: epochs without an improvement after which the phase ends.
        min_change: the least change that counts as an improvement.
        keep_best: whether the weights of the best epoch are kept instead of those of the last one.
    """

    watch: Watch = "calibration_loss"
    patience: int = field(default=10, metadata=within(1))
    min_change: float = field(default=0.0, metadata=within(0))
    keep_best: bool = False


@dataclass(frozen=True)
class TrainingPhase:
    """One run of an optimiser over the training data.

    Attributes:
        epochs: most passes over the training part. With 0 the phase trains nothing and writes nothing: later phases can start from its
            weights.
        loss: name in `edgeexit.training.losses.LOSSES`.
        options: options of the loss.
        network: options of the network, over those of the recipe: `{ exits = false }` is the plain network.
        start: `fresh`, or the name of an earlier phase whose weights it takes; what that network lacks stays fresh.
        train: patterns of the names of the parameters that are trained, such as `heads.*`. The others are frozen, and modules that hold
            only frozen ones stay in evaluation mode.
        batch: samples per step.
        optimizer: the optimiser.
        schedule: course of the step size.
        groups: other settings for the parameters whose names match a pattern.
        stop: early stopping.
        role: which file of `edgeexit train` it becomes: `model` (model.onnx), `plain` (plain.onnx), or neither.
    """

    epochs: int = field(metadata=within(0))
    loss: str = "branchynet"
    options: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict)
    start: str = FRESH
    train: tuple[str, ...] = ("*",)
    batch: int = field(default=512, metadata=within(1))
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    groups: Mapping[str, ParameterGroup] = field(default_factory=dict)
    stop: EarlyStopping | None = None
    role: Role = ""
