"""Results that are damaged are refused when they are read, not while a page is made of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeexit.errors import InputError
from edgeexit.measure import BenchResult
from edgeexit.measure.result.bench_result import parse_result
from edgeexit.report import read_items, write_report
from edgeexit.util.documents import dumps, read_json


@pytest.mark.parametrize(
    ("part", "damage"),
    [
        ("energy.", lambda d: d["energy"].pop("calls")),
        ("energy.", lambda d: d["energy"]["calls"][0].update(power_w="much")),
        ("energy.", lambda d: d["energy"]["validity"].update(status="fine")),
        ("cache.", lambda d: d["cache"].pop("report")),
        ("cache.", lambda d: d["cache"]["report"]["simulated"].update(calls=None)),
        ("cache.sweep", lambda d: d["cache"]["sweep"]["points"][0].update(shares=0.5)),
    ],
)
def test_damage_to_energy_or_cache_is_named(
    full: BenchResult, part: str, damage: Callable[[dict[str, Any]], object]
) -> None:
    """They are documents inside the document."""
    document = json.loads(dumps(full.to_document()))
    assert full.energy == parse_result(document).energy
    damage(document)
    with pytest.raises(InputError, match=f"result has 1 fault: {part}"):
        parse_result(document)


def test_energy_and_cache_are_typed_and_written_as_the_documents_that_they_were_read_from(full: BenchResult) -> None:
    """Each part carries the name of its own schema in the file, none in memory."""
    document = json.loads(dumps(full.to_document()))
    read = parse_result(document)

    assert full.energy == read.energy
    assert full.cache == read.cache
    assert document == json.loads(dumps(read.to_document()))
    assert ["edgeexit.energy/1", "edgeexit.cache/1", "edgeexit.cache-sweep/1"] == [
        part["schema"] for part in (document["energy"], document["cache"]["report"], document["cache"]["sweep"])
    ]


def _get_swept_levels(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The levels of the last point of the cache sweep."""
    levels: list[dict[str, Any]] = document["cache"]["sweep"]["points"][-1]["cache"]["levels"]
    return levels


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b'{"schema": "x"', b"[]", b"1" * 5000])
def test_a_file_that_is_no_document_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    """Not JSON, not UTF-8, nested too deeply, of another kind."""
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(InputError, match=r"r\.json"):
        read_items(tmp_path / "r.json")


def test_a_document_with_a_name_that_is_not_utf_8_is_written_and_read_back(tmp_path: Path) -> None:
    """A data file's name may hold any bytes; what was measured with it may not be lost."""
    name = "caf\udce9 é.npz"
    (tmp_path / "d.json").write_text(dumps({"name": name}), encoding="utf-8")

    assert {"name": name} == read_json(tmp_path / "d.json", "a document")


@pytest.mark.parametrize("suffix", ["html", "md", "csv", "tex"])
def test_names_from_a_result_cannot_steer_a_terminal_that_shows_its_report(
    full: BenchResult, tmp_path: Path, suffix: str
) -> None:
    """Neither escape codes nor bytes that are not UTF-8 reach a file of text."""
    odd = "a\x1b[2J\udce9\x07\x9b"
    result = replace(full, workload=replace(full.workload, data=odd), notes=(odd,))
    [made] = write_report([("r", result)], tmp_path / f"r.{suffix}")

    assert not set("\x1b\x07\x9b\ufffd") & set(made.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda d: d["accuracy"].update(overall=1.5), "accuracy.overall is 1.5, which is not a share from 0 to 1"),
        (lambda d: d["accuracy"].update(backbone=-3.5), "accuracy.backbone is -3.5, which is not a share from 0 to 1"),
        (lambda d: d["latency"]["per_exit"].pop(), "latency.per_exit has 2 values instead of 3"),
        (
            lambda d: d["latency"]["backbone"].update(mean_s=0),
            "latency.backbone.mean_s is 0.0, which is not a time above 0",
        ),
        (lambda d: d["workload"].update(n=0), "workload.n is less than 1"),
        (lambda d: d["accuracy"]["per_exit"][0].update(exit=7), "the exits are not numbered from 1"),
        (lambda d: d["subject"].update(thresholds=[]), "subject.thresholds has 0 values instead of 2"),
        (lambda d: _get_swept_levels(d)[0].update(name="L9"), "cache.sweep do not name the same levels"),
        (lambda d: _get_swept_levels(d).pop(), "cache.sweep do not name the same levels"),
        (lambda d: _get_swept_levels(d)[0].update(misses=-1), "levels[0].misses is -1.0, which is no count"),
        (lambda d: d["cache"]["sweep"]["points"][0]["shares"].pop(), "points[0].shares has 2 values instead of 3"),
        (lambda d: d["cache"]["sweep"]["points"][0]["thresholds"].pop(), "points[0].thresholds has 1 values instead"),
        (lambda d: d["cache"]["sweep"]["points"][0].update(latency_s=0), "points[0].latency_s is 0.0, which is not a"),
    ],
)
def test_figures_that_cannot_all_be_true_are_named(
    full: BenchResult, damage: Callable[[dict[str, Any]], object], told: str
) -> None:
    """Every field has the right type, and no page could be made of them."""
    document = json.loads(dumps(full.to_document()))
    damage(document)
    with pytest.raises(InputError, match=re.escape(told)):
        parse_result(document)
