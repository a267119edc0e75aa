"""How the overfit guard chooses thresholds, and how many candidates are calibrated, is not what these tests are about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.brief_defaults import make_choices_brief


@pytest.fixture(scope="module", autouse=True)
def brief_choices() -> Iterator[None]:
    """Each candidate of the last few is calibrated: three instead of six, and their thresholds are compared on few resamples."""
    with pytest.MonkeyPatch.context() as patch:
        make_choices_brief(patch)
        for module in ("finalists", "session"):
            patch.setattr(f"edgeexit.tuning.{module}.CONTENDERS", 3)
        yield
