"""A process that forks while bundles are open: the child gets answers or a clear error, and never waits for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import edgeexit
from edgeexit.backends import find_backend
from edgeexit.errors import InputError
from edgeexit.runtime import CalibrationWarning, Runner
from tests.networks import images

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*fork.*:DeprecationWarning"
)  # Python 3.12 warns of every fork beside a thread


@pytest.fixture
def backend() -> str:
    """Which one; a test may name others."""
    return "onnxruntime"


@pytest.fixture
def opened(compiled: Path, backend: str) -> Iterator[Runner]:
    """The bundle on that backend."""
    pytest.importorskip({"mnn": "MNN"}.get(backend, backend))
    with pytest.warns(CalibrationWarning):
        runner = edgeexit.load(compiled, backend=backend, mode="staged")
    with runner:
        if backend == "mnn":  # its stages are converted by processes, which takes longer than a child is given here
            find_backend(backend).open_batch(runner.bundle, runner.settings)
        yield runner


def in_child(work: Callable[[], object]) -> int:
    """How a forked child ends that does this: 0 well, 2 with an InputError, 9 where it had to be killed, 1 otherwise."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except InputError:
            code = 2
        finally:
            os._exit(code)
    end = time.monotonic() + 300  # a child that hangs does so for ever
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 9


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "mnn"])
def test_a_child_answers_while_other_threads_of_its_parent_run_the_same_bundle(opened: Runner) -> None:
    """The runner itself, a clone of it and its backbone are called without a pause when the process forks."""
    x, stop = images(1), threading.Event()
    expected = opened(x).label
    with opened.clone() as clone, opened.backbone() as backbone:
        runs: list[Callable[[NDArray[np.float32]], edgeexit.Prediction]] = [opened, clone, backbone]

        def work(run: Callable[[NDArray[np.float32]], object]) -> None:
            while not stop.is_set():
                run(x)

        def check() -> None:
            assert [expected] * 3 == [run(x).label for run in runs]
            assert expected == opened.batch(x)[0].label

        threads = [threading.Thread(target=work, args=(run,)) for run in runs]
        for thread in threads:
            thread.start()
        try:
            ends = [in_child(check) for _ in range(5)]
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    assert [0] * 5 == ends


def test_a_runner_that_is_in_the_middle_of_a_long_call_is_refused_in_the_child(opened: Runner) -> None:
    """A calibration in another thread; the parent goes on undisturbed, and other runners work in the child."""
    begun, finish = threading.Event(), threading.Event()

    def progress(*_: object) -> None:
        begun.set()
        finish.wait()

    def check() -> None:
        with pytest.raises(InputError, match="another thread was running it"):
            opened(images(1))
        opened.close()
        idle(images(1))

    thread = threading.Thread(target=lambda: opened.replay(images(2), progress))
    with opened.clone() as idle:
        thread.start()
        begun.wait()
        ended = in_child(check)
        finish.set()
        thread.join()

    assert 0 == ended
    assert opened(images(1)).exit


def test_a_fork_from_inside_a_call_does_not_wait_for_that_call(opened: Runner) -> None:
    """A progress callback that starts a process is in the thread that holds the runner."""
    ends: list[int] = []
    opened.replay(images(1), lambda *_: ends.append(in_child(lambda: None)))

    assert ends
    assert {0} == set(ends)


def test_engines_that_do_not_work_in_a_child_are_refused_there(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA's, which would fail somewhere inside."""
    monkeypatch.setattr("edgeexit.backends.base.Program.survives_fork", False)
    with pytest.warns(CalibrationWarning):
        runner = edgeexit.load(compiled)
    with runner:
        assert 2 == in_child(lambda: runner(images(1)))
        assert runner(images(1)).exit


_DAEMONS = """
import sys, threading, time, warnings
warnings.simplefilter("ignore")
import edgeexit
from edgeexit.backends.example_inputs import make_random_inputs
runner = edgeexit.load(sys.argv[1], mode="staged")
x = make_random_inputs(runner.bundle.manifest.inputs, 0)
def work(one):
    while True:
        one(x)
for one in (runner, runner.clone(), runner.clone()):
    threading.Thread(target=work, args=(one,), daemon=True).start()
time.sleep(0.2)
"""


def test_a_process_ends_well_while_daemon_threads_run_the_network(compiled: Path) -> None:
    """Python ends such threads as they come back from the engine, which would abort the process."""
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", _DAEMONS, str(compiled)], capture_output=True, text=True, check=False
        )
        assert (0, "") == (done.returncode, done.stderr)
