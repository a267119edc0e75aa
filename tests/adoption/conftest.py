"""How long a part takes is not what these tests are about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.brief_defaults import make_choices_brief


@pytest.fixture(scope="module", autouse=True)
def brief_choices() -> Iterator[None]:
    """The thresholds of an adoption's bundle are compared on few resamples."""
    with pytest.MonkeyPatch.context() as patch:
        make_choices_brief(patch)
        yield
