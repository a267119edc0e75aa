"""Records, CSV and LaTeX: what other programs read."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeexit.bundle import Bundle
from edgeexit.errors import InputError
from edgeexit.measure import BenchResult
from edgeexit.report import read_all, write_report
from edgeexit.report.table import Table, render_latex
from tests.report.made import made_calibration, made_result


def test_csv_has_one_header_and_one_row_per_measurement(full: BenchResult, tmp_path: Path) -> None:
    """Every row has every column, and times and shares read back as numbers."""
    items = [("a.json", full), ("c.eexit", made_calibration(3))]
    (path,) = write_report(items, tmp_path / "report.csv")
    header, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8")))

    assert {len(header)} == {len(row) for row in rows}
    assert len(header) == len(set(header))
    records = [dict(zip(header, row, strict=True)) for row in rows]
    whole = next(r for r in records if r["what"] == "early_exit")
    assert full.latency.mixture.mean_s == float(whole["mean_s"])
    assert full.accuracy.overall == float(whole["accuracy"])
    assert float(whole["accuracy_low95"]) < float(whole["accuracy"]) < float(whole["accuracy_high95"])
    assert {"a.json", "c.eexit"} == {r["result"] for r in records}
    assert all(float(r["mean_s"]) > 0 for r in records if r["mean_s"])


def test_a_benchmark_has_a_record_for_every_exit(full: BenchResult) -> None:
    """As it ran and forced, with the energy where it was measured."""
    records = {str(r["what"]): r for r in full.to_records()}

    assert {"early_exit", "backbone", "exit_1", "exit_3_forced", "against", "early_exit_cold", "backbone_paced"} <= set(
        records
    )
    assert 3e-3 == records["exit_3_forced"]["energy_gross_j"]
    assert pytest.approx(1.0) == sum(float(records["early_exit"][f"rate_exit_{k}"] or 0) for k in (1, 2, 3))


def test_a_calibration_has_a_record_for_every_policy_of_its_curve() -> None:
    """Thresholds in own units, so that one can be drawn or taken over by hand."""
    calibration = made_calibration(3)
    records = calibration.to_records()

    assert len(calibration.curve) == sum(r["what"] == "curve" for r in records)
    assert {"predicted", "measured", "backbone", "exit_1", "exit_3"} <= {r["what"] for r in records}
    assert [2] * len(calibration.curve) == [len(str(r["thresholds"]).split()) for r in records if r["what"] == "curve"]


def test_records_become_a_data_frame() -> None:
    """With pandas, where it is installed."""
    pd = pytest.importorskip("pandas")
    frame = made_result(3).to_pandas()

    assert isinstance(frame, pd.DataFrame)
    assert "float64" == str(frame["mean_s"].dtype)


def test_latex_holds_no_character_that_is_a_command() -> None:
    """Percent signs, underscores and braces of names are written out."""
    text = render_latex([Table("a_b & 50 %", ("x#", "{y}"), (("1 µs", "$2^3~\\"),), "n_1 ≤ 2")])

    assert r"\caption{a\_b \& 50 \%}" in text
    assert r"x\# & \{y\} \\" in text
    assert r"1 $\mu$s & \$2\textasciicircum{}3\textasciitilde{}\textbackslash{} \\" in text


def test_one_or_many_results_make_a_report(full: BenchResult, tmp_path: Path) -> None:
    """A result alone, a list, pairs with names, paths as text; names that are shared get a number."""
    saved = full.save(tmp_path / "a.json")
    forms: list[Any] = [full, [full, full], [("x", full)], ("x", full), str(saved), [saved, full]]
    for number, given in enumerate(forms):
        (made,) = write_report(given, str(tmp_path / f"{number}.md"))
        assert made.stat().st_size > 1000
    text = (tmp_path / "1.md").read_text(encoding="utf-8")
    assert f"{full.subject.bundle} (1)" in text
    assert f"{full.subject.bundle} (2)" in text


@pytest.mark.parametrize("given", [[], 3, [None]])
def test_what_is_no_result_is_refused(given: object, tmp_path: Path) -> None:
    """With what can be given."""
    with pytest.raises(InputError, match=r"report (takes|needs)"):
        write_report(given, tmp_path / "r.html")  # type: ignore[arg-type]


def test_a_bundle_without_a_calibration_is_named_and_left_out(
    compiled: Path, full: BenchResult, tmp_path: Path
) -> None:
    """The others are still reported; with none left it is an error."""
    items, left_out = read_all([full.save(tmp_path / "a.json"), compiled])

    assert ["a.json"] == [name for name, _ in items]
    assert [True] == ["has no calibration" in sentence for sentence in left_out]
    with pytest.raises(InputError, match="has no calibration"):
        read_all([compiled])


def test_criteria_of_one_model_are_compared_without_being_asked(tmp_path: Path) -> None:
    """A report exists to compare them; threads have to be named."""
    first = made_result(3)
    other = replace(
        first, subject=replace(first.subject, criterion="entropy", model_sha256="e" * 64, thresholds=(0.1, 0.2))
    )
    unlike = replace(first, subject=replace(first.subject, threads=2))

    (page,) = write_report([("a", first), ("b", other), ("c", unlike)], tmp_path / "r.html")
    text = page.read_text(encoding="utf-8")
    assert "b against a <span" in text
    assert "--vary threads" in text
    (page,) = write_report([("a", first), ("c", unlike)], tmp_path / "r.html", vary=["threads"])
    assert "c against a <span" in page.read_text(encoding="utf-8")


def test_a_calibration_that_is_not_active_is_reported_as_such(calibrated_aside: Path, tmp_path: Path) -> None:
    """A bundle whose only calibration was undecided still has its measurement to show."""
    items, left_out = read_all([calibrated_aside])

    assert [] == left_out
    assert [True] == ["not active" in name for name, _ in items]


@pytest.fixture
def calibrated_aside(bundle_path: Path) -> Path:
    """A bundle that keeps a calibration which is not active."""
    document = made_calibration(3).to_document()
    Bundle.open(bundle_path).write_calibration(document["key"], document, activate=False)
    return bundle_path
