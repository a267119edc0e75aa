"""Running the parts of `python -m benchmarks.papers` in tests."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from edgeexit.data.digits import load_digits_set
from edgeexit.data.named import SETS
from edgeexit.hardware import find_data_dir

if TYPE_CHECKING:
    from benchmarks.papers.frame.training import Run
    from edgeexit.training.metrics import RecordedExits

DIGITS = 250
"""Of each part."""


def run_short_part(paper: str, part: str, out: Path, *options: str) -> dict[str, Any]:
    """The record of a part's short version, one seed; what an earlier call trained in the folder is taken.

    The command itself, in this process: another one would import torch first, which takes longer than most parts.

    Args:
        paper: by name.
        part: by name.
        out: folder of the trainings and the record.
        options: more of the command.
    """
    from benchmarks.papers.__main__ import main

    words = [paper, part, "-o", str(out), "--quick", "--resume", "--seeds", "0", *options]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(sys, "argv", ["benchmarks.papers", *words])
        main()
    return dict(json.loads((out / f"{paper}-{part}.json").read_text(encoding="utf-8")))


def record_with_shared_runs(paper: str, part: str, out: Path, find_run: Callable[[str], Run]) -> dict[str, Any]:
    """The record of a part, and its tables made, as if every network that the part trains were one that is trained already.

    Args:
        paper: by name.
        part: by name.
        out: folder of the record.
        find_run: the trained network that stands for a variant of this name.
    """
    from benchmarks.papers.__main__ import record_part
    from benchmarks.papers.frame.parts import Request, load_paper

    asked, request = load_paper(paper).find_part(part), Request(out, (0,), quick=True)
    variants = asked.variants(replace(request, quick=False))
    runs = {name: {0: find_run(name)} for name in variants}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tables = record_part(paper, asked, request, runs)
    assert all(table.rows for table in tables)
    return dict(json.loads((out / f"{paper}-{part}.json").read_text(encoding="utf-8")))


def shorten_digits(
    patch: pytest.MonkeyPatch, count: int = DIGITS, *, parts: Sequence[str] = ("train", "calibration", "test")
) -> None:
    """The first samples of these parts, enough for every exit to be used; all are read once for all trainings."""
    patch.setitem(
        SETS, "digits", cache(lambda part: load_digits_set(part).take(slice(count if part in parts else None)))
    )


def share_answers(patch: pytest.MonkeyPatch) -> None:
    """What a trained network says of a part of the data is found out once, for all parts of a paper that ask for it."""
    from benchmarks.papers.frame.training import Run

    record = Run.record_exits
    found: dict[tuple[Path, str, str], RecordedExits] = {}

    def record_once(run: Run, part: str, phase: str | None = None) -> RecordedExits:
        key = (run.folder, part, run.choose_phase(phase))
        if key not in found:
            found[key] = record(run, part, phase)
        return found[key]

    patch.setattr(Run, "record_exits", record_once)


def share_costs(patch: pytest.MonkeyPatch, module: ModuleType) -> None:
    """Time each trained network once, however many parts and variants it stands for.

    Args:
        patch: for as long as costs are shared.
        module: of parts, with a function `measure_costs` of runs.
    """
    measure = module.measure_costs
    found: dict[tuple[Path, ...], Any] = {}

    def measure_once(*runs: Run, brief: bool) -> Any:
        key = tuple(run.folder for run in runs)
        if key not in found:
            found[key] = measure(*runs, brief=brief)
        return found[key]

    patch.setattr(module, "measure_costs", measure_once)


def shorten_suites(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Each preset of `bench` with one process of a tenth of a second."""
    for path in find_data_dir("suites").glob("*.toml"):
        own = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in own if not line.startswith(("processes", "seconds"))]
        (folder / path.name).write_text("\n".join([*kept, "processes = 1", "seconds = 0.1"]), encoding="utf-8")
    patch.setattr("edgeexit.measure.suites.find_data_dir", lambda kind: folder)
