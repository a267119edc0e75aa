"""Cores of different kinds: found by what they can do, pinned to by choice, compared when a bundle is loaded."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeexit.errors import InputError
from edgeexit.hardware.cores import describe_kinds, find_cores, format_cpu_list, parse_cpu_list, pin_to_cores


def _make_chip(root: Path, capacities: list[int], file: str = "cpu_capacity") -> Path:
    folder = root / "sys/devices/system/cpu"
    for cpu, capacity in enumerate(capacities):
        place = folder / f"cpu{cpu}" / file
        place.parent.mkdir(parents=True)
        place.write_text(f"{capacity}\n")
    (folder / "online").write_text(f"0-{len(capacities) - 1}\n")
    return root


@given(st.sets(st.integers(0, 300)))
def test_a_list_of_cpus_is_read_as_it_is_written(cpus: set[int]) -> None:
    """In the kernel's form."""
    assert tuple(sorted(cpus)) == parse_cpu_list(format_cpu_list(cpus))


@pytest.mark.parametrize("file", ["cpu_capacity", "cpufreq/cpuinfo_max_freq"])
def test_big_and_little_are_those_that_can_do_most_and_least(tmp_path: Path, file: str) -> None:
    """By the kernel's capacity, else by the highest clock; the middle ones are neither."""
    root = _make_chip(tmp_path, [400, 400, 871, 871, 1024, 1024], file)

    assert (4, 5) == find_cores("big", root)
    assert (0, 1) == find_cores("little", root)
    assert (0, 2, 3) == find_cores("0,2-3", root)
    assert ["big (4-5)", "little and middle (1-2)", "all kinds (0-5)"] == [
        describe_kinds(cpus, root) for cpus in ((4, 5), (1, 2), range(6))
    ]


def test_equal_cores_have_no_kinds(tmp_path: Path) -> None:
    """All of them are the big ones and the little ones, and which of them ran changes nothing."""
    root = _make_chip(tmp_path, [1024] * 4)

    assert find_cores("big", root) == find_cores("little", root) == (0, 1, 2, 3)
    assert "" == describe_kinds((0, 1), root)


@pytest.mark.parametrize("choice", ["fast", "", "3-", "0-9", "-1"])
def test_cores_that_are_not_there_are_refused(tmp_path: Path, choice: str) -> None:
    """With what can be written, or what the machine has."""
    with pytest.raises(InputError, match=r"cores must be big, little or|this machine has 0-3"):
        find_cores(choice, _make_chip(tmp_path, [1024] * 4))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not pin threads")
def test_a_thread_is_pinned_with_what_it_starts() -> None:
    """In a thread of its own, so that the tests after it are not."""
    first, seen = min(os.sched_getaffinity(0)), list[set[int]]()

    def pin() -> None:
        assert (first,) == pin_to_cores(str(first))
        inner = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))
        inner.start()
        inner.join()

    thread = threading.Thread(target=pin)
    thread.start()
    thread.join()

    assert [{first}] == seen
