"""What makes a training repeat bit for bit: seeds for every purpose, and algorithms that give the same result every time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(*parts: object) -> int:
    """A seed for one purpose, such as (7, "joint", 3): the same parts give the same seed everywhere."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=7).digest(), "big")


@contextmanager
def seed_torch(seed: int) -> Iterator[None]:
    """Torch's global numbers (dropout, fresh weights) from this seed in the body, and as they were after it."""
    with torch.random.fork_rng():
        if torch.accelerator.is_available():
            torch.manual_seed(seed)
        else:  # which would keep a formatted stack of every call, for an accelerator that may start later
            torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def use_deterministic_algorithms() -> Iterator[None]:
    """Only algorithms that give the same result every time, in the body."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
