"""`inspect --html`: one page that needs nothing else, whatever the names in the model are."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import onnx
import pytest
from onnx import helper
from typer.testing import CliRunner

import edgeexit
from edgeexit.bundle import Bundle, ModeTiming
from edgeexit.cli.app import app
from edgeexit.report.bundle_drawing import draw_bundle
from edgeexit.report.bundle_facts import collect_bundle_facts
from edgeexit.report.bundle_page import render_bundle_page
from edgeexit.report.bundle_tables import explain_missing_calibration
from tests.networks import chain
from tests.report.browser import WIDTHS, browser, layout_faults
from tests.support.onnx_writer import Writer

HOSTILE = (
    '<script>document.title="owned"</script>',
    '"><img src=x onerror="document.title=1">',
    "</svg></title><style>*{display:none}</style>",
    "\u202egnitirw sdrawkcab\u202c\x07",
    "&lt;" + "n" * 3000,
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Four exits, a skip over two stages, and names of tensors, inputs, exits and the file that are markup."""
    folder = tmp_path_factory.mktemp("page")
    w = Writer()
    image, skip, late, exit_name, long = HOSTILE
    w.nodes.append(helper.make_node("Conv", [image, w.weight(8, 3, 3, 3)], [skip], pads=[1, 1, 1, 1]))
    w.head(skip, 8, "z1")
    w.nodes.append(helper.make_node("Relu", [w.conv(skip, 8, 8)], [late]))
    w.head(late, 8, "z2")
    w.nodes.append(helper.make_node("Relu", [w.conv(late, 8, 8)], [long]))
    w.head(long, 8, "z3")
    w.head(w.op("Add", w.conv(long, 8, 8), skip), 8, "z4")
    path = w.save(folder / "x<b>&.onnx", {image: ["n", 3, 8, 8]}, ["z1", "z2", "z3", "z4"])
    model = onnx.load(str(path))
    names = [exit_name, "two", "<b>three</b>", "four"]
    entries = [{"name": n, "logits": f"z{k}", "score": None} for k, n in enumerate(names, 1)]
    helper.set_model_props(model, {"edgeexit.exits": json.dumps(entries)})
    onnx.save(model, path)
    return edgeexit.compile(path, folder / "b<i>.eexit", seconds=0)


class _Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: dict[str, int] = {}
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href"]


def test_names_from_models_are_text_and_nothing_else(hostile: Bundle) -> None:
    """No element, attribute or unseen character comes from a name."""
    page = render_bundle_page(collect_bundle_facts(hostile))
    tags = _Tags(page)

    assert {"script", "img", "b", "i"}.isdisjoint(set(tags.seen) - {"b", "i"})
    assert 1 == tags.seen["style"]
    assert {"onerror", "src"}.isdisjoint(tags.attributes)
    assert all(link.startswith("#") for link in tags.links)
    assert "\x07" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page


def test_names_in_sentences_are_text_too(hostile: Bundle) -> None:
    """Of an exit that is slower than the backbone, say; whether there is such a sentence depends on the machine."""
    slow = ModeTiming((1.0,) * 4, (1.0,) * 4, "staged", "2026-01-01T00:00:00+00:00", 0.5)
    timed = Bundle(hostile.path, replace(hostile.manifest, timings={"some device": slow}))

    page = render_bundle_page(collect_bundle_facts(timed))

    assert 3 == page.count("it cannot pay there")
    assert "\x07" not in page
    assert "\u202e" not in page


def test_the_page_needs_nothing_from_elsewhere(hostile: Bundle) -> None:
    """No address in it, and a policy that would refuse one."""
    page = render_bundle_page(collect_bundle_facts(hostile))

    assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(https?:)?//", page)
    assert "default-src 'none'" in page


def test_every_stage_cut_and_boundary_tensor_is_drawn(hostile: Bundle) -> None:
    """Four stages, three cuts, and what crosses them by name, shape and size; once for a desk and once for a phone."""
    facts = collect_bundle_facts(hostile)
    page = render_bundle_page(facts)

    assert 2 * 4 == page.count('rx="10"')
    for k in (1, 2, 3):
        assert f"cut {k} · " in page
    assert page.count("float32[batch, 8, 8, 8]") >= 2 * sum(len(s.makes) for s in facts.stages)
    assert "stage 1 to stage 4" in page, "the skip runs beside the stages that it passes over"


def test_the_command_writes_the_page(hostile: Bundle, tmp_path: Path) -> None:
    """And says where; with --json as an object."""
    page = tmp_path / "page.html"

    result = CliRunner().invoke(app, ["inspect", str(hostile.path), "--html", str(page), "--json"])

    assert 0 == result.exit_code
    assert str(page) == json.loads(result.stdout)["page"]
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_inspect_prints_tables_and_json(hostile: Bundle) -> None:
    """Hostile names do not break the tables either; the JSON has every stage."""
    tables = CliRunner().invoke(app, ["inspect", str(hostile.path)])
    document = json.loads(CliRunner().invoke(app, ["inspect", str(hostile.path), "--json"]).stdout)

    assert 0 == tables.exit_code
    assert "Boundary tensors" in tables.stdout
    assert "edgeexit.inspect/1" == document["schema"]
    assert [1, 2, 3, 4] == [s["exit"] for s in document["stages"]]
    assert None is document["stages"][3]["cut_bytes"]


def test_a_page_that_cannot_be_written_says_so(hostile: Bundle, tmp_path: Path) -> None:
    """Exit code 2, by the error's own code."""
    result = CliRunner().invoke(app, ["inspect", str(hostile.path), "--html", str(tmp_path / "none" / "page.html")])

    assert "cannot write" in str(result.exception)
    assert "none/page.html" in str(result.exception)


def test_a_page_that_cannot_be_finished_leaves_the_one_before(
    hostile: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up while writing is simulated."""

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "page.html").write_text("old")
    monkeypatch.setattr("os.fsync", full)
    result = CliRunner().invoke(app, ["inspect", str(hostile.path), "--html", str(tmp_path / "page.html")])

    assert "No space left on device" in str(result.exception)
    assert "old" == (tmp_path / "page.html").read_text()


@pytest.mark.slow
def test_a_browser_shows_the_drawing_and_runs_nothing(hostile: Bundle, tmp_path: Path) -> None:
    """Opened in Chromium: the title is the bundle's, the drawing has its boxes, nothing came to life."""
    page = tmp_path / "page.html"
    page.write_text(render_bundle_page(collect_bundle_facts(hostile)), encoding="utf-8")

    command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--dump-dom"]
    shown = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=1800, check=False)
    if shown.returncode:
        pytest.skip(f"Chromium does not start here: {shown.stderr[-200:]}")

    tags = _Tags(shown.stdout)
    assert "<title>edgeexit · b&lt;i&gt;.eexit</title>" in shown.stdout
    assert {"script", "img"}.isdisjoint(tags.seen)
    assert 2 * 4 == shown.stdout.count('rx="10"')
    assert 2 * 4 == tags.seen["circle"]


@pytest.mark.slow
def test_the_drawing_fits_its_window(hostile: Bundle, timed: Bundle, tmp_path: Path) -> None:
    """On a phone and on a desk: no texts overlap, none leaves the drawing, the page does not scroll sideways."""
    pages = {
        name: render_bundle_page(collect_bundle_facts(bundle))
        for name, bundle in (("hostile", hostile), ("timed", timed))
    }

    assert {(name, width): [] for name in pages for width in WIDTHS} == layout_faults(pages, tmp_path)


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Eight exits, timed by hand on one device."""
    folder = tmp_path_factory.mktemp("timed")
    bundle = edgeexit.compile(chain(folder / "chain.onnx", exits=8), folder / "chain.eexit", seconds=0)
    times = tuple(k * 1e-4 for k in range(1, 9))
    timing = ModeTiming(times, times, "staged", "2026-01-01T00:00:00+00:00", 6.5e-4)
    return Bundle(bundle.path, replace(bundle.manifest, timings={"some-cpu/onnxruntime-float32-t1": timing}))


def test_the_time_of_the_backbone_is_a_line_through_the_bars(timed: Bundle) -> None:
    """Where a device was timed, bars are times, and leaving late is seen to take longer than the network without exits."""
    facts = collect_bundle_facts(timed)

    drawn = draw_bundle(facts)

    assert ">backbone 650 µs</text>" in drawn
    assert "800 µs to leave here · 123 % of the backbone" in drawn
    assert "backbone" not in draw_bundle(replace(facts, timings={}))


def test_a_bundle_whose_calibrations_are_not_active_says_so(timed: Bundle) -> None:
    """They are kept, and can be looked at and used; a bundle without any says how to make one."""
    facts = replace(collect_bundle_facts(timed), kept=2)

    assert "2 calibrations kept" in explain_missing_calibration(facts)
    assert "2 calibrations kept" in render_bundle_page(facts)
    assert "edgeexit calibrate " in explain_missing_calibration(replace(facts, kept=0))
