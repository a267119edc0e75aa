"""Progress of long work on stderr: one line for every step, the current one with a spinner and the time left.

Steps may be reported again (a second round of processes): that is a new line, so that the last line is always the one that moves.
Without a terminal nothing is shown, unless -v asks for one plain line a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import typer

from edgeexit.cli.common import VERBOSITY
from edgeexit.util.progress import Progress, show_nothing
from edgeexit.util.units import duration

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import ProgressColumn, Task, TaskID

_REFRESH_HZ = 4.0  # the drawing shares this process with what may be timed in it
_OVERALL = "in all"


@contextmanager
def open_progress_display(about_s: float | None = None) -> Iterator[Progress]:
    """A progress display on stderr.

    Args:
        about_s: how long all steps together will take, in seconds, where that is known: shown as a line of its own.
    """
    from edgeexit.cli.printing import make_console

    shown = make_console(err=True)
    if VERBOSITY.get() < 0:
        yield show_nothing
    elif shown.is_terminal and shown.file.isatty():
        with _make_bars(about_s) as bars:
            yield _Rows(bars).advance
    else:
        yield _Lines(time.monotonic()).advance if VERBOSITY.get() > 0 else show_nothing


def _make_bars(about_s: float | None) -> Bars:
    from rich.progress import BarColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bars

    from edgeexit.cli.printing import make_console

    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=12),
        _make_column(_count_text),
        _make_column(_format_time),
    )
    bars = Bars(*columns, console=make_console(err=True), transient=True, refresh_per_second=_REFRESH_HZ)
    if about_s is not None:
        bars.add_task(_OVERALL, total=None, about_s=about_s)
    return bars


def _make_column(text_of: Callable[[Task], str]) -> ProgressColumn:
    from rich.progress import ProgressColumn
    from rich.text import Text

    class Column(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(text_of(task))

    return Column()


def _count_text(task: Task) -> str:
    """`3/5`; nothing for all steps together, which have no count."""
    return "" if task.total is None else f"{task.completed:,.0f}/{task.total:,.0f}"


def _format_time(task: Task) -> str:
    """Elapsed or remaining time of a step, as far as it is known."""
    if task.finished_time is not None:
        return duration(task.finished_time)
    elapsed_s, about_s = task.elapsed or 0.0, task.fields.get("about_s")
    left_s = task.time_remaining if about_s is None else about_s - elapsed_s
    if left_s is None:
        return duration(elapsed_s)
    return f"about {duration(left_s)} left" if left_s > 0 else f"{duration(elapsed_s)}, almost done"


@dataclass
class _Rows:
    """The lines of a display; a step that was done and starts again gets a new one."""

    bars: Bars
    tasks: dict[str, TaskID] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)

    def advance(self, what: str, done: int, total: int) -> None:
        """Watch one step."""
        if what not in self.tasks or done < self.done[what]:
            self.tasks[what] = self.bars.add_task(what, total=total)
        self.done[what] = done
        self.bars.update(self.tasks[what], completed=done, total=total)


@dataclass
class _Lines:
    """One plain line when a step starts and one when it is done."""

    start_s: float
    running: set[str] = field(default_factory=set)
    write: Callable[[str], None] = lambda text: typer.echo(text, err=True)

    def advance(self, what: str, done: int, total: int) -> None:
        """Watch one step."""
        if what not in self.running:
            self.running.add(what)
            self._write_line(f"{what} ...")
        if done >= total:
            self.running.discard(what)
            self._write_line(f"{what}: done ({total})")

    def _write_line(self, text: str) -> None:
        self.write(f"[{duration(time.monotonic() - self.start_s)}] {text}")


@contextmanager
def show_build_progress() -> Iterator[None]:
    """A progress display for what opening a bundle may have to build first, such as engines of TensorRT: that takes minutes."""
    from edgeexit.backends.build_progress import report_builds_to

    with open_progress_display() as progress, report_builds_to(progress):
        yield
