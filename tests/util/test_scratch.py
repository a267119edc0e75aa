"""Temporary folders and measuring processes do not stay behind, however the process that made them ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from edgeexit.util import scratch
from edgeexit.util.child_processes import make_child_command
from edgeexit.util.scratch import make_scratch_folder, remove_own, remove_stale

HOLDING = """
import signal, sys, time
from pathlib import Path
from edgeexit.util.scratch import make_scratch_folder
signal.signal(signal.SIGINT, signal.default_int_handler)
with make_scratch_folder(Path(sys.argv[1])) as outer, make_scratch_folder(Path(sys.argv[1])) as inner:
    (outer / "weights").write_bytes(b"x"), (inner / "weights").write_bytes(b"x")
    print("ready", flush=True)
    time.sleep(60)
"""


def holder(place: Path) -> subprocess.Popen[str]:
    """A process that holds two scratch folders in `place`."""
    command = [sys.executable, "-c", HOLDING, str(place)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert "ready\n" == process.stdout.readline()
    return process


def end(process: subprocess.Popen[str], number: int) -> int:
    """Send it a signal; how it ended."""
    process.send_signal(number)
    process.communicate(timeout=600)
    return process.returncode


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_ends_a_process_removes_its_folders(tmp_path: Path, number: int) -> None:
    """And the process has ended by that signal, as its parent sees."""
    assert -number == end(holder(tmp_path), number)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    """Nothing runs in a process that SIGKILL ends."""
    end(holder(tmp_path), signal.SIGKILL)
    assert 2 == len(list(tmp_path.iterdir()))

    with make_scratch_folder(tmp_path) as mine:
        assert [mine] == list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_next_command_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    """Also one that needs no temporary files itself."""
    end(holder(tmp_path), signal.SIGKILL)
    words = [sys.executable, "-m", "edgeexit", "devices"]
    subprocess.run(words, stdout=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(tmp_path)}, check=True)

    assert [] == list(tmp_path.iterdir())


def test_a_command_needs_no_place_for_temporary_files_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk must not keep anybody from looking at a bundle."""

    def find_no_place() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", find_no_place)

    remove_stale()


@pytest.mark.slow
def test_folders_of_a_live_process_are_left_alone(tmp_path: Path) -> None:
    """And those of this process."""
    other = holder(tmp_path)
    with make_scratch_folder(tmp_path) as mine:
        remove_stale(tmp_path)
        assert 3 == len(list(tmp_path.iterdir()))
        assert mine.is_dir()
    end(other, signal.SIGTERM)


def test_only_scratch_folders_are_removed(tmp_path: Path) -> None:
    """Neither files nor links of such names, nor folders of the user's."""
    (tmp_path / "target").mkdir()
    (tmp_path / "edgeexit-in-use-link").symlink_to(tmp_path / "target")
    (tmp_path / "edgeexit-in-use-file").write_text("")
    (tmp_path / "edgeexit-results").mkdir()
    before = sorted(tmp_path.iterdir())
    remove_stale(tmp_path)

    assert before == sorted(tmp_path.iterdir())


def test_a_folder_that_is_just_being_made_is_left_alone(tmp_path: Path) -> None:
    """Its process has had no time to lock it; after an hour it has none."""
    made = tmp_path / "edgeexit-new-abcdefgh"
    made.mkdir()
    remove_stale(tmp_path)
    assert made.exists()

    os.utime(made, (0, 0))
    remove_stale(tmp_path)
    assert not made.exists()


def test_a_forked_child_leaves_the_folder_to_its_parent(tmp_path: Path) -> None:
    """It runs the same code to its end."""
    with ExitStack() as stack:
        folder = stack.enter_context(make_scratch_folder(tmp_path))
        child = os.fork()
        if child == 0:
            stack.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert folder.is_dir()


def test_handlers_of_others_are_kept_and_the_default_comes_back(tmp_path: Path) -> None:
    """A server that handles SIGTERM itself still does while a bundle is opened."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with make_scratch_folder(tmp_path):
            assert signal.SIG_IGN is signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with make_scratch_folder(tmp_path):
            assert callable(signal.getsignal(signal.SIGTERM))
        assert signal.SIG_DFL is signal.getsignal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_any_thread_may_make_a_folder(tmp_path: Path) -> None:
    """Only the main thread may handle signals."""
    seen: list[bool] = []

    def work() -> None:
        with make_scratch_folder(tmp_path) as folder:
            seen.append(folder.is_dir())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert [True] == seen
    assert [] == list(tmp_path.iterdir())


_CHILD = (
    "import os, time; from edgeexit.util.child_processes import end_with_parent; {before}; end_with_parent(parent); "
    "print(os.getpid(), flush=True); time.sleep(60)"
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel has no such service")
def test_a_measuring_process_ends_with_a_parent_that_is_killed() -> None:
    """Nothing runs in the parent then, so the kernel must do it."""
    code = (
        "import subprocess, sys, time; from edgeexit.util.child_processes import make_child_command; "
        "subprocess.Popen(make_child_command(sys.argv[1])); time.sleep(60)"
    )
    child = _CHILD.format(before="pass")
    parent = subprocess.Popen([sys.executable, "-c", code, child], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    number = int(parent.stdout.readline())
    parent.kill()
    rest, _ = parent.communicate()  # its end comes when the child, too, has closed stdout

    assert "" == rest
    assert not _runs(number)


@pytest.mark.slow
def test_a_measuring_process_whose_parent_has_ended_already_does_nothing() -> None:
    """It was still importing when its parent was killed."""
    command = make_child_command(_CHILD.format(before="parent = 1 if os.getppid() != 1 else 2"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (1, "") == (done.returncode, done.stdout)


def _runs(number: int) -> bool:
    for _ in range(100):
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        time.sleep(0.05)
    return True


def interrupted_at(line: int, place: Path) -> bool:
    """Make and leave a scratch folder, with Ctrl-C before the given line of the module is run; whether there was such a line."""
    count = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        if frame.f_code.co_filename != scratch.__file__:
            return None
        if event == "line":
            count += 1
            if count == line:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with make_scratch_folder(place) as folder:
            (folder / "weights").write_bytes(b"x")
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_an_interruption_at_any_moment_leaves_no_folder_behind_the_end_of_the_process(tmp_path: Path) -> None:
    """Also while one is being made or removed."""
    line = 1
    while interrupted_at(line, tmp_path):
        remove_own()
        assert [] == list(tmp_path.iterdir()), f"interrupted at line {line} that was run"
        line += 1

    assert line > 20


@pytest.mark.slow
def test_a_forked_child_leaves_the_folders_of_its_parent_alone(tmp_path: Path) -> None:
    """However it ends; the parent still uses them."""
    ends = {"exit": "sys.exit(0)", "signal": "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)"}
    for how, code in ends.items():
        script = (
            "import os, signal, sys, time\nfrom pathlib import Path\nfrom edgeexit.util.scratch import make_scratch_folder\n"
            "with make_scratch_folder(Path(sys.argv[1])) as folder:\n child = os.fork()\n if child == 0:\n"
            f"  {code}\n os.waitpid(child, 0)\n assert folder.is_dir()\n"
        )
        made = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert (0, "") == (made.returncode, made.stderr), how
        assert [] == list(tmp_path.iterdir())
