"""Recipes of schema `edgeexit.recipe/1`, written as phases. The result of training is the same, bit for bit.

They have two phases by name. `plain` trains the network without its exits; `joint` trains all exits from those weights, or from fresh
ones (`start = "scratch"`); with `control = true` the plain network is trained on as long as the joint one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from edgeexit.training.augment import Augment
from edgeexit.util.documents import parse_document, within


@dataclass(frozen=True)
class FirstPhase:
    """One phase as files of schema 1 have it.

    Attributes:
        epochs: passes over the training part; 0 leaves the phase out.
        batch: samples per step.
        rate: step size of the optimiser at its highest.
        schedule: `constant`, `cosine`, or `steps` (a tenth after half and again after three quarters).
        warmup: epochs over which the step size rises from zero.
        optimizer: `adam`, `adamw` or `sgd` (with Nesterov momentum betas[0]).
        betas: decay rates of Adam's moment estimates.
        weight_decay: weight decay of the optimiser.
        loss: name of a loss; joint phase only.
        options: options of the loss.
    """

    epochs: int = field(metadata=within(0))
    batch: int = field(default=512, metadata=within(1))
    rate: float = field(default=1e-3, metadata=within(1e-9, 10))
    schedule: Literal["constant", "cosine", "steps"] = "constant"
    warmup: int = field(default=0, metadata=within(0))
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    betas: tuple[float, float] = field(default=(0.9, 0.999), metadata=within(0, math.nextafter(1, 0)))
    weight_decay: float = field(default=0.0, metadata=within(0, 1))
    loss: str = "branchynet"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FirstRecipe:
    """A recipe as files of schema 1 have it.

    Attributes:
        name, about, data, network, seed, precision, options, augment: as in a recipe of today.
        start: `plain` starts the joint phase from the plain network's weights, `scratch` from fresh ones.
        control: whether the plain network gets a second phase too, as long as the joint one.
        plain, joint: the phases.
    """

    name: str
    about: str
    data: str
    network: str
    plain: FirstPhase
    joint: FirstPhase
    seed: int = field(default=0, metadata=within(0))
    start: Literal["plain", "scratch"] = "plain"
    control: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    options: Mapping[str, Any] = field(default_factory=dict)
    augment: Augment = field(default_factory=Augment)


_SAME = ("name", "about", "data", "network", "seed", "precision", "options", "augment")
_PLAIN_NETWORK = {"network": {"exits": False}}


def read_first_recipe(document: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A document of schema 1, its presets applied, as one of schema 2.

    Raises:
        InputError: with every fault of the document.
    """
    first = parse_document(FirstRecipe, dict(document), where)
    raw = asdict(first)
    return {**{key: raw[key] for key in _SAME}, "phases": _write_phases(first)}


def _write_phases(first: FirstRecipe) -> dict[str, Any]:
    joint, trained_on = bool(first.joint.epochs), bool(first.joint.epochs and first.control)
    phases: dict[str, Any] = {}
    from_plain = joint and first.start == "plain"
    if first.plain.epochs or from_plain or trained_on:
        role = {} if trained_on else {"role": "plain"}
        phases["plain"] = {**_write_phase(first.plain), **_PLAIN_NETWORK, **role}
    if joint:
        loss = {"loss": first.joint.loss, "options": dict(first.joint.options)}
        start = {"start": "plain"} if first.start == "plain" else {}
        phases["joint"] = {**_write_phase(first.joint), **loss, **start, "role": "model"}
    if trained_on:
        phases["control"] = {**_write_phase(first.joint), **_PLAIN_NETWORK, "start": "plain", "role": "plain"}
    return phases


def _write_phase(first: FirstPhase) -> dict[str, Any]:
    sgd = first.optimizer == "sgd"
    options = {"momentum": first.betas[0], "nesterov": True} if sgd else {"betas": list(first.betas)}
    return {
        "epochs": first.epochs,
        "batch": first.batch,
        "optimizer": {
            "name": first.optimizer,
            "rate": first.rate,
            "weight_decay": first.weight_decay,
            "options": options,
        },
        "schedule": {"name": first.schedule, "warmup": first.warmup},
    }
