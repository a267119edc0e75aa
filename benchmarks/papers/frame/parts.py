"""A paper and its parts: what is trained, and what is found out from it. `__main__.py` runs them.

A paper is a package beside this one with `PAPER = Paper(...)`, and `printed/<paper>.toml`. A part names the networks that it trains
(`variants`) and has one function (`examine`) that gets them trained and returns what it found; the frame does the rest: seeds, resuming,
means with intervals, orderings, the table beside the printed values, pictures, the record.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from benchmarks.papers.frame.training import Runs, Variant
from edgeexit.errors import InputError, did_you_mean
from edgeexit.report.plot.figure import Picture
from edgeexit.report.table import Table

HERE = Path(__file__).parent.parent
FRAME = Path(__file__).parent.name

BySeed: TypeAlias = Mapping[int, float]
SamplesBySeed: TypeAlias = Mapping[int, NDArray[Any]]


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes:
        out: folder of the trained networks, kept between calls and shared by the parts of a paper.
        seeds: of the trainings.
        quick: the short version, for tests: seconds instead of hours, no figures to quote.
        resume: whether trainings in the folder are gone on with.
        only: train these variants and find out nothing; empty: all of them.
        threads: of torch.
    """

    out: Path
    seeds: tuple[int, ...]
    quick: bool = False
    resume: bool = False
    only: tuple[str, ...] = ()
    threads: int = 1


@dataclass(frozen=True)
class Findings:
    """What a part found. Keys are those of the printed values and orderings in `printed/<paper>.toml`, and more where it has more.

    Attributes:
        samples: one number per test sample, [n], by key and seed: whether it is answered rightly, leaves early, its cost. Their means are
            values, too; orderings compare two of them on the same samples.
        values: one number by key and seed, where there is none per sample.
        details: anything else for the record, JSON-ready.
        notes: reductions against the paper, and what else a reader must know, each a sentence.
        pictures: of the paper's figures; each has a name of its own in `results/papers/`.
    """

    samples: Mapping[str, SamplesBySeed] = field(default_factory=dict)
    values: Mapping[str, BySeed] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    pictures: Sequence[Picture] = ()


def train_nothing(_: Request) -> Mapping[str, Variant]:
    """The variants of a part that trains none."""
    return {}


def show_nothing(record: Mapping[str, Any]) -> Sequence[Table]:  # noqa: ARG001 - one signature for all
    """The tables of a part that has none of its own."""
    return ()


@dataclass(frozen=True)
class Part:
    """One experiment of a paper.

    Attributes:
        name: as on the command line.
        about: one line.
        examine: from the trained networks to what was found.
        variants: the networks that are trained, by name; names are folders, so equal names mean equal trainings in all parts of a paper.
        seeds: where the command line names none.
        timed: whether it measures time, for which the machine must be quiet.
        show: tables of its own from its record, which stand before those beside the printed values.
    """

    name: str
    about: str
    examine: Callable[[Request, Runs], Findings]
    variants: Callable[[Request], Mapping[str, Variant]] = train_nothing
    seeds: tuple[int, ...] = (0,)
    timed: bool = False
    show: Callable[[Mapping[str, Any]], Sequence[Table]] = show_nothing


@dataclass(frozen=True)
class Paper:
    """A paper with its parts, in the order in which they are listed."""

    title: str
    parts: tuple[Part, ...]

    def find_part(self, name: str) -> Part:
        """A part by name.

        Raises:
            InputError: there is none.
        """
        parts = {part.name: part for part in self.parts}
        if name not in parts:
            msg = f"there is no part {name!r}.{did_you_mean(name, parts)} Parts: {', '.join(parts)}."
            raise InputError(msg)
        return parts[name]


def list_papers() -> list[str]:
    """Names of all papers, as on the command line."""
    packages = (path.parent.name for path in HERE.glob("*/__init__.py"))
    return sorted(name.replace("_", "-") for name in packages if name != FRAME)


def load_paper(name: str) -> Paper:
    """A paper by name.

    Raises:
        InputError: there is none.
    """
    if name not in (known := list_papers()):
        msg = f"there is no paper {name!r}.{did_you_mean(name, known)} Papers: {', '.join(known)}."
        raise InputError(msg)
    paper: Paper = importlib.import_module(f"benchmarks.papers.{name.replace('-', '_')}").PAPER
    return paper
