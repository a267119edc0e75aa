"""Identity of this machine: the facts from which the device key is made (`keys`), and others for display."""

from __future__ import annotations

import os
import platform
import re
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from edgeexit.choices import BACKENDS
from edgeexit.hardware.sysfs import read_strings, read_text
from edgeexit.util import units

ROOT = Path("/")

_PACKAGES = {
    **{name: (name,) for name in ("numpy", "onnx", "torch")},
    **{name: entry.packages for name, entry in BACKENDS.items() if entry.packages},
}
_TRADEMARKS = re.compile(r"\((r|tm|c)\)|\b(cpu|processor|developer kit|rev(ision)? [\d.]+)\b|@.*", re.IGNORECASE)


def read_device_facts(root: Path = ROOT) -> dict[str, str]:
    """The static facts of this device, for display: those the key is made from, then system, memory and other packages.

    A fact that is not known is not in the dictionary.
    """
    return dict(_read_facts(root))


def read_compatible_strings(root: Path = ROOT) -> tuple[str, ...]:
    """The device tree's `compatible` strings, most specific first; () on machines without a device tree."""
    return read_strings(root / "proc/device-tree/compatible") or read_strings(
        root / "sys/firmware/devicetree/base/compatible"
    )


def is_virtual(root: Path = ROOT) -> bool:
    """Whether this is a guest of a hypervisor: its energy and cache counters, if any, are not those of the machine."""
    flags = _read_cpuinfo_field(root, "flags")
    return "hypervisor" in flags.split() or read_text(root / "sys/hypervisor/type") is not None


def detect_container(root: Path = ROOT) -> str | None:
    """The kind of container this process is in, or None."""
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    cgroup = read_text(root / "proc/1/cgroup") or ""
    found = re.search(r"docker|containerd|kubepods|lxc|libpod", cgroup)
    return found.group() if found else None


def find_package_version(name: str) -> str | None:
    """The installed version of a package, without importing it; None when it is not installed."""
    return next(filter(None, map(find_distribution_version, _PACKAGES.get(name, (name,)))), None)


def find_distribution_version(distribution: str) -> str | None:
    """The installed version of one distribution; None when it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


@lru_cache(maxsize=8)
def _read_facts(root: Path) -> dict[str, str]:
    facts: dict[str, str | None] = {
        "board": read_text(root / "proc/device-tree/model"),
        "cpu": _read_cpu_model(root),
        "isa": _read_isa(root),
        "arch": platform.machine(),
        "cores": str(_count_cores(root)),
        "gpu": _read_gpu_names(root),
        "gpu_driver": _read_gpu_driver(root),
        "l4t": _read_l4t(root),
        "os": _read_os_name(root),
        "kernel": platform.release(),
        "memory": _read_memory(root),
        "container": detect_container(root),
        "virtual": "yes" if is_virtual(root) else "no",
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{name: find_package_version(name) for name in _PACKAGES},
    }
    return {name: value for name, value in facts.items() if value}


def make_slug(text: str) -> str:
    """A name for files: lower-case letters, digits and hyphens, without trademarks, 40 characters at most."""
    plain = _TRADEMARKS.sub(" ", text)
    words = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-").split("-")
    return "-".join(dict.fromkeys(words))[:40].strip("-") or "device"


def _read_cpuinfo_field(root: Path, name: str) -> str:
    """The first value of a field of /proc/cpuinfo, or ''."""
    found = re.search(rf"^{re.escape(name)}\s*:\s*(.+)$", read_text(root / "proc/cpuinfo") or "", re.MULTILINE)
    return found.group(1).strip() if found else ""


def _read_cpu_model(root: Path) -> str:
    """The CPU's name; on ARM, where the kernel gives numbers, implementer and part of every kind of core."""
    named = _read_cpuinfo_field(root, "model name")
    if named:
        return named
    text = read_text(root / "proc/cpuinfo") or ""
    implementers = re.findall(r"^CPU implementer\s*:\s*(\S+)", text, re.MULTILINE)
    parts = re.findall(r"^CPU part\s*:\s*(\S+)", text, re.MULTILINE)
    kinds = dict.fromkeys(zip(implementers, parts, strict=False))
    return (
        " + ".join(f"ARM {implementer}:{part}" for implementer, part in kinds) or platform.processor() or "unknown CPU"
    )


def _read_isa(root: Path) -> str:
    flags = _read_cpuinfo_field(root, "flags") or _read_cpuinfo_field(root, "Features")
    return " ".join(sorted(flags.split()))


def _count_cores(root: Path) -> int:
    """CPUs that are present, online or not: a power mode that parks cores does not make another device."""
    listed = read_text(root / "sys/devices/system/cpu/present")
    return count_cpus(listed) if listed else os.cpu_count() or 1


def count_cpus(cpu_list: str) -> int:
    """How many CPUs a kernel list such as `0-3,6` names."""
    spans = (part.split("-") for part in cpu_list.split(",") if part)
    return sum(int(span[-1]) - int(span[0]) + 1 for span in spans)


def _read_gpu_names(root: Path) -> str | None:
    """Names of discrete NVIDIA GPUs, as the driver lists them; the GPU of a Jetson is part of its board."""
    texts = (read_text(file) or "" for file in sorted(root.glob("proc/driver/nvidia/gpus/*/information")))
    names = [found.group(1).strip() for text in texts if (found := re.search(r"^Model:\s*(.+)$", text, re.MULTILINE))]
    return ", ".join(names) or None


def _read_gpu_driver(root: Path) -> str | None:
    text = read_text(root / "proc/driver/nvidia/version") or ""
    found = re.search(r"\b(\d{3,}\.\d+(\.\d+)?)\b", text)
    return found.group(1) if found else None


def _read_l4t(root: Path) -> str | None:
    """Release of NVIDIA's Linux for Tegra, such as `36.4.3`, from its own release file."""
    text = read_text(root / "etc/nv_tegra_release") or ""
    found = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", text)
    return f"{found.group(1)}.{found.group(2)}" if found else None


def _read_os_name(root: Path) -> str:
    text = read_text(root / "etc/os-release") or ""
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)', text, re.MULTILINE)
    return found.group(1) if found else platform.system()


def _read_memory(root: Path) -> str | None:
    found = re.search(r"^MemTotal:\s*(\d+) kB", read_text(root / "proc/meminfo") or "", re.MULTILINE)
    return f"{units.fixed(int(found.group(1)) / 2**20, 1)} GiB" if found else None
