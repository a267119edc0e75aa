"""How many examples a property is tested with."""

from __future__ import annotations

import hypothesis


def at_most(count: int) -> int:
    """So many, or as few as the profile in use has: on an emulated board each takes ten to twenty times as long."""
    default = hypothesis.settings.default
    return min(count, default.max_examples) if default else count
