"""The device key holds what changes speed or answers, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeexit.hardware.keys import find_key_changes, make_device_key, rank_key_changes

FACTS = {
    "cpu": "AMD EPYC 7763 64-Core Processor",
    "isa": "aes avx avx2 fma fpu rdrand sse4_1 sse4_2",
    "arch": "x86_64",
    "cores": "4",
    "gpu": "NVIDIA A10",
    "kernel": "6.1.0",
    "python": "3.11",
    "numpy": "2.4.6",
    "onnxruntime": "1.31.1",
    "openvino": "2026.4.1",
    "tensorrt": "10.3.0",
}


@pytest.mark.parametrize(
    "change",
    [
        {"python": "3.12"},
        {"numpy": "2.5.0"},
        {"kernel": "6.12.1"},
        {"onnxruntime": "1.31.9"},
        {"openvino": "2027.0.0"},
        {"gpu": "NVIDIA H100"},
        {"isa": "aes avx avx2 fma fpu rdrand sse4_1 sse4_2 user_shstk"},
    ],
)
def test_what_changes_neither_speed_nor_answers_is_not_in_the_key(change: dict[str, str]) -> None:
    """On the CPU, with ONNX Runtime: Python, NumPy, the kernel, patch levels, another runtime, the GPU, flags that no kernel asks for."""
    assert make_device_key(FACTS) == make_device_key({**FACTS, **change})
    assert {} == find_key_changes(FACTS, {**FACTS, **change}, "onnxruntime")


@pytest.mark.parametrize(
    ("backend", "change", "said"),
    [
        ("onnxruntime", {"onnxruntime": "1.32.0"}, "ONNX Runtime 1.31 → 1.32"),
        ("openvino", {"openvino": "2027.0.0"}, "OpenVINO 2026.4 → 2027.0"),
        ("tensorrt", {"tensorrt": "10.7.1"}, "TensorRT 10.3 → 10.7"),
        ("tensorrt", {"gpu": "NVIDIA H100"}, "GPU NVIDIA A10 → NVIDIA H100"),
        ("onnxruntime", {"cores": "8"}, "CPUs 4 → 8"),
        ("onnxruntime", {"cpu": "AMD EPYC 9654"}, "CPU AMD EPYC 7763 64-Core Processor → AMD EPYC 9654"),
        ("onnxruntime", {"isa": "avx sse4_1 sse4_2"}, "instruction sets now without avx2 fma"),
        ("onnxruntime", {"isa": "avx avx2 avx512f fma sse4_1 sse4_2"}, "instruction sets now with avx512f"),
    ],
)
def test_what_changes_speed_or_answers_is_in_the_key_and_is_named(
    backend: str, change: dict[str, str], said: str
) -> None:
    """Each by itself, with both values."""
    assert make_device_key(FACTS, backend) != make_device_key({**FACTS, **change}, backend)
    assert [said] == list(find_key_changes(FACTS, {**FACTS, **change}, backend).values())


@given(st.dictionaries(st.sampled_from(sorted(FACTS)), st.sampled_from(["1.2.3", "1.3", "8", "avx avx2", ""])))
def test_two_devices_have_one_key_where_nothing_of_it_differs(change: dict[str, str]) -> None:
    """The key and the changes are of the same facts."""
    for backend in ("onnxruntime", "openvino", "tensorrt", "other"):
        same = make_device_key(FACTS, backend) == make_device_key({**FACTS, **change}, backend)
        assert same == (not find_key_changes(FACTS, {**FACTS, **change}, backend))


def test_another_version_of_the_runtime_is_nearer_than_another_machine() -> None:
    """The nearest calibration is the one whose times are most likely to hold."""
    version, cores, cpu = ({"onnxruntime": "1.32"}, {"cores": "2"}, {"cpu": "ARM 0x41:0xd42"})

    found = [
        rank_key_changes(find_key_changes(FACTS, {**FACTS, **change}, "onnxruntime"))
        for change in ({}, version, cores, cpu)
    ]

    assert sorted(set(found)) == found
