"""Write a JSON Schema for every document that edgeexit prints or saves into `schemas/`: python scripts/make_schemas.py

They follow the dataclasses that the documents are made of. Fields may be added within a version, so none is refused; a field that
older files of the same version lack is not required. Infinite thresholds are the strings "inf" and "-inf".
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgeexit.adoption.result import AdoptionResult, ExitsOnDevice
from edgeexit.analysis import CriteriaComparison, NetworkAnalysis
from edgeexit.bundle import Manifest
from edgeexit.calibration import Calibration
from edgeexit.cascades import CascadeResult
from edgeexit.conformance.field_report import FieldReport
from edgeexit.conformance.report import ConformanceReport
from edgeexit.demo import DemoResult
from edgeexit.hardware.checks import MachineCheck
from edgeexit.measure import BenchResult, ResultComparison
from edgeexit.measure.cache.report import CacheResult
from edgeexit.measure.cache.sweep import CacheSweep
from edgeexit.measure.energy.report import EnergyReport
from edgeexit.report.bundle_facts import BundleFacts
from edgeexit.tuning import TuningResult
from edgeexit.tuning.store import TuningRecord

FOLDER = Path(__file__).resolve().parent.parent / "schemas"
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_INFINITE = {"enum": ["inf", "-inf"]}
_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"anyOf": [{"type": "number"}, _INFINITE]},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    Any: {},
}
_ATTRIBUTE = re.compile(r"^        ([a-z_0-9]+(?:, [a-z_0-9]+)*): (.*)$")


@dataclass(frozen=True)
class Error:
    """What a command prints with --json when it ends with exit code 2 or 3."""

    kind: str
    message: str
    exit_code: int


@dataclass(frozen=True)
class ReplaySummary:
    """What `edgeexit replay --json` prints; thresholds and what follows them are null without --target.

    Attributes:
        folder: of the shards.
        samples, shards: how many there are.
        target: the bounds.
        thresholds: in the criterion's own unit.
        accuracy, agreement: shares over all samples; null where they are not known.
        mean_s, macs: mean latency in seconds, null where it was not measured, and mean multiply-accumulates.
        exit_rates: share leaving at each exit.
        gap: no thresholds are better by more; see `Policy`.
    """

    folder: str
    samples: int
    shards: int
    target: str | None
    thresholds: tuple[float, ...] | None
    accuracy: float | None
    agreement: float | None
    mean_s: float | None
    macs: float | None
    exit_rates: tuple[float, ...] | None
    gap: float | None


@dataclass(frozen=True)
class Report:
    """What `edgeexit report --json` prints: the files that were made, and a sentence for each bundle that was left out."""

    files: tuple[str, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class InspectPage:
    """What `edgeexit inspect --html PAGE --json` prints."""

    page: str


@dataclass(frozen=True)
class Compiled:
    """What `edgeexit compile --json` prints."""

    bundle: str
    manifest: Manifest


@dataclass(frozen=True)
class Predicted:
    """One input; `score` is in the criterion's own unit, null where it has none."""

    label: int
    exit: int
    score: float | None


@dataclass(frozen=True)
class Run:
    """What `edgeexit run --json` prints; accuracy is null without labels."""

    bundle: str
    thresholds: tuple[float, ...]
    accuracy: float | None
    exit_rates: tuple[float, ...]
    predictions: tuple[Predicted, ...]


@dataclass(frozen=True)
class Devices:
    """What `edgeexit devices --json` prints: this machine's key and profile, and the profiles."""

    this: dict[str, str | None]
    devices: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Doctor:
    """What `edgeexit doctor --json` prints."""

    ready: bool
    checks: tuple[MachineCheck, ...]
    conformance: ConformanceReport | None = None


@dataclass(frozen=True)
class FieldFindings:
    """What `edgeexit doctor report.zip --json` prints: of which machine, and what is wrong there."""

    device: str
    backend: str
    tool: str
    findings: tuple[MachineCheck, ...]


@dataclass(frozen=True)
class Export:
    """What `edgeexit export --json` prints; shapes by name of the input."""

    path: str
    exits: tuple[str, ...]
    inputs: dict[str, tuple[int | str, ...]]
    opset: int
    largest_difference: float
    checked_inputs: int


@dataclass(frozen=True)
class Serve:
    """What `edgeexit serve --json` prints once it takes requests: the first part of the URLs, and the URL of each model by its name."""

    url: str
    models: dict[str, str]


@dataclass(frozen=True)
class ServeExport:
    """What `edgeexit serve-export --json` prints: names of the models, or of the services and the graph, and their thresholds."""

    output: str
    names: tuple[str, ...]
    inner_thresholds: tuple[float, ...]


@dataclass(frozen=True)
class TargetNotMet:
    """What `edgeexit calibrate --json` prints when no thresholds meet the target."""

    target: str
    met: Literal[False]
    nearest: Any
    reason: str


@dataclass(frozen=True)
class Training:
    """`metrics.json` of `edgeexit train`."""

    recipe: dict[str, Any]
    recipe_sha256: str
    seed: int
    data: dict[str, Any]
    results: Any
    history: Any
    seconds_of_this_call: float
    made_with: dict[str, Any]
    roles: dict[str, str] = dataclasses.field(default_factory=dict)
    loss_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    features: dict[str, str] = dataclasses.field(default_factory=dict)
    on_device: ExitsOnDevice | None = None


@dataclass(frozen=True)
class Version:
    """What `edgeexit version --json` prints."""

    edgeexit: str
    python: str


DOCUMENTS: Mapping[str, type] = {
    "adoption/1": AdoptionResult,
    "analysis/1": NetworkAnalysis,
    "cascade/1": CascadeResult,
    "bench/1": BenchResult,
    "bundle/1": Manifest,
    "bundle/2": Manifest,
    "cache/1": CacheResult,
    "cache-sweep/1": CacheSweep,
    "calibration/1": Calibration,
    "compare/1": ResultComparison,
    "compiled/1": Compiled,
    "conformance/1": ConformanceReport,
    "criteria/1": CriteriaComparison,
    "demo/1": DemoResult,
    "devices/1": Devices,
    "doctor/1": Doctor,
    "energy/1": EnergyReport,
    "error/1": Error,
    "export/1": Export,
    "field-findings/1": FieldFindings,
    "field-report/1": FieldReport,
    "inspect/1": BundleFacts,
    "inspect-page/1": InspectPage,
    "replay-summary/1": ReplaySummary,
    "report/1": Report,
    "run/1": Run,
    "serve/1": Serve,
    "serve-export/1": ServeExport,
    "target-not-met/1": TargetNotMet,
    "training/1": Training,
    "tuning/1": TuningResult,
    "tuning-record/1": TuningRecord,
    "version/1": Version,
}
"""The dataclass behind each document."""


def schema_of(thing: str) -> dict[str, Any]:
    """The JSON Schema of a document, such as `bench/1`."""
    definitions: dict[str, Any] = {}
    body = _object(DOCUMENTS[thing], definitions)
    body["properties"] = {"schema": {"const": f"edgeexit.{thing}"}, **body["properties"]}
    body["properties"]["schema"] = {"const": f"edgeexit.{thing}"}
    body["required"] = ["schema", *(name for name in body["required"] if name != "schema")]
    if thing == "bench/1":  # the samples lie in an .npz; the file names it
        body["properties"]["raw"] = {"type": ["string", "null"]}
    return {
        "$schema": _DRAFT,
        "$id": f"urn:edgeexit:{thing.replace('/', ':')}",
        "title": f"edgeexit.{thing}",
        **body,
        "$defs": definitions,
    }


def _object(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints, descriptions = typing.get_type_hints(kind), _descriptions(kind)
    properties = {}
    for field in dataclasses.fields(kind):
        if field.name == "raw" and kind is BenchResult:
            continue
        about = {"description": descriptions[field.name]} if field.name in descriptions else {}
        properties[field.name] = {**_schema(hints[field.name], definitions), **about}
    missing = dataclasses.MISSING
    required = [f.name for f in dataclasses.fields(kind) if f.default is missing and f.default_factory is missing]
    return {"description": _first(kind), "type": "object", "properties": properties, "required": required}


def _schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _reference(kind, definitions)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [_schema(option, definitions) for option in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (tuple, list):
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    return dict(_PLAIN.get(kind, {"type": "string"} if isinstance(kind, type) and issubclass(kind, str) else {}))


def _reference(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    name = kind.__name__
    if name not in definitions:
        definitions[name] = {}  # so that a class that holds itself ends
        definitions[name] = _object(kind, definitions)
    return {"$ref": f"#/$defs/{name}"}


def _first(kind: type) -> str:
    """The first paragraph of a class's docstring."""
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())


def _descriptions(kind: type) -> dict[str, str]:
    """What the `Attributes` of the docstrings of a class and its bases say of each field."""
    found: dict[str, str] = {}
    for base in kind.__bases__:
        found |= _descriptions(base) if dataclasses.is_dataclass(base) else {}
    names: list[str] = []
    for line in (kind.__doc__ or "").split("\n    Attributes:")[-1].splitlines():
        match = _ATTRIBUTE.match(line)
        if match:
            names = match.group(1).split(", ")
            found |= dict.fromkeys(names, match.group(2))
        elif names and line.startswith("            "):
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        else:
            names = []
    return found


def text_of(thing: str) -> str:
    """The file of a document's schema."""
    return json.dumps(schema_of(thing), indent=1, ensure_ascii=False) + "\n"


def file_of(thing: str) -> Path:
    """Where the schema of a document lies."""
    return FOLDER / f"{thing.replace('/', '-')}.schema.json"


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(exist_ok=True)
    for thing in DOCUMENTS:
        file_of(thing).write_text(text_of(thing), encoding="utf-8")
    print(f"wrote {len(DOCUMENTS)} schemas into {FOLDER}")


if __name__ == "__main__":
    main()
