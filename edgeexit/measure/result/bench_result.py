"""The result of a measurement, as a frozen value and as a file; schema `edgeexit.bench/1`.

Every time is in seconds, exits are numbered from 1, thresholds are in the criterion's own unit. A figure that was not measured is
null, and the field beside it that ends in `_explain_error` says why. Raw samples lie in an .npz file beside the JSON.

    /1    first version
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.errors import InputError
from edgeexit.measure.accuracy import add_intervals
from edgeexit.measure.cache.report import CacheResult
from edgeexit.measure.cache.sweep import CacheSweep
from edgeexit.measure.consistency import find_length_faults, find_value_faults
from edgeexit.measure.energy.report import EnergyReport
from edgeexit.measure.records import Record, make_bench_records, make_data_frame
from edgeexit.measure.result.parts import (
    Accuracy,
    CachingAudit,
    ColdCacheLatency,
    ComparedRunner,
    Device,
    LatencyReport,
    PacedLatency,
    SystemUnderTest,
    Tool,
    ValidityReport,
    Workload,
)
from edgeexit.measure.summary import summarize_bench
from edgeexit.util.archives import read_archive
from edgeexit.util.atomic import replace_atomically, write_text
from edgeexit.util.display import Summarised, Summary
from edgeexit.util.documents import check_schema, dumps, parse_document, read_json, to_document

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class CacheFindings:
    """What a measurement found of caches.

    Attributes:
        report: cache behaviour at the thresholds that were measured.
        sweep: cache behaviour over other thresholds; None where the preset does not ask for it.
    """

    report: CacheResult
    sweep: CacheSweep | None = None

    def to_document(self) -> dict[str, Any]:
        """`report` as the document `edgeexit.cache/1`, `sweep` as `edgeexit.cache-sweep/1` or null."""
        return {"report": self.report.to_document(), "sweep": self.sweep and self.sweep.to_document()}


@dataclass(frozen=True, repr=False)
class BenchResult(Summarised):
    """A measurement with all that is needed to judge it.

    `energy` is written as a document `edgeexit.energy/1`; of `cache` the report as `edgeexit.cache/1`, the sweep as
    `edgeexit.cache-sweep/1`.

    `raw` holds the arrays of the .npz beside the file, one value per kept sample: `mixture_s`, `mixture_exit`, `mixture_process`,
    `mixture_block`, `backbone_s`, `backbone_process`, `backbone_block`, `forced_s`, `forced_exit`; a block is the round of its
    process, from 0. Of the accuracy pass `exits` [n], `scores` (inner, [n, exits]) and `hits` (correct, or agreeing with the backbone
    where there are no labels; [n, exits]). `rounds_s` is when each round ended, `rounds_process` in which process, and `state_0`, ...
    [2, n] are times and readings of the device's `channels`; both count seconds from the start.

    Example:
        >>> from edgeexit.measure import read_result
        >>> result = read_result("result.json")  # written by `edgeexit bench -o result.json`
        >>> result.subject.criterion, result.latency.against_backbone.verdict in ("FASTER", "SLOWER", "SAME", "AMBIGUOUS", "INVALID")
        ('entropy', True)
    """

    run_id: str
    created: str
    tool: Tool
    device: Device
    subject: SystemUnderTest
    workload: Workload
    validity: ValidityReport
    notes: tuple[str, ...]
    accuracy: Accuracy
    latency: LatencyReport
    paced: PacedLatency | None
    paced_reason: str | None
    cold: ColdCacheLatency | None
    cold_reason: str | None
    energy: EnergyReport | None
    energy_reason: str | None
    cache: CacheFindings | None
    cache_reason: str | None
    against: ComparedRunner | None = None
    audit: CachingAudit | None = None
    raw: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)

    def _summary(self) -> Summary:
        return summarize_bench(self)

    def to_document(self) -> dict[str, Any]:
        """A JSON-able object of schema `edgeexit.bench/1`, without the raw samples."""
        document = to_document(replace(self, raw={}))
        del document["raw"]
        document["energy"] = self.energy and self.energy.to_document()
        document["cache"] = self.cache and self.cache.to_document()
        return {"schema": f"edgeexit.bench/{SCHEMA_VERSION}", **document}

    def to_records(self) -> list[Record]:
        """One flat record per measurement (early exit, backbone, every exit, ...), times in seconds; see `edgeexit.measure.records`."""
        return make_bench_records(self)

    def to_pandas(self) -> Any:
        """The records as a pandas.DataFrame.

        Raises:
            MissingExtra: pandas is not installed.
        """
        return make_data_frame(self.to_records())

    def save(self, path: str | Path) -> Path:
        """Write the JSON file and the .npz beside it, the JSON last; an older file of that name is replaced whole.

        Raises:
            InputError: the folder cannot be written to.
        """
        target = Path(path)
        raw = target.with_suffix(".npz")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if self.raw:
                with replace_atomically(raw) as scratch:
                    np.savez_compressed(scratch, allow_pickle=False, **self.raw)
            write_text(target, dumps(self.to_document() | {"raw": raw.name if self.raw else None}))
        except OSError as error:
            msg = f"cannot write the result to {target}: {error.strerror or error}."
            raise InputError(msg) from error
        return target


def check_place(path: str | Path) -> None:
    """Refuse a place that `BenchResult.save` could not write to, before anything is measured.

    Raises:
        InputError: it is a folder, or its folder cannot be written to.
    """
    target = Path(path)
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        msg = f"cannot write the result to {target}: {error.strerror or error}."
        raise InputError(msg) from error


def parse_result(document: Any, where: str = "result") -> BenchResult:
    """The result that `BenchResult.to_document` wrote.

    Raises:
        InputError: another schema, a newer one, fields that are missing or of another type, or figures that cannot all be true.
    """
    check_schema(document, "bench", SCHEMA_VERSION, where)
    body = {key: value for key, value in document.items() if key not in {"schema", "raw"}}
    result = parse_document(BenchResult, _drop_inner_schemas(body), where)
    faults = [*find_value_faults(result), *_find_faults(result)]
    if faults:
        raise InputError(f"the figures of {where} are inconsistent: {'; '.join(faults)}.")
    if result.accuracy.agreement_ci95 is not None:
        return result
    return replace(result, accuracy=add_intervals(result.accuracy, result.workload.n))  # an older file


def _find_faults(result: BenchResult) -> Iterator[str]:
    exits = result.subject.exits
    if result.workload.n < 1:
        yield "workload.n is less than 1"
    accuracy, latency = result.accuracy.per_exit, result.latency.per_exit
    yield from find_length_faults(
        {
            "subject.thresholds": (result.subject.thresholds, exits - 1),
            "accuracy.per_exit": (accuracy, exits),
            "latency.per_exit": (latency, exits),
        }
    )
    numbered = list(range(1, exits + 1))
    if [part.exit for part in accuracy] != numbered or [part.exit for part in latency] != numbered:
        yield f"the exits are not numbered from 1 to {exits}"
    if result.cache is not None and result.cache.sweep is not None:
        yield from _find_sweep_faults(result.cache.sweep, exits)


def _find_sweep_faults(swept: CacheSweep, exits: int) -> Iterator[str]:
    for i, point in enumerate(swept.points):
        at = f"cache.sweep.points[{i}]"
        yield from find_length_faults(
            {f"{at}.thresholds": (point.thresholds, exits - 1), f"{at}.shares": (point.shares, exits)}
        )
    levels = {tuple(level.name for level in point.cache.levels) for point in swept.points if point.cache is not None}
    if len(levels) > 1 or any(len(set(names)) < len(names) for names in levels):
        yield "the points of cache.sweep do not name the same levels, each once"


def _drop_inner_schemas(body: dict[str, Any]) -> dict[str, Any]:
    """The document without the `schema` fields of energy, cache report and cache sweep, which are no fields of their dataclasses."""
    cache = body.get("cache")
    if isinstance(cache, dict):
        body = {**body, "cache": {name: _drop_schema(part) for name, part in cache.items()}}
    return {name: _drop_schema(part) if name == "energy" else part for name, part in body.items()}


def _drop_schema(part: Any) -> Any:
    return {name: value for name, value in part.items() if name != "schema"} if isinstance(part, dict) else part


def read_result(path: str | Path) -> BenchResult:
    """The result in a file, with its raw samples where the .npz is beside it.

    Raises:
        InputError: not readable, not JSON, not a bench result, or of a newer schema.
    """
    file = Path(path)
    document = read_json(file, "a bench result")
    result = parse_result(document, str(file))
    return replace(result, raw=_read_raw(file, document.get("raw")))


def _read_raw(file: Path, name: Any) -> dict[str, NDArray[Any]]:
    if not isinstance(name, str) or Path(name).name != name or not (file.parent / name).is_file():
        return {}
    return read_archive(file.parent / name, f"the raw samples of {file.name}")
