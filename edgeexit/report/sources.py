"""Sources of a report: files of results and of calibrations, and bundles with their calibrations."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from edgeexit.bundle import Bundle
from edgeexit.calibration import Calibration, parse_calibration
from edgeexit.errors import InputError
from edgeexit.measure import BenchResult, read_result
from edgeexit.util.documents import read_json

Item: TypeAlias = BenchResult | Calibration
Given: TypeAlias = BenchResult | Calibration | Bundle | str | Path | tuple[str, Any]
"""Arguments of `write_report`; the first of a pair is a name."""


class NoCalibrationError(InputError):
    """A bundle has nothing to report yet."""


def collect_items(results: Given | Sequence[Given]) -> list[tuple[str, Item]]:
    """Named items of what a caller has: results, calibrations, bundles, files of these, pairs of a name and one of them, or a list.

    Raises:
        InputError: something else, nothing at all, or a file that is none of these.
    """
    given = results if isinstance(results, (list, Sequence)) and not _is_one(results) else [results]
    named = [entry for one in given for entry in _collect_from(one)]
    if not named:
        msg = "a report needs at least one result, calibration or calibrated bundle."
        raise InputError(msg)
    return _make_names_unique(named)


def _is_one(given: object) -> bool:
    return isinstance(given, str) or (
        isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str) and not isinstance(given[1], str)
    )


def _collect_from(given: Any) -> list[tuple[str, Item]]:
    if isinstance(given, BenchResult):
        return [(given.subject.bundle, given)]
    if isinstance(given, Calibration):
        return [(f"calibration for {given.target}", given)]
    if isinstance(given, Bundle):
        return _collect_from_bundle(Path(given.path))
    if isinstance(given, (str, Path)):
        return read_items(Path(given))
    if _is_one(given):
        return [(given[0], item) for _, item in _collect_from(given[1])]
    msg = f"a report takes results, calibrations, bundles or their paths, not {type(given).__name__}."
    raise InputError(msg)


def _make_names_unique(named: Sequence[tuple[str, Item]]) -> list[tuple[str, Item]]:
    """Names that several items share get a number."""
    total, seen = Counter(name for name, _ in named), Counter[str]()
    found: list[tuple[str, Item]] = []
    for name, item in named:
        seen[name] += 1
        found.append((name if total[name] == 1 else f"{name} ({seen[name]})", item))
    return found


def read_all(paths: Sequence[Path]) -> tuple[list[tuple[str, Item]], list[str]]:
    """Items of files and bundles, and a sentence for each bundle that was left out since it has no calibration.

    Raises:
        InputError: a file is none of these, or nothing is left.
    """
    found, left_out = list[tuple[str, Item]](), list[str]()
    for path in paths:
        try:
            found += read_items(path)
        except NoCalibrationError as error:  # noqa: PERF203 - a bundle without one does not end the report of the others
            left_out.append(str(error))
    if not found:
        raise InputError("\n".join(left_out))
    return _make_names_unique(_disambiguate_names(found, paths)), left_out


def _disambiguate_names(named: list[tuple[str, Item]], paths: Sequence[Path]) -> list[tuple[str, Item]]:
    """With the folder before the name where files in several folders have the same one."""
    if len(named) != len(paths) or len({name for name, _ in named}) == len(named):
        return named
    return [
        (str(Path(path.absolute().parent.name) / name), item) for path, (name, item) in zip(paths, named, strict=True)
    ]


def read_items(path: Path) -> list[tuple[str, Item]]:
    """Reportable items of a file or a bundle, with a name each.

    Raises:
        InputError: it is neither a result nor a calibration nor a bundle with a calibration.
    """
    if path.is_dir():
        return _collect_from_bundle(path)
    document = read_json(path, "a bench result or a calibration")
    if isinstance(document, dict) and str(document.get("schema")).startswith("edgeexit.calibration/"):
        return [(path.name, parse_calibration(document, str(path)))]
    return [(path.name, read_result(path))]


def _collect_from_bundle(path: Path) -> list[tuple[str, Item]]:
    """The active calibrations of a bundle; where none is active, all that it kept, and the names say so."""
    bundle = Bundle.open(path)
    active = [record for key in bundle.manifest.calibrations if (record := bundle.active(key)) is not None]
    records, state = (active, "") if active else (bundle.history, ", not active")
    if not records:
        msg = f"{path} has no calibration to report. Run: edgeexit calibrate {shlex.quote(str(path))}"
        raise NoCalibrationError(msg)
    alone = len(active) == 1
    return [
        (
            path.name if alone else f"{path.name}, {record.name}{state}",
            parse_calibration(bundle.read_record(record), f"{path}, calibration {record.name}"),
        )
        for record in records
    ]
