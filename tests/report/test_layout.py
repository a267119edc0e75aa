"""Pages as a browser shows them, and the rules by which labels find a place."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgeexit.report import render_report
from edgeexit.report.analysis_page import render_analysis_page
from edgeexit.report.plot.axis_numbers import format_axis_numbers
from edgeexit.report.plot.figure import (
    Axis,
    Figure,
    ImageGrid,
    Line,
    Panels,
    Picture,
    Points,
    choose_exit_tone,
    compute_ticks,
)
from edgeexit.report.plot.label_placement import (
    Label,
    Rectangle,
    estimate_text_width,
    list_boxes_along,
    list_places_around_point,
    list_places_beside_line,
    place_labels,
)
from edgeexit.report.plot.png import save_picture
from edgeexit.report.plot.svg import render_standalone
from edgeexit.report.sources import Item
from edgeexit.report.validity_reasons import merge_alike, sort_by_gravity
from tests.report.browser import WIDTHS, layout_faults
from tests.report.made import made_calibration, made_result
from tests.report.test_analysis_page import analysis as make_analysis


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """Benchmarks and calibrations of 2, 3, 8 and 32 exits, and four results on one page."""
    made = {f"bench {n}": render_report([("a.json", made_result(n))]) for n in (2, 3, 8, 32)}
    made |= {f"calibration {n}": render_report([("a.eexit", made_calibration(n))]) for n in (2, 3, 8, 32)}
    made |= {f"analysis {n}": render_analysis_page(make_analysis(n, choose=False)) for n in (2, 3, 8)}
    first, other = made_result(3), made_result(3, seed=1)
    unlike = replace(other, subject=replace(other.subject, threads=2))
    named: list[tuple[str, Item]] = [
        ("before.json", first),
        ("after.json", other),
        ("unlike.json", unlike),
        ("lenet.eexit", made_calibration(3)),
    ]
    return made | {"several": render_report(named)}


@pytest.fixture(scope="module")
def faults(pages: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], list[str]]:
    """What is wrong with each of them by width, and with a page that has faults."""
    drawing = '<svg viewBox="0 0 100 50" width="100"><text x="5" y="20">hello there</text><text x="9" y="22">again</text></svg>'
    bad = f'<!doctype html><main>{drawing}<p style="width:1900px">x</p></main>'
    return layout_faults({**pages, "bad": bad}, tmp_path_factory.mktemp("browser"))


@pytest.mark.parametrize("width", WIDTHS)
def test_no_labels_overlap_and_nothing_scrolls_sideways(
    pages: dict[str, str], faults: dict[tuple[str, int], list[str]], width: int
) -> None:
    """On a phone and on a desk, whatever the number of exits; text is never shrunk below 10 px."""
    assert {name: [] for name in pages} == {name: faults[name, width] for name in pages}


@pytest.mark.parametrize("width", WIDTHS)
def test_the_check_of_the_layout_sees_faults(faults: dict[tuple[str, int], list[str]], width: int) -> None:
    """An overlap, a label outside its drawing, and a page too wide."""
    assert any("scrolls sideways" in fault for fault in faults["bad", width])
    assert any("overlaps" in fault for fault in faults["bad", width])


@given(
    st.lists(st.tuples(st.floats(0, 600), st.floats(0, 300), st.text("abc 0.9:", min_size=1, max_size=20)), max_size=12)
)
def test_placed_labels_never_overlap_and_stay_inside(points: list[tuple[float, float, str]]) -> None:
    """Whatever the points; a label without a free place is left out."""
    inside = Rectangle(0, 0, 600, 300)
    labels = [
        Label(
            words,
            "ink",
            list_places_around_point(x, y) if i % 2 else list_places_beside_line(x, 0, 8, left_first=x > 300),
        )
        for i, (x, y, words) in enumerate(points)
    ]

    boxes = [spot.box(label.text) for label, spot in place_labels(labels, inside)]

    assert all(box.is_inside(inside) for box in boxes)
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_a_label_avoids_lines_where_it_can() -> None:
    """It covers one only where no free place is beside it."""
    spots = list_places_beside_line(100, 0, 3, left_first=False)
    line = Rectangle(110, 0, 112, 300)
    [(_, spot)] = place_labels([Label("exit 1", "ink", spots)], Rectangle(0, 0, 600, 300), avoided=[line])
    [(_, forced)] = place_labels([Label("exit 1", "ink", spots[:1])], Rectangle(0, 0, 600, 300), avoided=[line])

    assert "end" == spot.anchor
    assert spots[0] == forced


def test_longer_text_is_wider() -> None:
    """The estimate grows with every character."""
    assert (
        estimate_text_width("exit 1")
        < estimate_text_width("exit 1: 0.92")
        < estimate_text_width("exit 1: 0.92 probability")
    )


@pytest.mark.parametrize("exits", [2, 7, 8, 32])
def test_exits_that_stand_beside_each_other_differ_in_colour(exits: int) -> None:
    """All of them, up to 32."""
    assert exits == len({choose_exit_tone(k, exits) for k in range(1, exits + 1)})


def test_a_grid_of_images_holds_every_image_beside_its_row(tmp_path: Path) -> None:
    """Each row in a line of its own, inside the picture; as PNG, too."""
    images = np.linspace(0, 1, 4 * 3 * 6 * 5).reshape(4, 3, 6, 5)
    grid = ImageGrid("grid", "Images", "", (("first", images), ("second", images[:, :1])))

    drawn = render_standalone(grid)

    assert 8 == drawn.count('href="data:image/png;base64,')
    assert 2 == len({*re.findall(r'<image x="[^"]+" y="([^"]+)"', drawn)})
    assert all(f">{label}</text>" in drawn for label in ("first", "second"))
    pytest.importorskip("matplotlib")
    save_picture(grid, tmp_path / "grid.png")
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")


def test_notes_beside_points_are_in_every_form_of_a_picture(tmp_path: Path) -> None:
    """The page's, and what matplotlib draws: of one picture and of several above each other."""
    pytest.importorskip("matplotlib")
    points = Points(np.array([2.0]), np.array([0.5]), choose_exit_tone(2), note="exit 2 alone", large=True)
    axes = (Axis("time, ms"), Axis("accuracy, %", scale=0.01))
    figure = Figure("noted", "A point", "With its name.", *axes, (points,))
    pictures: list[Picture] = [figure, Panels("both", "Two", "Above each other.", (figure, figure))]
    for picture in pictures:
        save_picture(picture, tmp_path / "a.svg")
        drawn = (tmp_path / "a.svg").read_text(encoding="utf-8")  # a text is drawn as shapes, with itself as a comment
        assert drawn.count("<!-- exit 2 alone -->") == render_standalone(picture).count(">exit 2 alone</text>") > 0


def test_a_long_title_is_drawn_whole(tmp_path: Path) -> None:
    """In several lines, inside the picture: nothing touches its edges."""
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    line = Line(np.arange(3.0), np.arange(3.0), choose_exit_tone(1))
    title = "B-AlexNet by the paper's schedule: accuracy against the threshold of its first exit"
    for words in (title, f"{title}, {title}"):
        save_picture(Figure("long", words, "", Axis("x"), Axis("y"), (line,)), tmp_path / "long.png")
        drawn = imread(tmp_path / "long.png")[..., :3]
        assert 1 == min(edge.min() for edge in (drawn[:3], drawn[-3:], drawn[:, :3], drawn[:, -3:]))


@given(st.lists(st.tuples(*[st.floats(-1e4, 1e4) | st.just(np.nan) | st.just(np.inf)] * 2), max_size=8))
def test_boxes_along_a_curve_lie_on_it(points: list[tuple[float, float]]) -> None:
    """From its first point to its last; what is not finite, and a curve without points, has none."""
    xs, ys = np.array(points, np.float64).reshape(-1, 2).T
    boxes = list_boxes_along(xs, ys)
    kept = [point for point in points if np.isfinite(point).all()]
    assert bool(kept) == bool(boxes)
    for point, box in zip(kept[:1] + kept[-1:], boxes[:1] + boxes[-1:], strict=True):
        assert point == pytest.approx(((box.left + box.right) / 2, (box.top + box.bottom) / 2), abs=1e-6)


def test_one_axis_has_one_notation() -> None:
    """Powers of ten for all where one number needs them."""
    assert ["0.01", "0.1", "1"] == format_axis_numbers([0.01, 0.1, 1.0])
    assert ["10⁻⁵", "2·10⁻⁴", "10⁻³"] == format_axis_numbers([1e-5, 2e-4, 1e-3])


def test_what_spoils_a_measurement_most_stands_first() -> None:
    """Another behaviour before drift, drift before load, and last what could merely not be seen."""
    load, unseen = "other processes used 1.7 cores on average", "clocks cannot be read (this is a virtual machine)"
    drift, changed = "early exit differs by 7.0% between processes (1 sigma)", "power mode changed from a to b"

    assert (changed, drift, load, unseen) == sort_by_gravity([unseen, load, drift, changed])


def test_reasons_that_differ_in_a_number_are_said_once() -> None:
    """With the range; those that differ in more are kept apart."""
    both = merge_alike(["other processes used 1.8 cores on average", "other processes used 1.7 cores on average"])

    assert ("other processes used 1.7 to 1.8 cores on average",) == both
    assert 2 == len(merge_alike(["went from 40.0 to 50.0 °C", "went from 41.0 to 51.0 °C"]))
    assert ("a 1", "b 1") == merge_alike(["a 1", "b 1", "a 1"])


@given(low=st.floats(-1e308, 1e308), span=st.floats(1e-300, 1e308))
def test_ticks_of_an_axis_lie_on_it_whatever_its_range(low: float, span: float) -> None:
    """From the smallest to the largest numbers that a damaged or extreme file can hold; each has a text."""
    high = low + span
    assume(low < high < np.inf)
    ticks = compute_ticks(low, high, log=False)

    assert np.isfinite(ticks).all()
    assert len(ticks) == len(format_axis_numbers(ticks))
