"""Progress on a terminal never looks as if nothing happened, and is silent where nobody looks."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from edgeexit.cli.common import VERBOSITY
from edgeexit.cli.progress import _make_bars, _Rows, open_progress_display


@pytest.fixture
def bars() -> Bars:
    """A display of 80 columns that is drawn into memory."""
    display = _make_bars(about_s=30.0)
    display.live.console = Console(file=io.StringIO(), force_terminal=True, width=80)
    return display


def test_a_step_that_is_done_again_is_a_new_line_at_the_end(bars: Bars) -> None:
    """The last line is the one that moves, and what was done stays as it was."""
    rows = _Rows(bars)
    for what, done, total in [("timing", 0, 3), ("timing", 3, 3), ("searching", 1, 1), ("timing", 0, 5)]:
        rows.advance(what, done, total)

    shown = [(task.description, task.completed, task.total) for task in bars.tasks[1:]]
    assert [("timing", 3, 3), ("searching", 1, 1), ("timing", 0, 5)] == shown


def test_every_line_fits_and_says_how_long_it_takes(bars: Bars) -> None:
    """All steps together by what was announced, each step as far as it is known."""
    rows = _Rows(bars)
    rows.advance("running the chosen policy, round 1", 12_345, 100_000)

    console = Console(file=io.StringIO(), width=80)
    console.print(bars.get_renderable())
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert all(len(line) <= 80 for line in lines)
    assert "about 30 s left" in lines[0]
    assert "running the chosen policy, round 1" in lines[1]
    assert "12,345/100,000" in lines[1]


def test_a_pipe_sees_progress_only_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    """With --verbose one plain line when a step starts and one when it is done."""
    for level, expected in ((-1, []), (0, []), (1, ["[0 s] verifying ...", "[0 s] verifying: done (2)"])):
        token = VERBOSITY.set(level)
        try:
            with open_progress_display() as progress:
                for done in range(3):
                    progress("verifying", done, 2)
        finally:
            VERBOSITY.reset(token)

        assert expected == capsys.readouterr().err.splitlines()
