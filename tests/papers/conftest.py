"""What the experiments train and measure in tests is trained on few digits and measured briefly."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from benchmarks import common
from tests.support.brief_defaults import make_choices_brief
from tests.support.papers import share_answers, shorten_digits, shorten_suites


@pytest.fixture(scope="module", autouse=True)
def short_experiments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A third of the digits; benchmarks with few and short processes, choices on few resamples; no PNG files."""
    with pytest.MonkeyPatch.context() as patch:
        make_choices_brief(patch)
        shorten_digits(patch)
        if find_spec("torch"):
            share_answers(patch)
        shorten_suites(patch, tmp_path_factory.mktemp("suites"))
        patch.setattr(
            common, "save_picture", lambda picture, path: None
        )  # its SVG has the same values, and takes no second
        yield
