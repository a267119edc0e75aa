"""The device key: a name for everything about a machine that changes how fast a backend runs, or what it answers, and for nothing else.

In the key: board, CPU model, instruction sets that kernels are chosen by, architecture, number of CPUs; the runtime's minor version; the
GPU's model where the backend runs on it. Not in it: Python, NumPy, the kernel and the driver, clocks, power modes and the number of CPUs
now online, which are the device's state and may change between two runs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from edgeexit.choices import EXECUTION_PROVIDERS
from edgeexit.hardware.identity import ROOT, make_slug, read_device_facts
from edgeexit.stage_choices import is_mixed, list_distinct_names

_RUNTIMES = {
    "onnxruntime": ("onnxruntime", "ONNX Runtime"),
    "openvino": ("openvino", "OpenVINO"),
    "tensorrt": ("tensorrt", "TensorRT"),
    "mnn": ("mnn", "MNN"),
    **{f"onnxruntime.{provider}": ("onnxruntime", "ONNX Runtime") for provider in EXECUTION_PROVIDERS},
}
"""Of each backend, with what it runs on (`Settings.runtime`): the fact that holds the version of what runs it, and its usual name."""
_ON_GPU = frozenset(
    {"tensorrt", *(f"onnxruntime.{provider}" for provider in ("cuda", "tensorrt", "tensorrt_rtx", "dml", "migraphx"))}
)
_HARDWARE = {"board": "board", "cpu": "CPU", "arch": "architecture", "cores": "CPUs", "gpu": "GPU"}
_ISA = re.compile(
    r"(sse4_[12]|ssse3|avx\w*|fma|f16c|amx_\w+|vnni\w*"  # x86-64
    r"|neon|asimd\w*|fphp|fp16|sve\w*|sme\w*|i8mm|bf16|flagm2?|atomics)"  # ARM
)
"""Instruction sets that kernels of the runtimes are chosen by; the kernel's list also names what no kernel asks for, and grows with it."""
_OLD_FACTS = ("board", "cpu", "isa", "arch", "cores", "gpu", "l4t", "python", "numpy", "onnxruntime")
_WEIGHTS = {"board": 64, "cpu": 32, "gpu": 32, "arch": 16, "isa": 8, "cores": 4}


def find_device_key(root: Path = ROOT, *, backend: str = "onnxruntime") -> str:
    """A file-name-safe name of this device for a backend, such as `nvidia-jetson-orin-nano-1c9a07f3b2`.

    A slug of the board (of the CPU's model where there is no device tree), and ten hexadecimal digits of the SHA-256 over what the module's
    docstring lists.
    """
    return make_device_key(read_device_facts(root), backend)


def make_device_key(facts: Mapping[str, str], backend: str = "onnxruntime") -> str:
    """The key of the device whose `read_device_facts` these are."""
    chosen = _select_key_facts(facts, backend)
    return _make_key(facts, "\n".join(f"{name}={value}" for name, value in sorted(chosen.items())))


@lru_cache(maxsize=8)
def find_old_device_key(root: Path = ROOT) -> str:
    """The key that earlier versions gave this device: Python's and NumPy's versions were part of it. Still looked up, never written."""
    facts = read_device_facts(root)
    return _make_key(facts, "\n".join(f"{name}={facts.get(name, '')}" for name in _OLD_FACTS))


def find_key_changes(then: Mapping[str, str], now: Mapping[str, str], backend: str) -> dict[str, str]:
    """Changes of the device key, by name of the fact, as text: `{"runtime": "ONNX Runtime 1.31 → 1.32"}`; empty for one device.

    Args:
        then: `read_device_facts` when something was measured.
        now: facts of this device.
        backend: backend that was measured.
    """
    old, new = _select_key_facts(then, backend), _select_key_facts(now, backend)
    return {
        name: _format_change(name, old.get(name, ""), new.get(name, ""), backend)
        for name in (*_HARDWARE, "isa", "runtime")
        if old.get(name, "") != new.get(name, "")
    }


def rank_key_changes(changes: Mapping[str, str]) -> int:
    """How far two devices are from each other: another version of the runtime is nearest, another board or CPU farthest."""
    return sum(_WEIGHTS.get(name, 1) for name in changes)


def _select_key_facts(facts: Mapping[str, str], backend: str) -> dict[str, str]:
    backends = list_distinct_names(backend)
    names = [name for name in _HARDWARE if name != "gpu" or not _ON_GPU.isdisjoint(backends)]
    chosen = {name: facts.get(name, "") for name in names}
    chosen["isa"] = " ".join(sorted(flag for flag in facts.get("isa", "").split() if _ISA.fullmatch(flag)))
    chosen["runtime"] = ", ".join(_name_runtime(facts, one) for one in backends)
    return {name: value for name, value in chosen.items() if value}


def _name_runtime(facts: Mapping[str, str], backend: str) -> str:
    package = _RUNTIMES.get(backend, ("", ""))[0]
    return f"{backend} {cut_to_minor_version(facts.get(package, ''))}".strip()


def cut_to_minor_version(version: str) -> str:
    """`1.31` of `1.31.1`."""
    return ".".join(version.split(".")[:2])


def _make_key(facts: Mapping[str, str], text: str) -> str:
    name = facts.get("board") or facts.get("cpu") or "device"
    return f"{make_slug(name)}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def _format_change(name: str, old: str, new: str, backend: str) -> str:
    if name == "isa":
        return _format_isa_change(set(old.split()), set(new.split()))
    if name == "runtime" and is_mixed(backend):
        return f"runtimes {old or 'unknown'} → {new or 'unknown'}"
    if name == "runtime":
        called = _RUNTIMES.get(backend, ("", backend))[1]
        old, new = (text.removeprefix(backend).strip() for text in (old, new))
        return f"{called} {old or 'unknown'} → {new or 'unknown'}"
    return f"{_HARDWARE[name]} {old or 'unknown'} → {new or 'unknown'}"


def _format_isa_change(old: set[str], new: set[str]) -> str:
    parts = [f"without {' '.join(sorted(old - new))}"] if old - new else []
    parts += [f"with {' '.join(sorted(new - old))}"] if new - old else []
    return f"instruction sets now {', '.join(parts)}"
