"""One check of a backend in the conformance suite, and its outcome."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SelfCheck:
    """The outcome of one check.

    Attributes:
        name: what was checked, as a rule that holds.
        passed: whether it held; None where it could not be run, or where there is only a figure to report.
        detail: the values found, or why the check failed or did not run, as text.
        values: the figures by name, with units in the names.
    """

    name: str
    passed: bool | None
    detail: str = ""
    values: dict[str, float] = field(default_factory=dict)
