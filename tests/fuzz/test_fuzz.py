"""Damaged files end in one message. The long run is `python -m tests.fuzz`."""

from __future__ import annotations

from tests.fuzz.__main__ import attack


def test_damaged_models_manifests_and_bundles_end_in_one_message() -> None:
    """A short attack in a process of its own, so that a crash would be a finding too."""
    assert [] == attack(0, 12.0)
