"""A measured result, made once for all tests of the command line."""

from __future__ import annotations

from tests.measure.conftest import balanced, result, samples, suites  # noqa: F401 - fixtures
