"""What is installed as ONNX Runtime: several distributions bring the one module, and one release ends the process on some boards."""

from __future__ import annotations

import platform

from edgeexit.choices import BACKENDS
from edgeexit.hardware.checks import MachineCheck
from edgeexit.hardware.identity import find_distribution_version

_CRASHING = "1.21."
"""Releases whose wheel for aarch64 ends with an illegal instruction when it is imported on a Raspberry Pi 4 (onnxruntime issue 23957)."""


def find_distributions() -> dict[str, str]:
    """Versions of the installed distributions that bring the module `onnxruntime`, by name; found without importing it."""
    found = ((name, find_distribution_version(name)) for name in BACKENDS["onnxruntime"].packages)
    return {name: version for name, version in found if version is not None}


def check_before_import() -> list[MachineCheck]:
    """Faults of the installation that would end the process, or leave open which of two packages is imported."""
    found, checks = find_distributions(), list[MachineCheck]()
    shown = " and ".join(f"{name} {version}" for name, version in found.items())
    crashing = [name for name, version in found.items() if version.startswith(_CRASHING)]
    if crashing and platform.machine() == "aarch64":
        what = (
            f"{shown}: its wheel for aarch64 may end with an illegal instruction when it is imported (Raspberry Pi 4)"
        )
        checks.append(MachineCheck("ONNX Runtime", "fail", what, f"pip install '{crashing[0]}!=1.21.*'"))
    if len(found) > 1:
        fix = f"pip uninstall {' '.join(found)}, then install only the one wanted, and edgeexit with --no-deps"
        what = f"{shown} both bring the module onnxruntime: the one installed last has overwritten files of the other"
        checks.append(MachineCheck("ONNX Runtime", "warn", what, fix))
    return checks


def check_providers() -> MachineCheck:
    """The execution providers of the build that is installed."""
    from edgeexit.backends.onnxruntime.providers import list_offered_providers

    return MachineCheck(
        "execution providers", "ok", f"ONNX Runtime is built with: {', '.join(list_offered_providers())}"
    )
