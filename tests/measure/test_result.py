"""The result as a file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeexit.errors import InputError
from edgeexit.measure import BenchResult, parse_result, read_result


def test_a_saved_result_reads_back_equal(result: BenchResult, tmp_path: Path) -> None:
    """Every figure and every raw sample."""
    path = result.save(tmp_path / "new folder" / "a.json")
    read = read_result(path)
    assert result == read
    assert result.raw.keys() == read.raw.keys()
    assert all(np.array_equal(result.raw[name], read.raw[name]) for name in result.raw)


def test_the_document_is_plain_json_with_its_schema(result: BenchResult) -> None:
    """No NaN, no infinity: "never" and "always" are texts."""
    never = replace(result, subject=replace(result.subject, thresholds=(float("-inf"), float("inf"))))
    text = json.dumps(never.to_document(), allow_nan=False)
    assert "edgeexit.bench/1" == json.loads(text)["schema"]
    assert ["-inf", "inf"] == json.loads(text)["subject"]["thresholds"]
    assert never.subject.thresholds == parse_result(json.loads(text)).subject.thresholds


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "edgeexit.bench/2"}, "newer edgeexit"),
        ({"schema": "edgeexit.calibration/1"}, "not an edgeexit bench"),
        ({"schema": None}, "not an edgeexit bench"),
        ({"notes": 3}, "notes must be a list"),
    ],
)
def test_other_documents_are_refused(result: BenchResult, change: dict[str, object], message: str) -> None:
    """Newer schemas with the remedy, other things by their name, wrong fields by their place."""
    with pytest.raises(InputError, match=message):
        parse_result(result.to_document() | change)


def test_a_document_without_a_field_says_which(result: BenchResult) -> None:
    """Not a KeyError."""
    document = result.to_document()
    del document["latency"]["mixture"]["mean_s"]
    with pytest.raises(InputError, match=r"latency\.mixture\.mean_s is missing"):
        parse_result(document)


@pytest.mark.parametrize("field", ["process_mean_s", "process_typical_s"])
def test_a_process_that_took_no_time_is_refused(result: BenchResult, field: str) -> None:
    """Comparisons take the logarithm of it."""
    document = result.to_document()
    document["latency"]["mixture"][field][0] = 0.0
    with pytest.raises(InputError, match=rf"{field}\[0\] is 0.0, which is not a time above 0"):
        parse_result(document)


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, content: str) -> None:
    """Whatever it holds, one message."""
    (tmp_path / "x.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"x\.json"):
        read_result(tmp_path / "x.json")
    with pytest.raises(InputError, match="cannot read"):
        read_result(tmp_path / "missing.json")


def test_raw_samples_are_only_read_from_the_folder_of_the_result(result: BenchResult, tmp_path: Path) -> None:
    """A path that climbs out is not followed, and a damaged .npz is named."""
    path = result.save(tmp_path / "a.json")
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(document | {"raw": "../a.npz"}), encoding="utf-8")
    assert {} == read_result(path).raw
    path.write_text(json.dumps(document), encoding="utf-8")
    (tmp_path / "a.npz").write_bytes(b"PK damaged")
    with pytest.raises(InputError, match=r"a\.npz is not the raw samples of a\.json .* pickled objects"):
        read_result(path)


def test_a_result_that_cannot_be_written_says_so(result: BenchResult, tmp_path: Path) -> None:
    """A file in the place of the folder."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="cannot write"):
        result.save(tmp_path / "file" / "a.json")


def test_an_unknown_percentile_lists_the_known(result: BenchResult) -> None:
    """p42 was never computed."""
    with pytest.raises(InputError, match=r"p42 .* p50, p90"):
        result.latency.mixture.percentile(42.0)
