"""Pages, tables and pictures of results."""

from __future__ import annotations

import errno
import os
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import edgeexit
from edgeexit.data import find_demo_asset, load_data
from edgeexit.errors import InputError
from edgeexit.measure import BenchResult, compare_results
from edgeexit.measure.result.parts import Breakdown, MachineSnapshot, StageLatency, StateChannel
from edgeexit.report import make_result_tables, read_items, render_report, write_report
from edgeexit.report.bench_figures import plot_exit_costs, plot_result
from edgeexit.report.calibration_tables import explain_choice
from edgeexit.report.page import plot_item
from edgeexit.report.plot.figure import Panels, compute_ticks
from edgeexit.report.plot.svg import draw, render_standalone
from edgeexit.report.sweep import sweep_thresholds
from edgeexit.report.tables import make_comparison_table
from tests.report.made import made_calibration
from tests.support.measured import open_bundle

_HOSTILE = '<script>alert("x")</script>&'
_VOID = {"meta", "br", "img", "hr", "input", "link"}


class _Checker(HTMLParser):
    """Notes every tag, and that all are closed in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _checked(page: str) -> _Checker:
    checker = _Checker()
    checker.feed(page)
    assert [] == checker.open
    return checker


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(full: BenchResult) -> None:
    """No script, no link but to its own parts, no address but the names of XML."""
    page = render_report([("a.json", full)])
    checker = _checked(page)
    assert not checker.tags & {"script", "link", "img", "iframe", "object"}
    assert all(link.startswith("#") for link in checker.links)
    assert [] == re.findall(r"(?:https?:)?//[\w.]+", page)
    assert "default-src 'none'" in page


def test_text_from_files_is_escaped(full: BenchResult) -> None:
    """Names, notes and reasons of a result are never markup."""
    hostile = replace(
        full,
        notes=(_HOSTILE,),
        subject=replace(full.subject, bundle=_HOSTILE, criterion=full.subject.criterion, threshold_unit=_HOSTILE),
        workload=replace(full.workload, data=_HOSTILE),
        validity=replace(full.validity, reasons=(_HOSTILE,)),
    )
    page = render_report([(_HOSTILE, hostile), (_HOSTILE, full)])
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "script" not in _checked(page).tags


def test_every_picture_is_there_and_well_formed(full: BenchResult) -> None:
    """Those of the design, each a valid XML of its own."""
    names = {picture.name for picture in plot_result(full)}
    wanted = {
        "accuracy-latency",
        "accuracy-threshold",
        "exits-threshold",
        "distribution",
        "costs",
        "closure",
        "over-time",
    }
    assert wanted | {"accuracy-energy", "cache-misses", "cache-rates"} == names
    for picture in plot_result(full):
        root = ET.fromstring(render_standalone(picture))
        assert root.tag.endswith("svg")
        assert picture.title in draw(picture)


def test_pictures_without_data_are_left_out(result: BenchResult) -> None:
    """No raw samples: what the figures alone allow."""
    names = {picture.name for picture in plot_result(replace(result, raw={}))}
    assert {"costs", "closure"} == names
    _checked(render_report([("a.json", replace(result, raw={}))]))


def test_clock_and_temperature_are_drawn_where_they_were_read(result: BenchResult) -> None:
    """Below the latency, over the same seconds: from the recorder, or from the snapshots where it could read nothing."""
    channels = (
        StateChannel("cpu-policy0", "clock", 2, 1.4e9, 1.45e9, 1.5e9),
        StateChannel("oc1", "counter", 2, 0, 0, 0),
    )
    raw = result.raw | {"state_0": np.array([[0.0, 1.0], [1.5e9, 1.4e9]]), "state_1": np.zeros((2, 2))}
    timeline = (MachineSnapshot(0.0, 40.0, None), MachineSnapshot(5.0, 42.0, None))
    warm = replace(result, raw=raw, device=replace(result.device, timeline=timeline, channels=channels))
    picture = next(p for p in plot_result(warm) if p.name == "over-time")
    assert isinstance(picture, Panels)
    assert ["over-time", "clock", "temperature"] == [p.name for p in picture.panels]
    assert 1 == len({(p.x.low, p.x.high) for p in picture.panels})
    drawn = draw(picture)
    assert "cpu-policy0" in drawn
    assert "hottest point, between processes" in drawn


def test_the_time_goes_into_stages_criteria_and_overhead(result: BenchResult) -> None:
    """Gates where they were told apart, and in an older result what each exit adds."""
    cost = StageLatency(1, 2e-5, 1e-6, 5e-6)
    told = replace(result.latency, breakdown=Breakdown((cost, replace(cost, exit=2), replace(cost, exit=3)), None))
    drawn = draw(plot_exit_costs(replace(result, latency=told)))
    assert all(f">{what}</text>" in drawn for what in ("stage 1", "stage 3", "criteria", "overhead"))
    older = draw(plot_exit_costs(replace(result, latency=replace(told, breakdown=None))))
    assert ">to exit 3</text>" in older
    table = next(t for t in make_result_tables(replace(result, latency=told)) if t.title == "Where the time goes")
    assert ("exit 2", "40.0 µs", "2.00 µs", "5.00 µs", "47.0 µs") == table.rows[1]


def test_a_latency_target_is_a_line_in_the_distribution(result: BenchResult) -> None:
    """That of the calibration; of several bounds the one on latency."""
    aimed = replace(result, subject=replace(result.subject, target="p99<=5ms, drop<=0.5"))
    picture = next(p for p in plot_result(aimed) if p.name == "distribution")
    assert "target: p99&lt;=5ms</text>" in draw(picture)


def test_the_sweep_holds_the_measured_policy(result: BenchResult) -> None:
    """All leave at exit 1 at one end, and shares always add up to one."""
    swept = sweep_thresholds(result)
    assert swept is not None
    assert np.allclose(1.0, swept.shares.sum(axis=1))
    assert pytest.approx(1.0) == swept.shares[:, 0].max()
    assert 0 <= swept.knee() < len(swept.own)
    assert sweep_thresholds(replace(result, raw={})) is None


def test_accuracy_against_energy_has_its_knee(full: BenchResult) -> None:
    """As against latency; energy that stands for a frame of a schedule changes neither."""
    assert full.energy is not None
    paced = replace(full.energy.calls[-1], name="paced mix", net_j=None)
    energy = replace(full.energy, calls=(*full.energy.calls, paced))
    picture = next(p for p in plot_result(replace(full, energy=energy)) if p.name == "accuracy-energy")
    assert "knee: " in draw(picture)
    assert [draw(picture)] == [draw(p) for p in plot_result(full) if p.name == "accuracy-energy"]


def test_tables_have_as_many_cells_as_columns(full: BenchResult) -> None:
    """In every row of every table."""
    for table in make_result_tables(full):
        assert all(len(row) == len(table.columns) for row in table.rows)
    titles = [table.title for table in make_result_tables(full)]
    assert "Early exit and backbone" == titles[0]
    assert {"Energy of one inference, by ina3221", "Caches, simulated: jetson-nano", "Working sets"} <= set(titles)


def test_what_was_not_measured_is_listed_with_the_reason(result: BenchResult) -> None:
    """Never a zero in its place."""
    table = next(t for t in make_result_tables(result) if t.title == "Not measured")
    assert ("energy", "not part of preset tiny (--energy)") in table.rows


def test_two_results_are_compared_on_one_page(result: BenchResult) -> None:
    """Alike or not: unlike ones say why."""
    other = replace(result, subject=replace(result.subject, threads=2))
    page = render_report([("a.json", result), ("b.json", result), ("c.json", other)])
    assert "threads: 1 and 2" in page
    assert "Distributions of the latency" in page
    _checked(page)
    table = make_comparison_table(result, result, compare_results(result, result))
    assert all(len(row) == len(table.columns) for row in table.rows)


@pytest.mark.parametrize("ending", ["html", "md", "csv", "tex", "svg", "png", "pdf"])
def test_a_report_takes_the_form_its_name_asks_for(full: BenchResult, tmp_path: Path, ending: str) -> None:
    """One page, the tables, or a picture each."""
    made = write_report([("a.json", full)], tmp_path / "new" / f"report.{ending}")
    assert all(path.stat().st_size > 200 for path in made)
    assert (10 if ending in {"svg", "png", "pdf"} else 1) == len(made)


def test_another_form_or_place_is_refused(result: BenchResult, tmp_path: Path) -> None:
    """With the forms there are, or why the place cannot be written to."""
    with pytest.raises(InputError, match=r"\.html, \.md, \.csv"):
        write_report([("a.json", result)], tmp_path / "report.doc")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="cannot write the report"):
        write_report([("a.json", result)], tmp_path / "file" / "report.html")


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (16.0, 47.0), (-3.0, 7.5), (0.9781, 0.9902)])
def test_linear_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    """Between three and twelve."""
    found = compute_ticks(low, high, log=False)
    assert 3 <= len(found) <= 12
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in found)


@pytest.mark.parametrize(("low", "high"), [(1e-5, 1.0), (20.0, 90.0), (3.0, 5.0)])
def test_log_ticks_are_inside(low: float, high: float) -> None:
    """At least two."""
    found = compute_ticks(low, high, log=True)
    assert 2 <= len(found)
    assert all(low <= value <= high for value in found)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's bundle, calibrated."""
    path = tmp_path_factory.mktemp("calibrated") / "demo.eexit"
    bundle = edgeexit.compile(find_demo_asset("lenet-digits.onnx"), path, seconds=0)
    data = load_data("digits:calibration")
    with open_bundle(bundle.path, [0.5], "staged") as runner:
        edgeexit.calibrate(runner, data.inputs, data.labels, target="agreement>=0.9, drop<=5", seconds=0.5)
    return path


def test_a_calibrated_bundle_is_a_report_too(calibrated: Path, tmp_path: Path) -> None:
    """The choice, what it was chosen from, and whether the device did as predicted; from the bundle or the document alone."""
    items = read_items(calibrated)
    page = render_report(items)
    _checked(page)
    assert "Target: agreement&gt;=0.9, drop&lt;=5" in page
    assert {"calibration-front", "calibration-rates", "calibration-kept"} == {p.name for p in plot_item(items[0][1])}
    document = next((calibrated / "calibrations").rglob("*.json"))
    assert [document.name] == [name for name, _ in read_items(document)]


def test_a_bundle_without_a_calibration_says_what_to_do(compiled: Path, tmp_path: Path) -> None:
    """And a file that is neither names itself."""
    with pytest.raises(InputError, match="edgeexit calibrate"):
        read_items(compiled)
    (tmp_path / "x.json").write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match=r"x\.json"):
        read_items(tmp_path / "x.json")


@pytest.mark.parametrize("ending", ["html", "png"])
def test_a_report_that_cannot_be_finished_leaves_the_one_before(
    result: BenchResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """A disk that fills up while writing is simulated."""

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    first = "r.html" if ending == "html" else f"r-{plot_result(result)[0].name}.png"
    (tmp_path / first).write_text("old")
    monkeypatch.setattr("os.fsync", full)

    with pytest.raises(InputError, match="No space left on device"):
        write_report([("a", result)], tmp_path / f"r.{ending}")

    assert "old" == (tmp_path / first).read_text()
    assert [first] == [p.name for p in tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("chosen_for", "reason"),
    [("mean<=0.5x, drop<=4", "leave the target itself met"), ("mean<=1.2x, drop<=5", "none keeps the target itself")],
)
def test_a_choice_for_another_target_says_why(chosen_for: str, reason: str) -> None:
    """A closer target keeps the one asked for; a looser one does not, and must not seem to."""
    assert reason in explain_choice(replace(made_calibration(3), chosen_for=chosen_for))
