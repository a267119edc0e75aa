"""The bundles and the engine cache that the tests of the backends use."""

from tests.backends.conftest import bundles, engine_cache  # noqa: F401 - fixtures
