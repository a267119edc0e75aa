"""How long a part takes is not what these tests are about."""

from __future__ import annotations

import pytest

from tests.support.brief_defaults import make_choices_brief


@pytest.fixture(autouse=True)
def brief_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle of an adoption is compiled without timing of modes, its thresholds compared on few resamples."""
    make_choices_brief(monkeypatch)
