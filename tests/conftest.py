"""What every test may use: a small model, and a bundle of it compiled once."""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import hypothesis
import pytest

import edgeexit
from edgeexit.runtime import CalibrationWarning, Runner
from tests.networks import chain
from tests.support.brief_defaults import build_commands_once, shorten_defaults
from tests.support.exporter_tables import share_exporter_tables
from tests.support.measured import balanced, result, samples, suites  # noqa: F401 - fixtures

# A job in the background ignores Ctrl-C, one under nohup SIGHUP, and so would all its children, which the tests of signals start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# As many processes as cores run at once: with more threads in each, they only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No example is timed: on a busy machine any of them may take long. Where a failure must be one of the change and not of the day (CI), the
# same examples are drawn each time. An emulated board (tests/aarch64) is slow and gets few of them.
hypothesis.settings.register_profile("edgeexit", deadline=None, max_examples=50)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
hypothesis.settings.register_profile("emulated", deadline=None, max_examples=4, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "edgeexit")


@pytest.fixture(scope="session", autouse=True)
def brief_defaults() -> Iterator[None]:
    """No test waits for what a user asks for by default: seconds of timing, forty searched budgets."""
    with pytest.MonkeyPatch.context() as patch:
        shorten_defaults(patch)
        build_commands_once(patch)
        yield


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A three-exit ONNX model."""
    return chain(tmp_path_factory.mktemp("model") / "chain.onnx", exits=3)


@pytest.fixture(scope="session")
def compiled(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of it; not to be changed."""
    path = tmp_path_factory.mktemp("compiled") / "chain.eexit"
    edgeexit.compile(model, path, seconds=0)
    return path


@pytest.fixture
def bundle_path(compiled: Path, tmp_path: Path) -> Path:
    """A bundle of one's own, to change and to damage."""
    return Path(shutil.copytree(compiled, tmp_path / "chain.eexit"))


@pytest.fixture(params=["staged", "fused"])
def runner(compiled: Path, request: pytest.FixtureRequest) -> Runner:
    """The bundle opened in each mode, with thresholds that let some samples leave at each exit."""
    with pytest.warns(CalibrationWarning):
        runner = edgeexit.load(compiled, mode=request.param)
    runner.thresholds = [1.197, 1.18]
    return runner


SLOW_FOLDERS = ("adoption", "docs", "examples", "exporter", "fuzz", "nets", "papers", "training")
"""Heads on torch networks, code of the documentation, other languages, exports from torch, random damage, experiments, training."""
SLOW_FILES = (
    "backends/test_mnn.py",  # converts networks, in processes of their own
    "calibration/test_simulated_devices.py",  # twelve calibrations
    "calibration/solver/test_many_exits.py",  # searches with up to 32 exits
    "cli/test_completion.py",  # starts shells
    "cli/test_interruption.py",  # waits for processes to be interrupted
    "cli/test_train_and_export.py",
    "cli/test_train_own_network.py",
    "conformance/test_doctor.py",  # compiles and times the networks of the suite
    "conformance/test_suite.py",
    "compiler/test_mode_timing.py",  # times in processes of their own
    "graph/test_same_answers.py",  # random networks, each compiled
    "measure/cache/test_simulation.py",  # valgrind
    "measure/test_benchmark_scripts.py",
    "measure/test_processes.py",  # starts processes
    "measure/test_protocol.py",  # measures in processes of their own
    "report/test_layout.py",  # opens a browser
    "runtime/test_forking.py",
    "test_packaging.py",  # builds the wheel
    "test_schemas.py",  # of documents that are defined beside torch
    "tuning/test_tune.py",  # compiles, calibrates and times several candidates
)
FIRST = ("docs", "papers", "tuning", "training/test_processes.py", "test_packaging.py")
"""The longest tests, and those that share what takes long to make: begun last, they would leave a core idle at the end, and what is stolen
from the end of a queue would make its fixtures anew."""
SLOW_FIXTURES = ("result", "full", "wheel")
"""A measured result takes processes of its own."""
NEEDS_TORCH = re.compile(r'^(import torch|from torch|pytest\.importorskip\("torch"\))', re.MULTILINE)
"""A whole file does: each process that runs tests would import it, which takes as long as a hundred of them."""


@cache
def is_slow_file(path: Path) -> bool:
    """Whether all tests of a file train, export, measure in other processes, or need a tool that takes seconds to start."""
    place = path.relative_to(Path(__file__).parent)
    named = place.parts[0] in SLOW_FOLDERS or place.as_posix() in SLOW_FILES
    return named or bool(NEEDS_TORCH.search(path.read_text(encoding="utf-8")))


def is_run_first(item: pytest.Item) -> bool:
    """Whether a test stands in one of the longest files or folders."""
    place = item.path.relative_to(Path(__file__).parent)
    return place.parts[0] in FIRST or place.as_posix() in FIRST


def is_slow(item: pytest.Item) -> bool:
    """Whether a test is in such a file, or needs a measured result."""
    return is_slow_file(item.path) or bool(set(SLOW_FIXTURES) & set(getattr(item, "fixturenames", ())))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Without the slow tests, not even import their files; for the serial ones alone, none but theirs."""
    if collection_path.suffix != ".py":
        return None
    if config.option.markexpr == "serial":
        return "mark.serial" not in collection_path.read_text(encoding="utf-8") or None
    return ("not slow" in config.option.markexpr and is_slow_file(collection_path)) or None


def pytest_collection_finish() -> None:
    """Where a test file has imported torch, exports share what is the same in all of them."""
    if "torch" in sys.modules:
        share_exporter_tables(pytest.MonkeyPatch())
    spare_what_is_alive()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """What a test leaves behind, such as modules that it was the first to import, is of no interest to those after it."""
    spare_what_is_alive()


def spare_what_is_alive() -> None:
    """Whatever is alive now stays so: no later garbage collection, of which each timing starts with one, looks at it again."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests, begin with the longest; refuse those whose docstring does not state the rule that they prove."""
    items.sort(key=is_run_first, reverse=True)
    for item in items:
        if is_slow(item):
            item.add_marker("slow")
    bare = {item.nodeid.split("[")[0] for item in items if not getattr(getattr(item, "obj", None), "__doc__", None)}
    if bare:
        msg = "these tests have no docstring that states their rule: " + ", ".join(sorted(bare))
        raise pytest.UsageError(msg)
