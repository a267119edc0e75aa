"""A stream per program, what is measured once, and CUDA by either of its Python packages. On a simulated GPU."""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from edgeexit.backends import Settings, find_backend
from edgeexit.backends.cuda import Decider, choice
from edgeexit.backends.tensorrt import engines, measured_choices
from edgeexit.backends.tensorrt.messages import ErrorLog
from edgeexit.backends.tensorrt.programs import TensorRtFused
from edgeexit.bundle import Bundle
from edgeexit.runtime.loading import open_runner
from tests.support.simulated import Gpu, installed

STAGED = Settings("tensorrt")
X = np.full((1, 3, 12, 12), 0.5, np.float32)


@pytest.mark.parametrize("mode", ["staged", "fused"])
def test_a_clone_is_made_while_its_original_has_work_in_flight(bundles: dict[str, Bundle], mode: str) -> None:
    """Its captures and its first runs are on a stream of its own, and touch no memory of the original."""
    with installed(Gpu()) as gpu:
        first = find_backend("tensorrt")
        program = getattr(first, f"open_{mode}")(bundles["skips"], Settings("tensorrt", mode))
        bound = program._held.bound
        with program._held.device.active("testing"):
            for plan in bound.plans:
                plan.enqueue(bound.stream.handle)
        in_flight = len(gpu.stream(bound.stream.handle).pending)
        clone = program.clone()
        assert in_flight == len(gpu.stream(bound.stream.handle).pending)
        assert bound.stream.handle != clone._held.bound.stream.handle
        with program._held.device.active("testing"):
            bound.stream.synchronize()
        program.close()
        clone.close()
    assert ([], []) == (gpu.violations, gpu.leaks())


@pytest.mark.parametrize("integrated", [True, False])
def test_without_pycuda_cuda_python_makes_every_call(bundles: dict[str, Bundle], integrated: bool) -> None:
    """All three ways to decide leave at the same exits, everything is given back, and versions name what is there."""
    with installed(Gpu(integrated=integrated), bindings=13 if integrated else 12, with_pycuda=False) as gpu:
        backend = find_backend("tensorrt")
        assert {"tensorrt", "cuda-bindings"} == set(backend.versions())
        checks = backend.self_checks(bundles["skips"], STAGED)
        with open_runner(bundles["skips"], STAGED) as runner:
            assert [1, 2, 3] == [runner.forced(X, exit=exit).exit for exit in (1, 2, 3)]
    assert [True] * 4 == [c.passed for c in checks if c.passed is not None]
    if gpu.leaks():
        gc.collect()
    assert ([], []) == (gpu.violations, gpu.leaks())


@pytest.mark.parametrize("place", range(3, 60, 9))
def test_without_pycuda_too_whatever_fails_is_given_back(bundles: dict[str, Bundle], place: int) -> None:
    """One EdgeExitError, or a fallback."""
    with installed(Gpu(integrated=True, fail_at=place), with_pycuda=False) as gpu:
        try:
            with open_runner(bundles["skips"], STAGED) as runner:
                runner(X)
        except Exception as error:  # of whatever kind: the simulated GPU checks the rules
            assert "edgeexit.errors" == type(error).__module__
            error.__traceback__ = None
    gc.collect()
    assert ([], []) == (gpu.violations, gpu.leaks())


class Scripted(Decider):
    """Notes when it runs."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self.exits = 2
        self._seen, self._says = seen, name

    def run(self, thresholds: Sequence[float]) -> int:
        exit = 1 if thresholds[0] < 0 else 2
        self._seen.append(f"{self._says}{exit}")
        return exit


def test_deciders_are_timed_in_turn_after_the_clock_is_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that none is timed on a slower clock than another; every round begins with the next one."""
    monkeypatch.setattr(choice, "ROUNDS", 3)
    monkeypatch.setattr(choice, "WARM_S", 0.0)
    seen: list[str] = []
    times = choice.time_deciders({"a": Scripted("a", seen), "b": Scripted("b", seen)})
    once = ["a1", "a2", "b1", "b2"]
    assert [*once, *once, *once[1:], *once[:1], *once[2:], *once[:2]] == seen
    assert {"a": 2, "b": 2} == {name: len(medians) for name, medians in times.items()}


def test_the_choice_is_measured_anew_in_another_power_mode(
    bundles: dict[str, Bundle], engine_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sets the clocks; which one it was stands beside the times, with the clocks."""
    modes = ["15W (0)"]
    counted: list[str] = []
    real = choice.time_deciders

    def count(deciders: Mapping[str, Decider]) -> dict[str, tuple[float, ...]]:
        counted.append(modes[-1])
        return real(deciders)

    monkeypatch.setattr(choice, "time_deciders", count)
    monkeypatch.setattr(engines, "read_power_mode", lambda _root: modes[-1])
    for mode in ("15W (0)", "15W (0)", "MAXN (2)"):
        modes.append(mode)
        with installed(Gpu()):
            find_backend("tensorrt").open_staged(bundles["skips"], STAGED).close()
    assert ["15W (0)", "MAXN (2)"] == counted
    (file,) = engine_cache.rglob("*.choice")
    document = json.loads(file.read_text())
    assert "MAXN (2)" == document["power_mode"]
    assert isinstance(document["clocks_hz"], dict)


@pytest.mark.parametrize(("copied_s", "copies"), [(0.9e-4, True), (0.99e-4, False), (1.2e-4, False)])
def test_inputs_lie_where_the_gpu_of_a_board_reads_them_faster(
    bundles: dict[str, Bundle], engine_cache: Path, monkeypatch: pytest.MonkeyPatch, copied_s: float, copies: bool
) -> None:
    """Mapped or copied: boards differ in whether the GPU caches mapped memory. Measured once, and kept."""
    times = {"mapped": (1e-4,), "copied": (copied_s,)}
    monkeypatch.setattr(measured_choices, "time_input_memories", lambda *_: times)
    for _ in range(2):
        with installed(Gpu(integrated=True)) as gpu, open_runner(bundles["skips"], STAGED) as runner:
            gpu.calls.clear()
            runner(X)
        assert copies == runner._program._held.bound._copy_inputs  # type: ignore[attr-defined]
        monkeypatch.setattr(measured_choices, "time_input_memories", lambda *_: pytest.fail("measured again"))
    (file,) = engine_cache.rglob("*.inputs")
    assert {"mapped": [1e-4], "copied": [copied_s]} == json.loads(file.read_text())["median_s"]


def test_both_places_of_inputs_give_the_same_answers(bundles: dict[str, Bundle]) -> None:
    """The self-checks of a board time both."""
    with installed(Gpu(integrated=True)) as gpu:
        checks = find_backend("tensorrt").self_checks(bundles["skips"], STAGED)
    (found,) = [c for c in checks if c.name == "inputs lie in"]
    assert {"mapped_1_s", "copied_3_s"} < set(found.values)
    assert [] == gpu.leaks()


def test_there_is_one_logger_in_a_process(bundles: dict[str, Bundle]) -> None:
    """TensorRT keeps the first it is given: a second would never hear anything, and the first must not be freed."""
    with installed(Gpu()):
        first = ErrorLog()
        first.errors.append("of an earlier build")
        second = ErrorLog()
        assert first.logger is second.logger
        assert "no reason given" == second.last


def test_a_dla_engine_is_opened_on_the_core_that_it_was_built_for(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runtime says on which core an engine runs (IRuntime::setDLACore); the builder's setting does not reach it."""
    from edgeexit.backends import tensorrt
    from edgeexit.hardware import find_profile

    profile = find_profile("jetson-agx-orin")
    monkeypatch.setattr(tensorrt, "find_current_profile", lambda: profile)
    gpu = Gpu(integrated=True)
    gpu.dla_cores = 2
    with installed(gpu, tensorrt="10.3.0"):
        settings = Settings("tensorrt", precision="float16", options="dla_core=1")
        program = find_backend("tensorrt").open_fused(bundles["skips"], settings)
        assert isinstance(program, TensorRtFused)
        assert 1 == program._held.engines._runtime.DLA_core  # type: ignore[union-attr]
        program.close()
