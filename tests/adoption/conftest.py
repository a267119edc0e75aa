"""How long a part takes is not what these tests are about."""

from __future__ import annotations

import pytest

from tests.support.brief_defaults import skip_mode_timing


@pytest.fixture(autouse=True)
def untimed_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle of an adoption is compiled in the mode that is chosen without timing."""
    skip_mode_timing(monkeypatch)
