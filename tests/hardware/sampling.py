"""Waiting for a sampling process by what it has read, so that no test depends on how soon the machine lets it run."""

from __future__ import annotations

import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

_GIVE_UP_S = 600.0


@pytest.fixture
def wait_for_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Returns once the running sampling process has begun and ended a record, so that it has read the files as they are now."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))

    def wait() -> None:
        wanted, end_s = _count_records(folder) + 2, time.monotonic() + _GIVE_UP_S  # one may have begun before
        while _count_records(folder) < wanted:
            assert time.monotonic() < end_s, "the sampling process does not read on"
            time.sleep(0.01)

    return wait


def _count_records(folder: Path) -> int:
    """How many records stand in the file of the only sampling process; the first number of the file is their number of columns."""
    [file] = folder.glob("*/records")
    data = file.read_bytes()
    (columns,) = struct.unpack_from("d", data)
    return (len(data) - 8) // (8 * int(columns))
