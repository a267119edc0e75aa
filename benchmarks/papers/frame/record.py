"""The record of a part: what was found, by which command, with which seeds, on which machine."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import edgeexit
from benchmarks.common import HERE, save_pictures
from benchmarks.papers.frame.estimates import Estimate, compare_samples, estimate_mean, estimate_samples
from benchmarks.papers.frame.parts import Findings, Request
from benchmarks.papers.frame.printed import Printed
from benchmarks.papers.frame.training import Runs
from edgeexit.hardware import find_device_key, read_device_facts
from edgeexit.util.documents import dumps, to_document

SCHEMA = "edgeexit.benchmark.paper/1"
RESULTS = HERE / "results" / "papers"


def make_record(
    paper: str, part: str, request: Request, *, printed: Printed, runs: Runs, found: Findings
) -> dict[str, Any]:
    """The document of one part; see `Findings` for what is in it."""
    document = {
        "schema": SCHEMA,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "tool": edgeexit.__version__,
        "command": describe_command(paper, part, request),
        "paper": paper,
        "part": part,
        "seeds": list(request.seeds),
        "quick": request.quick,
        "machine": {"key": find_device_key(), "facts": read_device_facts()},
        "trainings": {name: _describe_training(by_seed) for name, by_seed in runs.items()},
        "values": {key: _describe_estimate(value) for key, value in estimate_values(found).items()},
        "orderings": _judge_orderings(printed, found),
        "details": found.details,
        "notes": list(found.notes),
        "pictures": [picture.name for picture in found.pictures],
    }
    filled: dict[str, Any] = json.loads(json.dumps(to_document(document), default=str))
    return filled


def describe_command(paper: str, part: str, request: Request) -> str:
    """The command that makes the record again; of the folder only its name, since it may lie anywhere."""
    words = ["python", "-m", "benchmarks.papers", paper, part, "-o", f"runs/{request.out.name}"]
    words += ["--seeds", *map(str, request.seeds)]
    return shlex.join([*words, *(["--quick"] if request.quick else []), "--resume"])


def estimate_values(found: Findings) -> dict[str, Estimate]:
    """Every value with its interval, those of samples first."""
    of_samples = {key: estimate_samples(by_seed) for key, by_seed in found.samples.items() if by_seed}
    return of_samples | {key: estimate_mean(by_seed) for key, by_seed in found.values.items() if by_seed}


def _judge_orderings(printed: Printed, found: Findings) -> list[dict[str, Any]]:
    """Each ordering whose two figures were found, with its verdict."""
    judged = []
    for ordering in printed.ordering:
        if ordering.larger in found.samples and ordering.smaller in found.samples:
            difference = compare_samples(found.samples[ordering.larger], found.samples[ordering.smaller])
            facts = {key: value for key, value in asdict(ordering).items() if key not in {"part", "why"}}
            judged.append({**facts, "verdict": difference.verdict, **_describe_estimate(difference)})
    return judged


def _describe_estimate(value: Estimate) -> dict[str, Any]:
    return {**asdict(value), "per_seed": {str(seed): v for seed, v in value.per_seed.items()}}


def _describe_training(by_seed: Mapping[int, Any]) -> dict[str, Any]:
    """How a variant was trained: its phases, the seeds, and how it was made; the same for all of its seeds."""
    first = next(iter(by_seed.values()))
    recipe, made = first.recipe, first.metrics["made_with"]
    phases = {name: {"epochs": p.epochs, "loss": p.loss, "options": p.options} for name, p in recipe.phases.items()}
    return {
        "recipe": recipe.name,
        "network": recipe.network,
        "options": recipe.options,
        "data": recipe.data,
        "precision": recipe.precision,
        "phases": phases,
        "seeds": list(by_seed),
        "torch": made["torch"],
        "threads": made["threads"],
    }


def find_record(paper: str, part: str, request: Request | None = None) -> Path:
    """Where the record lies; of a quick one in the folder of the trainings."""
    folder = request.out if request is not None and request.quick else RESULTS
    return folder / f"{paper}-{part}.json"


def write_record(document: Mapping[str, Any], found: Findings, path: Path) -> None:
    """Write the record, and its pictures beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dumps(document), encoding="utf-8")
    save_pictures(path.parent, found.pictures)
    print(f"recorded in {path}")
