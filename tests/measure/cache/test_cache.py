"""Caches: counters of the kernel, geometry of boards, bytes on paper."""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeexit.errors import HardwareMissing, InputError
from edgeexit.hardware import find_profile
from edgeexit.hardware.caches import find_caches, read_machine_caches
from edgeexit.hardware.profiles import Cache
from edgeexit.measure.cache.child import make_client_request
from edgeexit.measure.cache.counters import PASSES, Counters, Event, explain_open_failure, open_event
from edgeexit.measure.cache.measurement import measure_runner_cache
from edgeexit.measure.cache.report import CallCache, build_level, compute_closures
from edgeexit.measure.cache.simulation import build_simulated_geometry
from edgeexit.measure.cache.sweep import sweep_cache
from edgeexit.runtime import Runner
from tests.hardware.boards import plant
from tests.networks import SIDE

PAGE_FAULTS = Event("software", "misses", 1, 2, "page-faults")
"""A software event: it opens where hardware events do not."""

ORIN_NANO = "jetson-orin-nano"


@pytest.fixture
def samples() -> list[np.ndarray]:
    inputs = np.random.default_rng(0).standard_normal((12, 3, SIDE, SIDE)).astype(np.float32)
    return [inputs[i : i + 1] for i in range(len(inputs))]


def refusing(code: int) -> Callable[[Event, int], int]:
    def opener(event: Event, thread: int) -> int:
        raise OSError(code, os.strerror(code))

    return opener


def software(event: Event, thread: int) -> int:
    """Counts page faults whatever is asked for, so that the whole way can be tested where the CPU shows no counters."""
    return open_event(PAGE_FAULTS, thread)


def touch(pages: int) -> None:
    """Write to this number of pages that are not mapped yet."""
    size = mmap.PAGESIZE
    with mmap.mmap(-1, pages * size) as memory:
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            memory.madvise(mmap.MADV_NOHUGEPAGE)
        for i in range(pages):
            memory[i * size] = 1


def test_a_counter_counts_what_happens_and_nothing_else() -> None:
    """A thousand pages touched are a thousand page faults, and an empty stretch of work has next to none."""
    try:
        with Counters([PAGE_FAULTS]) as counters:
            touched = counters.count(lambda: touch(1000))
            idle = counters.count(lambda: None)
    except HardwareMissing as error:
        pytest.skip(str(error))

    assert 1000 <= touched.values[PAGE_FAULTS] <= 1100
    assert idle.values[PAGE_FAULTS] < 20
    assert 1.0 == touched.running


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOENT, "virtual PMU"),
        (errno.EACCES, "perf_event_paranoid"),
        (errno.EPERM, "--cap-add PERFMON"),
        (errno.ENOSYS, "seccomp"),
        (errno.EOPNOTSUPP, "user space"),
        (errno.EINVAL, "does not know"),
        (errno.EBUSY, "nmi_watchdog"),
        (errno.EMFILE, "ulimit"),
    ],
)
def test_every_refusal_of_the_kernel_has_its_remedy(code: int, remedy: str) -> None:
    """The event, the name of the error, and what to do."""
    with pytest.raises(HardwareMissing, match=remedy) as caught:
        Counters([PAGE_FAULTS], refusing(code)).__enter__()

    assert "page-faults" in str(caught.value)
    assert errno.errorcode[code] in str(caught.value)


def test_the_permission_that_the_kernel_asks_for_is_shown(tmp_path: Path) -> None:
    """perf_event_paranoid as it is now."""
    plant(tmp_path, {"proc/sys/kernel/perf_event_paranoid": 4})

    assert "is 4" in explain_open_failure(OSError(errno.EACCES, ""), PAGE_FAULTS, tmp_path)


def test_this_machines_counters_open_or_say_why_not() -> None:
    """With a PMU they count instructions; without one, the message has a remedy."""
    events = PASSES.get(platform.machine(), ((PAGE_FAULTS,),))[0]
    try:
        with Counters(events) as counters:
            counted = counters.count(lambda: sum(range(10_000)))
    except HardwareMissing as error:
        assert any(word in str(error) for word in ("simulation", "paranoid", "PERFMON", "seccomp", "does not know"))
    else:
        assert counted.values[events[0]] > 10_000


def test_arm_events_are_told_by_their_raw_code() -> None:
    """`cache-misses` means another cache on Arm than on Intel, so no name alone is trusted."""
    raws = {(e.level, e.kind): e.config for events in PASSES["aarch64"] for e in events}

    assert 0x03 == raws["L1D", "misses"]
    assert 0x04 == raws["L1D", "accesses"]
    assert 0x17 == raws["L2", "misses"]
    assert 0x37 == raws["LL", "misses"]


def test_no_pass_asks_for_more_counters_than_a_small_core_has() -> None:
    """More would be multiplexed, and their counts estimates."""
    assert all(len(events) <= 4 for passes in PASSES.values() for events in passes)


def test_the_client_request_does_nothing_outside_valgrind() -> None:
    """RUNNING_ON_VALGRIND answers 0 on a bare CPU."""
    if platform.machine() != "x86_64":
        pytest.skip("x86-64 machine code")

    assert 0 == make_client_request()(0x1001)


def test_misses_per_inference_come_before_their_rate() -> None:
    """Early exit shrinks accesses too: the rate can rise while misses fall."""
    late, early = build_level("L1D", 1000.0, 10.0, 5000.0), build_level("L1D", 100.0, 5.0, 500.0)

    assert early.misses < late.misses
    assert (early.rate or 0) > (late.rate or 0)
    assert 2.0 == late.per_1k_instructions


def test_the_exits_explain_the_mix() -> None:
    """0.5 * 100 + 0.5 * 300 = 200, measured 250: -20 %."""
    calls = [
        CallCache(name, 1, None, (build_level("L1D", None, misses, None),))
        for name, misses in (("exit 1", 100.0), ("exit 2", 300.0), ("mix", 250.0))
    ]

    assert {"L1D": pytest.approx(-0.2)} == compute_closures(calls, {"exit 1": 0.5, "exit 2": 0.5})


def test_the_simulated_caches_are_those_of_the_profile() -> None:
    """First level and last level, in callgrind's words."""
    assert ["--I1=65536,4,64", "--D1=65536,4,64", "--LL=2097152,16,64"] == build_simulated_geometry(
        find_profile(ORIN_NANO).cache
    ).options


def test_a_cache_without_a_power_of_two_sets_keeps_its_size() -> None:
    """30 MiB of 20 ways has 24,576 sets: simulated as 16,384 sets of 30 ways, and told."""
    first = [Cache(1, kind, 32768, 8, 64, "") for kind in ("instruction", "data")]
    geometry = build_simulated_geometry([*first, Cache(3, "unified", 30 * 2**20, 20, 64, "")])

    assert (30 * 2**20, 30) == (geometry.last.size_bytes, geometry.last.ways)
    assert "30 instead of 20 ways" in geometry.notes[0]


def cache_tree(size: str, ways: int) -> dict[str, object]:
    folder = "sys/devices/system/cpu/cpu0/cache/index3"
    return {
        f"{folder}/level": 3,
        f"{folder}/type": "Unified",
        f"{folder}/size": size,
        f"{folder}/ways_of_associativity": ways,
        f"{folder}/coherency_line_size": 64,
        f"{folder}/shared_cpu_list": "0-3",
    }


def test_the_kernels_list_of_caches_is_read(tmp_path: Path) -> None:
    """Size, ways, line and who shares it."""
    plant(tmp_path, cache_tree("8192K", 16))

    assert Cache(3, "unified", 8 * 2**20, 16, 64, "the kernel", 4) == read_machine_caches(tmp_path)[0]


@pytest.mark.parametrize(("size", "ways"), [("491520K", 16), ("411648K", 1)])
def test_a_cache_that_no_core_has_is_not_simulated(size: str, ways: int, tmp_path: Path) -> None:
    """A hypervisor shows its whole host's: nothing would ever miss."""
    plant(tmp_path, cache_tree(size, ways))

    with pytest.raises(HardwareMissing, match="which no core has"):
        find_caches(tmp_path)


def test_a_board_with_a_profile_has_the_profiles_caches(tmp_path: Path) -> None:
    """Whatever its kernel lists."""
    plant(
        tmp_path, {**cache_tree("491520K", 1), "proc/device-tree/compatible": b"raspberrypi,5-model-b\0brcm,bcm2712\0"}
    )

    assert find_profile("rpi5").cache == find_caches(tmp_path)


def test_bytes_on_paper_grow_with_the_exit_and_are_always_there(runner: Runner, samples: list[np.ndarray]) -> None:
    """Weights and tensors of all stages up to the exit, and the cache that holds them."""
    result = measure_runner_cache(runner, samples, device=ORIN_NANO, simulated=False, opener=refusing(errno.ENOENT))
    weights = [stage.weight_bytes for stage in runner.bundle.manifest.stages]

    assert list(np.cumsum(weights)) == [w.weight_bytes for w in result.analytic]
    assert all(w.activation_bytes for w in result.analytic)
    assert "L1" == result.analytic[0].fits
    assert result.simulated is None
    assert "ENOENT" in (result.hardware_reason or "")


def test_counters_are_read_for_every_exit_the_mix_and_the_backbone(runner: Runner, samples: list[np.ndarray]) -> None:
    """The whole way, with a counter that opens everywhere; hardware stays by itself."""
    try:
        with Counters([PAGE_FAULTS]):
            pass
    except HardwareMissing as error:
        pytest.skip(str(error))
    result = measure_runner_cache(runner, samples, device=ORIN_NANO, simulated=False, opener=software)

    assert result.hardware is not None
    assert "hardware" == result.hardware.source
    assert ["exit 1", "exit 2", "exit 3", "mix", "backbone"] == [call.name for call in result.hardware.calls]
    assert json.loads(json.dumps(result.to_document(), allow_nan=False))["schema"] == "edgeexit.cache/1"


@pytest.mark.parametrize("device", [None, ORIN_NANO])
def test_another_machine_than_x86_64_learns_that_it_cannot_simulate(
    runner: Runner, samples: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, device: str | None
) -> None:
    """Before anything else: naming a device or installing valgrind would not help it."""
    monkeypatch.setattr("edgeexit.measure.cache.simulation.platform.machine", lambda: "aarch64")
    report = measure_runner_cache(runner, samples, device=device, opener=refusing(errno.ENOENT))
    swept = sweep_cache(runner, samples, points=2, device=device, opener=refusing(errno.ENOENT))

    assert report.simulated is None
    for reason in (report.simulated_reason, swept.reason):
        assert "runs on x86-64 only, not on aarch64" in (reason or "")
        assert "--cache-device" in (reason or "")


def test_without_samples_or_points_there_is_nothing_to_measure(runner: Runner, samples: list[np.ndarray]) -> None:
    """Told before anything runs."""
    with pytest.raises(InputError, match="at least one sample"):
        measure_runner_cache(runner, [])
    with pytest.raises(InputError, match="2 points"):
        sweep_cache(runner, samples, points=1)
    with pytest.raises(InputError, match="Did you mean 'jetson-nano'"):
        measure_runner_cache(runner, samples, device="jetson-nan")


def test_the_stub_is_29_bytes_of_machine_code() -> None:
    """It runs from an executable page; ctypes and mmap are all it needs."""
    if platform.machine() != "x86_64":
        pytest.skip("x86-64 machine code")
    request = make_client_request()

    assert 8 == ctypes.sizeof(ctypes.c_void_p)
    assert 0 == request(0x1001, 1, 2, 3, 4, 5)
    assert sys.maxsize > 2**32
