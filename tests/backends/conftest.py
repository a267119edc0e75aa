"""Bundles that every backend is tried on."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeexit.bundle import Bundle
from edgeexit.compiler.compilation import compile_model
from edgeexit.conformance.networks import write_network


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """The small networks of the conformance suite, compiled."""
    folder = tmp_path_factory.mktemp("bundles")
    names = ("skips", "heads-feed-heads", "two-inputs")
    return {n: compile_model(write_network(n, folder), folder / f"{n}.eexit", seconds=0) for n in names}


@pytest.fixture(autouse=True)
def engine_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An engine cache of the test's own."""
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
