"""Results of the conformance suite, as a document and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edgeexit.backends.self_check import SelfCheck
from edgeexit.util.documents import dumps

SCHEMA = "edgeexit.conformance/1"


@dataclass(frozen=True)
class NetworkChecks:
    """The checks of one network in one mode; mode is empty where the check is not of a mode."""

    network: str
    mode: str
    checks: tuple[SelfCheck, ...]


@dataclass(frozen=True)
class ConformanceReport:
    """All checks.

    Attributes:
        schema: `edgeexit.conformance/1`.
        created: UTC, ISO 8601.
        tool: name and version of edgeexit.
        backend: name of the backend.
        versions: versions of the backend's libraries.
        precision: precision that the networks were compiled in.
        threads, spin, options: settings of the backend, as in `Settings`.
        device: its key.
        facts: static facts of the device.
        results: per network and mode.
        samples: inputs per network; documents that do not say it had 200.
    """

    schema: str
    created: str
    tool: str
    backend: str
    versions: dict[str, str]
    precision: str
    threads: int
    spin: bool
    options: str
    device: str
    facts: dict[str, str]
    results: tuple[NetworkChecks, ...]
    samples: int = 200

    @property
    def checks(self) -> Iterator[SelfCheck]:
        """Every check."""
        return (check for result in self.results for check in result.checks)

    @property
    def failures(self) -> tuple[str, ...]:
        """`network mode: check: detail` of every check that did not hold."""
        return tuple(
            f"{result.network} {result.mode}: {check.name}: {check.detail}"
            for result in self.results
            for check in result.checks
            if check.passed is False
        )

    @property
    def passed(self) -> bool:
        """Whether every check that could run held, and at least one did."""
        return not self.failures and any(check.passed for check in self.checks)

    def to_json(self) -> str:
        """The report document."""
        return dumps(self)

    def rows(self) -> Iterable[tuple[str, str, str, str, str]]:
        """Network, mode, check, outcome (`pass`, `FAIL`, `-`) and detail, for a table."""
        words = {True: "pass", False: "FAIL", None: "-"}
        for result in self.results:
            for check in result.checks:
                yield result.network, result.mode, check.name, words[check.passed], check.detail
