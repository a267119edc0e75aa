"""The examples of every public function of the analysis."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest

import edgeexit
from edgeexit import analysis, leaving
from edgeexit.analysis import assignment, confidence, curves, frequencies, network, oracle, overthinking
from edgeexit.calibration import headroom

MODULES = [assignment, confidence, curves, frequencies, headroom, network, oracle, overthinking, leaving]


@pytest.mark.parametrize("module", MODULES)
def test_examples_print_what_they_say(module: ModuleType) -> None:
    """Each docstring's, in its own module."""
    found = doctest.testmod(module)

    assert found.attempted > 0
    assert found.failed == 0


def test_every_public_function_has_an_example() -> None:
    """And so shows how it is called."""
    functions = [getattr(analysis, name) for name in analysis.__all__ if name[0].islower()]

    assert [] == [f.__name__ for f in functions if ">>>" not in (f.__doc__ or "")]


def test_it_is_reached_from_the_front_of_the_house() -> None:
    """`import edgeexit` is enough."""
    assert edgeexit.analysis is analysis
