"""Device profiles: what is known of a board before it is measured. Read from devices/<board>.toml, nothing else holds them.

A profile says how to recognise the board, its caches, its power rails and which of them add up to its total, its power modes,
GPU and DLA, and what edgeexit uses there by default. Every table names its source.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from edgeexit.choices import BACKENDS, PRECISIONS
from edgeexit.errors import InputError, did_you_mean
from edgeexit.hardware.identity import ROOT, read_compatible_strings
from edgeexit.util.documents import check_schema, parse_document
from edgeexit.util.resources import find_data_dir, read_toml

ROLES = ("total", "cpu", "gpu", "cpu+gpu", "soc", "memory", "system", "accelerator", "wifi", "unused")
"""Consumers of a rail. `cpu+gpu` is a shared rail and is never split; `unused` is not connected or inside another one."""

METERS = ("ina3221", "ina3221+ina238", "rapl", "nvml", "rpi-pmic", "none")
CACHE_KINDS = ("data", "instruction", "unified")
TACTIC_SOURCES = ("cublas", "cublas_lt", "cudnn", "edge_mask_convolutions", "jit_convolutions")
_BOARD_BACKENDS = tuple(name for name, entry in BACKENDS.items() if entry.on_boards)
_SCHEMA = 1


@dataclass(frozen=True)
class Recognise:
    """Rules that identify this device.

    Attributes:
        compatible: device-tree strings; `nvidia,p3767-0003` also matches its variants, such as `nvidia,p3767-0003-super`.
        arch: for profiles of machines without a device tree: what `platform.machine()` says.
        discrete_gpu: whether an NVIDIA driver for discrete GPUs must be there.
    """

    source: str
    compatible: tuple[str, ...] = ()
    arch: str | None = None
    discrete_gpu: bool = False


@dataclass(frozen=True)
class Cpu:
    """The CPU: model, architecture as `platform.machine()` says it, number of cores."""

    model: str
    arch: str
    source: str
    cores: int | None = None


@dataclass(frozen=True)
class Cache:
    """One cache as one core sees it; `shared_by` cores."""

    level: int
    kind: str
    size_bytes: int
    ways: int
    line_bytes: int
    source: str
    shared_by: int = 1


@dataclass(frozen=True)
class Gpu:
    """The GPU: architecture, compute capability (`8.7`), CUDA cores, L2 size."""

    architecture: str
    source: str
    compute_capability: str | None = None
    cuda_cores: int | None = None
    l2_bytes: int | None = None


@dataclass(frozen=True)
class Dla:
    """Deep-learning accelerators: how many."""

    engines: int
    source: str


@dataclass(frozen=True)
class Rail:
    """One measured supply: the label that its driver gives, and what it feeds."""

    label: str
    role: str


@dataclass(frozen=True)
class Power:
    """The board's own power meter.

    Attributes:
        meter: which adapter reads it.
        scope: what the total covers; joules of different scopes are never compared.
        rails: every label the board has.
        total: labels whose sum is the scope's power; () when no sum of rails is.
        step_w: smallest change that the total can show, W, where known.
    """

    meter: str
    scope: str
    source: str
    rails: tuple[Rail, ...] = ()
    total: tuple[str, ...] = ()
    step_w: float | None = None


@dataclass(frozen=True)
class PowerModes:
    """Names of the power modes; the board's own configuration has the last word."""

    names: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Software:
    """JetPack releases of the device, and whether edgeexit's TensorRT backend runs on it."""

    tensorrt: bool
    source: str
    jetpack: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Defaults:
    """Defaults of `compile` on this device."""

    backend: str
    precision: str
    source: str


@dataclass(frozen=True)
class TensorRt:
    """Default options of TensorRT engine builds on this board.

    Attributes:
        optimization_level: 0 to 5; higher ones search longer.
        aux_streams: streams beside the one that edgeexit gives.
        workspace_share: most of the GPU's memory, 0 to 1, that one stage may use as scratch; None leaves it to TensorRT.
        tactic_sources: libraries of kernels, in small letters or capitals; None leaves them to TensorRT.
        dla_core: where whole stages run; None is the GPU.
    """

    source: str
    optimization_level: int = 3
    aux_streams: int = 0
    workspace_share: float | None = None
    tactic_sources: tuple[str, ...] | None = None
    dla_core: int | None = None


@dataclass(frozen=True)
class DeviceProfile:
    """One device. `name` is that of its file."""

    schema: str
    name: str
    title: str
    recognise: Recognise
    cpu: Cpu
    power: Power
    software: Software
    defaults: Defaults
    cache: tuple[Cache, ...] = ()
    gpu: Gpu | None = None
    dla: Dla | None = None
    tensorrt: TensorRt | None = None
    power_modes: PowerModes | None = None


def read_profile(path: Path) -> DeviceProfile:
    """The profile of one TOML file.

    Raises:
        InputError: with every fault of the file in one message.
    """
    table = read_toml(path)
    check_schema(table, "device", _SCHEMA, str(path))
    found = parse_document(DeviceProfile, table, str(path))
    faults = [
        *_name_faults(found, path),
        *_find_word_faults(found),
        *_find_cache_faults(found),
        *_find_power_faults(found),
    ]
    faults += _find_tensorrt_faults(found)
    if faults:
        msg = f"{path} has {len(faults)} fault{'s' * (len(faults) > 1)}: {'; '.join(faults)}."
        raise InputError(msg)
    return found


@lru_cache(maxsize=4)
def load_profiles(folder: Path | None = None) -> dict[str, DeviceProfile]:
    """Every profile by name, in the order of the files.

    Raises:
        InputError: with every fault of every file in one message.
    """
    profiles: dict[str, DeviceProfile] = {}
    faults: list[str] = []
    for path in sorted((folder or find_data_dir("devices")).glob("*.toml")):
        try:
            profiles[path.stem] = read_profile(path)
        except InputError as error:  # noqa: PERF203 - the faults of all files are reported together
            faults.append(str(error))
    if faults:
        raise InputError("\n".join(faults))
    return profiles


def find_profile(name: str) -> DeviceProfile:
    """The profile of that name.

    Raises:
        InputError: there is none; the message lists those that exist.
    """
    known = load_profiles()
    if name not in known:
        msg = f"no device profile named {name!r}.{did_you_mean(name, known)}\nProfiles: {', '.join(known)}."
        raise InputError(msg)
    return known[name]


def find_current_profile(root: Path = ROOT, arch: str | None = None) -> DeviceProfile | None:
    """The profile of this machine, or None where none fits.

    The device tree decides where there is one; its most specific string that any profile knows wins. Then a discrete NVIDIA GPU,
    then the architecture.

    Args:
        root: root of the file system.
        arch: instead of this machine's, as `platform.machine()` says it.
    """
    by_board = _find_by_compatible(read_compatible_strings(root))
    if by_board is not None:
        return by_board
    discrete_gpu = (root / "proc/driver/nvidia/version").exists()
    candidates = [p for p in load_profiles().values() if not p.recognise.compatible]
    for_gpu = [p for p in candidates if p.recognise.discrete_gpu]
    for_arch = [p for p in candidates if p.recognise.arch == (arch or platform.machine())]
    return next(iter((for_gpu if discrete_gpu else []) + for_arch), None)


def _find_by_compatible(strings: tuple[str, ...]) -> DeviceProfile | None:
    for string in strings:
        known = [(len(c), p) for p in load_profiles().values() for c in p.recognise.compatible if _matches(string, c)]
        if known:
            return max(known, key=lambda found: found[0])[1]
    return None


def _matches(string: str, known: str) -> bool:
    return string == known or string.startswith(f"{known}-")


def _name_faults(found: DeviceProfile, path: Path) -> list[str]:
    return [] if found.name == path.stem else [f"name = {found.name!r} differs from the file's name {path.stem!r}"]


def _find_word_faults(found: DeviceProfile) -> list[str]:
    """Words that stand in none of the lists at the top."""
    words: list[tuple[str, str, tuple[str, ...]]]
    words = [(f"power.rails[{i}].role", rail.role, ROLES) for i, rail in enumerate(found.power.rails)]
    words += [(f"cache[{i}].kind", cache.kind, CACHE_KINDS) for i, cache in enumerate(found.cache)]
    words += [
        ("power.meter", found.power.meter, METERS),
        ("defaults.backend", found.defaults.backend, _BOARD_BACKENDS),
        ("defaults.precision", found.defaults.precision, PRECISIONS),
    ]
    sources = (found.tensorrt.tactic_sources if found.tensorrt is not None else None) or ()
    words += [(f"tensorrt.tactic_sources[{i}]", name.lower(), TACTIC_SOURCES) for i, name in enumerate(sources)]
    return [
        f"{where} is {word!r}, not one of {', '.join(known)}.{did_you_mean(word, known)}".rstrip(".")
        for where, word, known in words
        if word not in known
    ]


def _find_cache_faults(found: DeviceProfile) -> list[str]:
    faults = []
    for index, c in enumerate(found.cache):
        if min(c.size_bytes, c.ways, c.line_bytes, c.shared_by) <= 0 or c.size_bytes % (c.ways * c.line_bytes):
            made_of = f"{c.ways} ways of {c.line_bytes}-byte lines"
            faults.append(f"cache[{index}]: {c.size_bytes} bytes cannot be made of {made_of}")
    return faults


def _find_power_faults(found: DeviceProfile) -> list[str]:
    labels = [rail.label for rail in found.power.rails]
    faults = [
        f"power.total names {t!r}, which is not a rail.{did_you_mean(t, labels)}"
        for t in found.power.total
        if t not in labels
    ]
    faults += [f"power.rails has {label!r} twice" for label in sorted({x for x in labels if labels.count(x) > 1})]
    unused = {rail.label for rail in found.power.rails if rail.role == "unused"}
    return faults + [f"power.total names {t!r}, whose role is unused" for t in found.power.total if t in unused]


def _find_tensorrt_faults(found: DeviceProfile) -> list[str]:
    if found.tensorrt is None:
        return ["tensorrt is missing, and software.tensorrt is true"] if found.software.tensorrt else []
    table, cores = found.tensorrt, found.dla.engines if found.dla is not None else 0
    share = table.workspace_share
    faults = {
        f"tensorrt.optimization_level is {table.optimization_level}, not 0 to 5": 0 <= table.optimization_level <= 5,
        f"tensorrt.aux_streams is {table.aux_streams}, less than 0": table.aux_streams >= 0,
        f"tensorrt.workspace_share is {share}, not above 0 and up to 1": share is None or 0 < share <= 1,
        f"tensorrt.dla_core is {table.dla_core}, and dla.engines {cores}": table.dla_core is None
        or 0 <= table.dla_core < cores,
    }
    return [fault for fault, holds in faults.items() if not holds]
