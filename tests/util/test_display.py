"""What a prompt and a notebook show of bundles, runners, benchmarks and calibrations."""

from __future__ import annotations

import sys
from dataclasses import replace
from html.parser import HTMLParser
from types import ModuleType, SimpleNamespace

import pytest

from edgeexit.bundle import Bundle
from edgeexit.runtime import Runner
from edgeexit.util.display import Summarised
from edgeexit.util.progress import count_on_one_line, show_in_notebooks
from tests.report.made import made_calibration, made_result


@pytest.fixture(params=["bundle", "runner", "benchmark", "calibration"])
def value(request: pytest.FixtureRequest, compiled: object) -> Summarised:
    """One of each kind."""
    if request.param == "runner":
        runner: Runner = request.getfixturevalue("runner_of_tests")
        return runner
    if request.param == "bundle":
        return Bundle.open(str(compiled))
    return made_result(3) if request.param == "benchmark" else made_calibration(3)


@pytest.fixture
def runner_of_tests(compiled: object) -> Runner:
    """A staged runner with thresholds."""
    from tests.support.measured import open_bundle

    return open_bundle(Bundle.open(str(compiled)).path, [1.197, 1.18], "staged")


def test_a_value_is_one_line_at_a_prompt(value: Summarised) -> None:
    """With its class and what matters most; never all of its fields."""
    shown = repr(value)

    assert shown.startswith(f"<{type(value).__name__} ")
    assert "\n" not in shown
    assert len(shown) < 250


def test_a_value_is_a_table_in_a_notebook(value: Summarised) -> None:
    """Well formed, and each fact a row with a name and a value."""
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(value._repr_html_())

    assert "table" == tags[0]
    assert tags.count("tr") == tags.count("th") == tags.count("td") >= 5


def test_a_benchmark_shows_its_verdict_and_intervals() -> None:
    """The line says faster or slower; the table has the intervals of latency and accuracy."""
    result = made_result(3)

    assert result.latency.against_backbone.verdict in repr(result)
    assert 2 <= result._repr_html_().count(" … ")


def test_names_from_files_are_no_markup_in_a_notebook() -> None:
    """A bundle of any name is text."""
    result = made_result(3)
    hostile = replace(result, subject=replace(result.subject, bundle="<script>alert(1)</script>"))

    assert "<script>" not in hostile._repr_html_()


def test_progress_is_shown_in_a_notebook_and_nowhere_else(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Jupyter kernel is recognised by its shell, which is simulated here."""
    show_in_notebooks("timing", 1, 2)
    assert "" == capsys.readouterr().out
    ipython = ModuleType("IPython")
    shell = type("ZMQInteractiveShell", (SimpleNamespace,), {})()
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    show_in_notebooks("timing", 1, 2)
    assert "timing: 50 %" in capsys.readouterr().out


def test_the_counting_line_is_written_a_hundred_times_at_most(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the number of units; the last one ends the line."""
    for done in range(10_001):
        count_on_one_line("accuracy", done, 10_000)

    written = capsys.readouterr().out
    assert 101 == written.count("\r")
    assert written.endswith("\n")
