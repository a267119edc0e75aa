"""Several distributions bring the module `onnxruntime`; what is wrong with those installed is said before it is imported."""

from __future__ import annotations

import platform
from importlib import metadata

import pytest

from edgeexit.backends.onnxruntime.installation import check_before_import, check_providers


def _install(monkeypatch: pytest.MonkeyPatch, machine: str, **versions: str) -> None:
    installed = {name.replace("_", "-"): version for name, version in versions.items()}

    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(platform, "machine", lambda: machine)


@pytest.mark.parametrize(
    ("machine", "version", "status"),
    [("aarch64", "1.21.0", ["fail"]), ("x86_64", "1.21.0", []), ("aarch64", "1.22.1", [])],
)
def test_the_release_that_crashes_on_a_raspberry_pi_4_is_named(
    monkeypatch: pytest.MonkeyPatch, machine: str, version: str, status: list[str]
) -> None:
    """On 64-bit Arm only, and without importing it."""
    _install(monkeypatch, machine, onnxruntime=version)

    assert status == [check.status for check in check_before_import()]


def test_two_packages_with_one_module_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a way out; the one alone is right, whichever it is."""
    _install(monkeypatch, "aarch64", onnxruntime_gpu="1.23.0")
    assert [] == check_before_import()
    _install(monkeypatch, "aarch64", onnxruntime="1.31.1", onnxruntime_gpu="1.23.0")

    [check] = check_before_import()

    assert "onnxruntime 1.31.1 and onnxruntime-gpu 1.23.0 both bring the module onnxruntime" in check.found
    assert "pip uninstall onnxruntime onnxruntime-gpu" in check.fix


def test_the_providers_of_the_build_are_listed() -> None:
    """The CPU's is in every one."""
    assert "cpu" in check_providers().found
