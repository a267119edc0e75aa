"""The TensorRT backend on a simulated GPU: every path keeps the documented contracts and gives everything back, whatever fails.

The simulated GPU runs work only when its stream is waited for, catches memory that is used or freed too early, knows the rules of
captures and conditional bodies, and computes engines with ONNX Runtime. It proves order, lifetime and logic; not that NVIDIA's software
does the same.
"""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeexit.backends import Settings, find_backend
from edgeexit.backends.cuda import Decider, choice
from edgeexit.backends.tensorrt import DeciderWarning, EngineWarning, measured_choices, selfchecks
from edgeexit.backends.tensorrt.device_program import DeviceProgram
from edgeexit.bundle import Bundle
from edgeexit.compiler.exit_rule import DEFAULT
from edgeexit.conformance import run_conformance, suite
from edgeexit.criteria import CRITERIA
from edgeexit.errors import EdgeExitError
from edgeexit.runtime.loading import open_runner
from tests.support.simulated import Gpu, installed

MACHINES = [
    pytest.param({"integrated": True}, "10.3.0", 12, id="jetpack-6"),
    pytest.param({"integrated": True, "driver": 13020}, "10.16.2", 13, id="jetpack-7"),
    pytest.param({"integrated": False}, "10.3.0", 12, id="discrete-10.3"),
    pytest.param({"integrated": False, "driver": 13000}, "11.4.0", 13, id="discrete-11.4"),
]

EVERY_CRITERION = ("10.16.2", "11.4.0")
"""On shared and on separate memory, by the newest TensorRT of each: no call to it depends on the criterion, which is ONNX nodes."""


@pytest.fixture(autouse=True)
def quick_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rounds instead of fifty, and the same choices in every run."""
    monkeypatch.setattr(selfchecks, "_ROUNDS", 2)
    _fix_times(monkeypatch)


def _fix_times(patch: pytest.MonkeyPatch) -> None:
    """Every decider runs to every exit, and all are equally fast: calls come in the same order in every run."""

    def run_all(deciders: Mapping[str, Decider]) -> dict[str, tuple[float, ...]]:
        for decider in deciders.values():
            for exit in range(1, decider.exits + 1):
                decider.run(choice.make_forced_thresholds(decider.exits, exit))
        return {name: (1e-4,) * decider.exits for name, decider in deciders.items()}

    patch.setattr(choice, "time_deciders", run_all)
    patch.setattr(measured_choices, "time_deciders", run_all)


def _clean(gpu: Gpu) -> None:
    if gpu.leaks():
        gc.collect()  # slow, and needed only where an error's frames form a cycle
    assert [] == gpu.violations
    assert [] == gpu.leaks()


@pytest.mark.slow
@pytest.mark.parametrize(("machine", "tensorrt", "bindings"), MACHINES)
@pytest.mark.parametrize("network", ["skips", "heads-feed-heads", "two-inputs"])
def test_the_suite_passes_and_everything_is_given_back(
    machine: dict[str, int], tensorrt: str, bindings: int, network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three ways to decide give the unsplit model's answers, on shared and on separate memory, in every version."""
    if network == suite.CRITERIA_NETWORK and tensorrt not in EVERY_CRITERION:
        monkeypatch.setattr(suite, "CRITERIA", {DEFAULT: CRITERIA[DEFAULT]})
    with installed(Gpu(**machine), tensorrt=tensorrt, bindings=bindings) as gpu:  # type: ignore[arg-type]
        report = run_conformance("tensorrt", networks=[network], samples=10, seconds=0)
    assert () == report.failures
    deciders = [c for c in report.checks if c.name.startswith("decides")]
    assert [True, True, True] == [c.passed for c in deciders]
    _clean(gpu)


def _everything(bundle: Bundle) -> None:
    """Open and use each kind of program once."""
    shapes = {s.name: (2, *s.shape_at_1[1:]) for s in bundle.manifest.inputs}
    xs = {name: np.random.default_rng(0).random(shape, np.float32) for name, shape in shapes.items()}
    x = {name: a[:1] for name, a in xs.items()}
    for mode in ("staged", "fused"):
        with open_runner(bundle, Settings("tensorrt", mode)) as runner:
            runner(x)
            if mode == "staged":
                with runner.clone() as other, runner.backbone() as backbone:
                    other.forced(x, exit=1)
                    backbone(x)
                runner.batch(xs)


@pytest.fixture(scope="module", params=[True, False], ids=["integrated", "discrete"])
def recorded(
    request: pytest.FixtureRequest, bundles: dict[str, Bundle], tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """Every call that can fail, in order, of one run over everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEEXIT_CACHE", str(tmp_path_factory.mktemp("recorded")))
        _fix_times(patch)
        with installed(Gpu(integrated=request.param)) as gpu:
            _everything(bundles["two-inputs"])
    return [str(request.param), *gpu.calls]


def _failing_places(calls: list[str]) -> Iterator[int]:
    """Numbers of calls from 1: of each kind the first and the last."""
    for name in dict.fromkeys(calls):
        places = [i for i, call in enumerate(calls, 1) if call == name]
        yield from {places[0], places[-1]}


@pytest.mark.slow
def test_whatever_call_fails_everything_is_given_back(
    recorded: list[str], bundles: dict[str, Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each failure is one EdgeExitError or a fallback with the same answers; nothing leaks, no rule is broken on the way out."""
    integrated, calls = recorded[0] == "True", recorded[1:]
    outcomes: dict[str, set[str]] = {}
    for number in sorted(_failing_places(calls)):
        monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / str(number)))
        with installed(Gpu(integrated=integrated, fail_at=number)) as gpu, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeciderWarning)
            warnings.simplefilter("ignore", EngineWarning)
            try:
                _everything(bundles["two-inputs"])
                outcome = "went on"
            except EdgeExitError as error:
                outcome = type(error).__name__
                assert str(error).strip().endswith((".", ")", '"')), error
                error.__traceback__ = None
                del error
        _clean(gpu)
        outcomes.setdefault(str(gpu.failed), set()).add(outcome)
    assert "HardwareMissing" in outcomes["cuMemAlloc"]
    assert {"went on"} == outcomes["cuModuleLoadData"]
    assert {"went on"} == outcomes["cuStreamBeginCapture"]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), integrated=st.booleans())
def test_any_call_may_fail(
    bundles: dict[str, Bundle], tmp_path_factory: pytest.TempPathFactory, place: float, integrated: bool
) -> None:
    """The same at places drawn at random."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeciderWarning)
        warnings.simplefilter("ignore", EngineWarning)
        patch.setenv("EDGEEXIT_CACHE", str(tmp_path_factory.mktemp("any")))
        with installed(Gpu(integrated=integrated, fail_at=1 + int(place * 700))) as gpu:
            try:
                _everything(bundles["skips"])
            except EdgeExitError as error:
                error.__traceback__ = None
    _clean(gpu)


def test_closing_twice_gives_back_once(bundles: dict[str, Bundle]) -> None:
    """A second close is nothing."""
    with installed(Gpu()) as gpu:
        program = find_backend("tensorrt").open_staged(bundles["skips"], Settings("tensorrt"))
        program.close()
        program.close()
    _clean(gpu)


def test_a_runner_can_be_closed_on_another_thread(bundles: dict[str, Bundle]) -> None:
    """By itself pycuda would keep the primary context for ever."""
    with installed(Gpu()) as gpu:
        program = find_backend("tensorrt").open_staged(bundles["skips"], Settings("tensorrt"))
        closing = threading.Thread(target=program.close)
        closing.start()
        closing.join()
        del program
    _clean(gpu)


def test_a_clone_outlives_its_original(bundles: dict[str, Bundle]) -> None:
    """Engines are shared, buffers are not: the last one out frees the engines."""
    with installed(Gpu()) as gpu:
        backend = find_backend("tensorrt")
        first = backend.open_fused(bundles["skips"], Settings("tensorrt", "fused"))
        second = first.clone()
        first.close()
        second.inputs["x"][...] = 0.5
        assert 1 == second.run((-np.inf, -np.inf))
        second.close()
    _clean(gpu)


def test_stages_share_one_scratch_memory(bundles: dict[str, Bundle]) -> None:
    """Of the size of the largest; the simulated engines overwrite it at every run."""
    with installed(Gpu()) as gpu:
        checks = find_backend("tensorrt").self_checks(bundles["skips"], Settings("tensorrt"))
    shared = next(c for c in checks if "scratch" in c.name)
    assert shared.values["scratch_bytes"] < shared.values["separate_bytes"]
    _clean(gpu)


def test_a_stage_that_disturbs_an_earlier_one_is_found(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when an engine's output lay in the scratch memory."""
    real = DeviceProgram.__init__

    def disturbing(self: DeviceProgram, *arguments: Any, **options: Any) -> None:
        real(self, *arguments, **options)
        last, score = self.plans[-1], self.results[0].score

        def enqueue(stream: int) -> None:
            last.enqueue(stream)
            score[...] = score + 1

        self.plans[-1] = replace(last, enqueue=enqueue)

    monkeypatch.setattr(DeviceProgram, "__init__", disturbing)
    with installed(Gpu(integrated=True)) as gpu:
        checks = find_backend("tensorrt").self_checks(bundles["skips"], Settings("tensorrt"))
    assert [False] == [c.passed for c in checks if "scratch" in c.name]
    _clean(gpu)


@pytest.mark.slow
def test_the_suite_reports_the_builds_of_engines() -> None:
    """On a board they take most of its time."""
    seen: list[str] = []
    with installed(Gpu()):
        run_conformance(
            "tensorrt",
            networks=["skips"],
            samples=4,
            seconds=0,
            progress=lambda what, _done, _total: seen.append(what),
        )
    assert "building stage 2: Building" in seen


def test_nothing_is_copied_on_integrated_gpus(bundles: dict[str, Bundle]) -> None:
    """Inputs and results lie in mapped memory."""
    with installed(Gpu(integrated=True)) as gpu, open_runner(bundles["skips"], Settings("tensorrt")) as runner:
        gpu.calls.clear()
        runner.forced(np.zeros((1, 3, 12, 12), np.float32), exit=2)
    copies = [call for call in gpu.calls if "Memcpy" in call]
    assert [] == copies


def test_one_small_copy_per_stage_taken_on_discrete_gpus(bundles: dict[str, Bundle]) -> None:
    """The input in, and of each stage taken its results out; features stay where they are."""
    with installed(Gpu(integrated=False)) as gpu, open_runner(bundles["skips"], Settings("tensorrt")) as runner:
        program = runner._program
        gpu.calls.clear()
        for plan in program._held.bound.plans[:2]:  # type: ignore[attr-defined]
            with program._held.device.active("testing"):  # type: ignore[attr-defined]
                plan.enqueue(program._held.bound.stream.handle)  # type: ignore[attr-defined]
                program._held.bound.stream.synchronize()  # type: ignore[attr-defined]
    copies = [call for call in gpu.calls if "Memcpy" in call]
    assert ["cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuMemcpyDtoHAsync"] == copies


def test_new_thresholds_capture_nothing_again(bundles: dict[str, Bundle]) -> None:
    """They lie in the GPU's memory: one copy, no capture, no instantiation."""
    with installed(Gpu()) as gpu, open_runner(bundles["skips"], Settings("tensorrt", "fused")) as runner:
        x = np.full((1, 3, 12, 12), 0.5, np.float32)
        gpu.calls.clear()
        exits = []
        for thresholds in ((np.inf, np.inf), (-np.inf, np.inf), (np.inf, -np.inf)):
            runner.inner_thresholds = thresholds
            exits.append(runner(x).exit)
    assert [3, 1, 2] == exits
    assert not [c for c in gpu.calls if "Capture" in c or "Instantiate" in c or "AddNode" in c]
    assert 3 == gpu.calls.count("cuGraphLaunch")


def test_the_device_decides_with_one_wait(bundles: dict[str, Bundle]) -> None:
    """However many stages run."""
    with installed(Gpu(integrated=True)) as gpu, open_runner(bundles["skips"], Settings("tensorrt", "fused")) as runner:
        x = np.full((1, 3, 12, 12), 0.5, np.float32)
        runner(x)
        gpu.calls.clear()
        runner(x)
        calls = list(gpu.calls)
    assert ["cuGraphLaunch", "cuStreamSynchronize"] == calls
