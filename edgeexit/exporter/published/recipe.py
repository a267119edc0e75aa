"""The recipe of a published repository: a TOML file that says how to build its network from the user's checkout, and where its exits are.

A recipe holds names, numbers and shapes, no code of the repository.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeexit.criteria import criterion
from edgeexit.errors import InputError, did_you_mean
from edgeexit.fallbacks import FALLBACKS, LAST
from edgeexit.util.documents import check_schema, parse_document
from edgeexit.util.resources import read_toml

VERSION = 1
SCHEMA = f"edgeexit.repository/{VERSION}"
FOLDER = Path(__file__).parent / "repositories"
CALLS = ("keywords", "namespace", "dict")
"""How a factory takes its options: as keyword arguments, as one object with attributes (as `argparse` makes it), as one dict."""


@dataclass(frozen=True)
class Derivation:
    """An option that is read from the checkpoint's names and shapes.

    In a name `*` stands for one part between dots and `**` for any rest. Without `axis` the number of different parts at the `*` is taken.

    Attributes:
        of: names, the first that the checkpoint has counts.
        axis: axis of that weight whose size is taken; null counts.
        minus: name whose count is subtracted.
        if_zero: name whose count is taken where the result is 0.
        divide, times, add: arithmetic on the result, in this order.
        values: the option's value by the result as text; `*` for any other; empty takes the number itself.
    """

    of: tuple[str, ...]
    axis: int | None = None
    minus: str = ""
    if_zero: str = ""
    divide: int = 1
    times: int = 1
    add: int = 0
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BuildStep:
    """One call.

    Attributes:
        factory: `package.module:name` in the checkout; `{option}` in it is replaced by that option, which the call then does not get.
        call: one of `CALLS`, or `package.module:Class` of a configuration object that takes the options as keywords.
        takes: keyword under which the call gets what the step before gave; empty for the first step.
        options: default arguments.
        derive: arguments that the checkpoint tells.
    """

    factory: str
    call: str = "keywords"
    takes: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    derive: dict[str, Derivation] = field(default_factory=dict)


@dataclass(frozen=True)
class ExitListing:
    """Where the exits are in what forward returns; by default forward returns them.

    Attributes:
        paths: places of logits, in order: keys and numbers with dots between, `*` for all of a list, `:-1` for all but the last.
        scores: places of the exits' own scores, in the same way.
        modules: pattern of the modules whose outputs are the exits' logits, where forward does not return them all.
    """

    paths: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    modules: str = ""


@dataclass(frozen=True)
class AuthorsCriterion:
    """The criterion of the paper; a threshold t of the authors is ``sign * t + offset`` in edgeexit.

    Attributes:
        name: name of edgeexit's criterion.
        threshold: the threshold t that belongs to the method; null where it is chosen on data.
        sign, offset: conversion.
    """

    name: str
    threshold: float | None = None
    sign: int = 1
    offset: float = 0.0

    def convert(self, threshold: float) -> float:
        """A threshold of the authors in edgeexit's unit."""
        return self.sign * threshold + self.offset


@dataclass(frozen=True)
class Repository:
    """How to export the networks of a published repository.

    Attributes:
        schema: `edgeexit.repository/1`.
        name: of the method.
        about: which network, in a line.
        url: the repository.
        paper: authors, place, year.
        build: calls that make the network; each later one takes what the one before gave.
        inputs: shape of one sample per input, as `--input` takes them.
        criterion: the paper's criterion.
        exits: where the exits are.
        fallback: which exit answers an input that left at no early exit.
        training_forward: whether forward lists every exit in training mode only.
        checkout: folder inside the repository that its code is run from.
        note: what else has to be known, in a sentence.
    """

    schema: str
    name: str
    about: str
    url: str
    paper: str
    build: tuple[BuildStep, ...]
    inputs: tuple[str, ...]
    criterion: AuthorsCriterion
    exits: ExitListing = ExitListing()
    fallback: str = LAST
    training_forward: bool = False
    checkout: str = ""
    note: str = ""

    def faults(self) -> list[str]:
        """What types alone do not say, one sentence each."""
        faults = [] if self.build else ["there is no [[build]] step"]
        faults += [
            f"{s.factory!r} does not say what to import: write package.module:name"
            for s in self.build
            if ":" not in s.factory
        ]
        faults += [
            f"call {s.call!r} is none of {', '.join(CALLS)} and no module:Class"
            for s in self.build
            if not _is_call(s.call)
        ]
        faults += [f"step {s.factory!r} takes nothing of the step before" for s in self.build[1:] if not s.takes]
        if self.fallback not in FALLBACKS:
            faults.append(f"fallback must be one of {', '.join(FALLBACKS)}, not {self.fallback!r}")
        if self.criterion.sign not in (1, -1):
            faults.append(f"sign must be 1 or -1, not {self.criterion.sign}")
        if self.exits.modules and (self.exits.paths or self.exits.scores):
            faults.append("exits are listed by modules and by paths: give one of both")
        return faults


def _is_call(call: str) -> bool:
    return call in CALLS or ":" in call


def list_repositories() -> tuple[str, ...]:
    """Names of the recipes that edgeexit brings."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def read_repository(target: str) -> Repository:
    """Read a recipe.

    Args:
        target: path of a TOML file, or `NAME.toml` of one that edgeexit brings.

    Raises:
        InputError: there is none, or it has faults; all in one message.
    """
    path = Path(target)
    if not path.is_file() and path.name == target:
        path = FOLDER / target
    if not path.is_file():
        known = list_repositories()
        msg = f"no recipe {target}.{did_you_mean(Path(target).stem, known)} edgeexit brings {', '.join(f'{n}.toml' for n in known)}."
        raise InputError(msg)
    document = read_toml(path)
    check_schema(document, "repository", VERSION, str(path))
    found = parse_document(Repository, document, str(path))
    if found.faults():
        raise InputError(f"{path}: {'; '.join(found.faults())}.")
    criterion(found.criterion.name)
    return found


def freeze(value: Any) -> Any:
    """TOML arrays as tuples, which repositories take wherever they take lists."""
    if isinstance(value, list | tuple):
        return tuple(map(freeze, value))
    return {k: freeze(v) for k, v in value.items()} if isinstance(value, Mapping) else value
