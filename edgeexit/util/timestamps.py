"""The time of day, as documents hold it."""

from __future__ import annotations

from datetime import datetime, timezone


def make_timestamp(precision: str = "seconds") -> str:
    """The time now as ISO 8601 text in UTC.

    Args:
        precision: the smallest unit, as `datetime.isoformat` names it: `seconds`, `milliseconds`.
    """
    return datetime.now(timezone.utc).isoformat(timespec=precision)
