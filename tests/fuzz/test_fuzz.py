"""Damaged files end in one message. The long run is `python -m tests.fuzz`."""

from __future__ import annotations

from tests.fuzz.__main__ import attack
from tests.fuzz.targets import TARGETS


def test_damaged_files_of_every_kind_end_in_one_message() -> None:
    """A short attack in a process of its own, so that a crash would be a finding too."""
    cases, findings = attack(0, seconds=3600, rounds=4)

    assert [] == findings
    assert dict.fromkeys(TARGETS, 4) == cases
